//! Child processes that cannot outlive the stage.
//!
//! Each child has its own process group. In that group runs a guard: a shell that only reads from
//! a pipe. The stage is the pipe's only writer. When the stage ends, also by `kill -9`, the pipe
//! closes. Then the guard kills its group: the child, the child's own children, and itself.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, ChildStdin, Command},
    sync::watch,
    time::timeout,
};

/// The environment variable that makes a chapter's binary one of its other programs.
pub(crate) const PROGRAM: &str = "LAB_PROGRAM";

/// How long a child may take to end after SIGTERM before it is killed.
const PATIENCE: Duration = Duration::from_secs(3);

/// `$1` is the folder to remove when the stage has ended. The other arguments are the program.
///
/// The guard goes to the background first. It ignores signals, and it does not hold the child's
/// output open. Then the shell `exec`s the program, so the program has the child's PID. In a
/// subshell, `$$` is still the first shell's PID: the program's PID and the group's ID. The guard
/// kills the program before it removes the folder, because the program could still make files.
const GUARD: &str = r#"
exec 3<&0 </dev/null
(
    trap '' INT TERM HUP
    while read -r _; do :; done <&3
    kill -s KILL $$
    rm -rf -- "$1"
    kill -s KILL -- -$$
) >/dev/null 2>&1 &
exec 3<&-
shift
exec "$@"
"#;

/// How to start a program.
pub struct Spec<'a> {
    program: &'a OsStr,
    arguments: Vec<OsString>,
    environment: Vec<(String, String)>,
    own_stderr: bool,
}

impl<'a> Spec<'a> {
    /// A program to start, by its path or by a name on `PATH`.
    pub fn new(program: &'a (impl AsRef<OsStr> + ?Sized)) -> Self {
        Self {
            program: program.as_ref(),
            arguments: Vec::new(),
            environment: Vec::new(),
            own_stderr: false,
        }
    }

    /// The program.
    pub fn program(&self) -> &'a Path {
        Path::new(self.program)
    }

    /// Adds arguments.
    #[must_use]
    pub fn arguments<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        let arguments = arguments.into_iter();
        self.arguments
            .extend(arguments.map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Lets the program write to the stage's stderr: a progress bar needs a terminal.
    #[must_use]
    pub fn with_own_stderr(mut self) -> Self {
        self.own_stderr = true;
        self
    }
}

/// A running child. Dropping it kills it and everything that it started.
pub struct Process {
    pid: Pid,
    exit: watch::Receiver<Option<ExitStatus>>,
    /// The guard's pipe. Nothing is written to it. It is open as long as the stage runs.
    _leash: ChildStdin,
}

impl Process {
    /// Starts a program. `said` is called with each line that it writes.
    ///
    /// `scratch` is the stage's folder of temporary files. The guard removes it if the stage cannot.
    pub fn spawn(
        spec: &Spec<'_>,
        scratch: &Path,
        said: impl Fn(String) + Clone + Send + 'static,
    ) -> Result<Self> {
        let mut child = Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .arg(scratch)
            .arg(spec.program)
            .args(&spec.arguments)
            // Its servers would listen there, and not where the stage looks for them.
            .env_remove("LISTEN")
            .envs(spec.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(if spec.own_stderr {
                Stdio::inherit()
            } else {
                Stdio::piped()
            })
            // Ctrl-C goes to the terminal's foreground group, and only the stage is in it. The
            // stage then ends the others in order.
            .process_group(0)
            .spawn()
            .context("there is no `sh`, and the stage needs it to start programs")?;
        let pid = child
            .id()
            .and_then(|pid| Pid::from_raw(pid.cast_signed()))
            .context("the program ended before it began")?;
        let leash = child.stdin.take().context("a child without stdin")?;
        if let Some(stdout) = child.stdout.take() {
            tokio::spawn(read_lines(stdout, said.clone()));
        }
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(read_lines(stderr, said));
        }
        let (exited, exit) = watch::channel(None);
        tokio::spawn(reap(child, pid, exited));
        Ok(Self {
            pid,
            exit,
            _leash: leash,
        })
    }

    /// Its PID.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// A receiver of the exit status, which is `None` until the program has ended.
    pub fn watch_exit(&self) -> watch::Receiver<Option<ExitStatus>> {
        self.exit.clone()
    }

    /// Whether it has not ended yet.
    pub fn is_running(&self) -> bool {
        self.exit.borrow().is_none()
    }

    /// Sends a signal to the program only, not to its children.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        if self.exit.borrow().is_some() {
            return Ok(());
        }
        Ok(kill_process(self.pid, signal)?)
    }

    /// Asks the program to end (SIGTERM), waits, and kills what is left of its group.
    pub async fn stop(self) {
        self.stop_within(PATIENCE).await;
    }

    /// The same, with another waiting time. Returns whether the program ended by itself.
    pub async fn stop_within(self, patience: Duration) -> bool {
        let by_itself = self.signal(Signal::TERM).is_ok()
            && timeout(patience, ended(self.exit.clone())).await.is_ok();
        self.kill().await;
        by_itself
    }

    /// Kills the program, as `kill -9` does, and its guard.
    pub async fn kill(self) {
        self.kill_group();
        ended(self.exit.clone()).await;
    }

    fn kill_group(&self) {
        // When the program has ended, its group has ended too. Another group may have the ID now.
        if self.exit.borrow().is_none() {
            kill_group(self.pid);
        }
    }
}

/// Kills a program, everything that it started, and its guard.
fn kill_group(leader: Pid) {
    // It is no error if the group has ended already.
    let _gone_already = kill_process_group(leader, Signal::KILL);
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_group();
    }
}

/// Waits until the program has ended.
pub async fn ended(mut exit: watch::Receiver<Option<ExitStatus>>) -> Option<ExitStatus> {
    exit.wait_for(Option::is_some)
        .await
        .ok()
        .and_then(|status| *status)
}

/// How a program ended: the rest of a sentence that begins with its name.
pub fn how(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(9), _) => "was killed (signal 9)".to_owned(),
        (Some(signal), _) => format!("was ended by signal {signal}"),
        (None, Some(0)) => "has ended".to_owned(),
        (None, code) => format!("ended with exit code {}", code.unwrap_or_default()),
    }
}

async fn reap(mut child: Child, pid: Pid, exited: watch::Sender<Option<ExitStatus>>) {
    if let Ok(status) = child.wait().await {
        // The guard still runs, so the ID still belongs to this group. Without this line, the
        // workers of a killed nginx would continue to serve requests.
        kill_group(pid);
        exited.send_replace(Some(status));
    }
}

/// The resident memory of processes and of the processes that they have started, in bytes.
pub async fn memory_of<P: Copy>(parts: Vec<(P, u32)>) -> Result<Vec<(P, u64)>> {
    let listed = Command::new("ps")
        .args(["-A", "-o", "pid=,ppid=,rss="])
        .output()
        .await
        .context("there is no `ps`, which reports the memory of processes")?;
    let listed = String::from_utf8_lossy(&listed.stdout);
    let processes: Vec<(u32, u32, u64)> = listed
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let (pid, parent) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
            Some((pid, parent, fields.next()?.parse().ok()?))
        })
        .collect();
    let of_family = |ancestor| {
        let family = processes
            .iter()
            .filter(|(pid, parent, _)| *pid == ancestor || *parent == ancestor);
        // `ps` counts in units of 1024 bytes, on Linux and macOS.
        family.map(|(.., kibibytes)| kibibytes * 1024).sum()
    };
    Ok(parts
        .into_iter()
        .map(|(part, pid)| (part, of_family(pid)))
        .collect())
}

async fn read_lines(stream: impl AsyncRead + Unpin, said: impl Fn(String)) {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    // By bytes: a program's output may be invalid UTF-8.
    while stream
        .read_until(b'\n', &mut line)
        .await
        .is_ok_and(|n| n > 0)
    {
        said(String::from_utf8_lossy(&line).trim_end().to_owned());
        line.clear();
    }
}
