//! Runs a chapter's real binary as a learner would, and reads what it says.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// What makes a binary something else than its stage; the caller's shell may have it set.
const OURS: [&str; 13] = [
    "PORT",
    "LISTEN",
    "LINK",
    "PEERS",
    "ADAPTER",
    "DRIVER",
    "BUFFER",
    "REQUESTS",
    "LAB_PROGRAM",
    "SHARED_PORT",
    "ORDERS",
    "CHAT_SECRET",
    "ALLOWED_ORIGIN",
];

/// The longest that anything here may take, a first build of nginx included.
const LIMIT: Duration = Duration::from_mins(2);

/// What a program said, and how it ended.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A command for a chapter's binary, with an environment of its own.
pub fn command(binary: &str) -> Command {
    let mut command = Command::new(binary);
    for name in OURS {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Outcome {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let stdout = read_all(child.stdout.take());
    let stderr = read_all(child.stderr.take());
    let status = wait(&mut child);
    Outcome {
        code: status,
        stdout: stdout.join().expect("stdout is read"),
        stderr: stderr.join().expect("stderr is read"),
    }
}

fn read_all(stream: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    let mut stream = stream.expect("the stream is piped");
    thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("the stream is read");
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn wait(child: &mut Child) -> Option<i32> {
    let ended = until(|| {
        child
            .try_wait()
            .expect("the child is ours")
            .map(|status| status.code())
    });
    ended.unwrap_or_else(|| {
        // It must not outlive the test; it has ended after all if this fails.
        let _ended = child.kill();
        panic!("process {} did not end within {LIMIT:?}", child.id())
    })
}

/// Looks again and again until there is something to see; `None` after [`LIMIT`].
fn until<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let started = Instant::now();
    while started.elapsed() < LIMIT {
        if let Some(seen) = look() {
            return Some(seen);
        }
        thread::sleep(Duration::from_millis(10));
    }
    None
}

/// `--check`: exits 0 and says that as many claims held as were made.
pub fn every_claim_holds(binary: &str) {
    let outcome = run(command(binary).args(["--check", "--ports", "auto"]));
    let last = outcome.stdout.trim_end().lines().last().unwrap_or_default();
    let held = last.trim().strip_suffix(" claims held").and_then(|counts| {
        let (held, claims) = counts.split_once(" of ")?;
        Some((held.parse::<u32>().ok()?, claims.parse::<u32>().ok()?))
    });
    assert!(
        outcome.code == Some(0) && held.is_some_and(|(held, claims)| held == claims && held > 0),
        "{}\n{}\nexit code {:?}",
        outcome.stdout,
        outcome.stderr,
        outcome.code
    );
}

/// Every experiment that `-- list` names succeeds when it is run alone. All run at once.
///
/// # Panics
/// When one does not, or there is none.
pub fn each_experiment_runs_alone(binary: &str) {
    let listed = run(command(binary).arg("list"));
    let names = listed
        .stdout
        .lines()
        .filter_map(|line| line.split(' ').next());
    let names: Vec<_> = names.collect();
    assert!(!names.is_empty(), "{listed:?}");
    thread::scope(|scope| {
        for name in names {
            scope.spawn(move || {
                let alone = run(command(binary).args([name, "--check", "--ports", "auto"]));
                assert_eq!(alone.code, Some(0), "{name}: {alone:?}");
            });
        }
    });
}

/// Bad input: one sentence on stderr that has `words` in it, and the exit code.
pub fn is_refused(command: &mut Command, code: i32, words: &[&str]) {
    let outcome = run(command);
    assert_eq!(outcome.code, Some(code), "{outcome:?}");
    assert!(outcome.stderr.starts_with("error: "), "{outcome:?}");
    for word in words {
        assert!(outcome.stderr.contains(word), "no {word:?} in {outcome:?}");
    }
    for noise in ["panicked", "RUST_BACKTRACE", "Error {"] {
        assert!(!outcome.stderr.contains(noise), "{outcome:?}");
    }
    if code == 1 {
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
    }
}

/// A program that stays up, and what it says.
pub struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Running {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        let (said, lines) = mpsc::channel();
        // Read to the end, whoever listens: a full pipe would hold the program up.
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _unheard = said.send(line);
            }
        });
        Self { child, lines }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Reads on until a line has `text` in it.
    pub fn line_with(&mut self, text: &str) -> String {
        self.lines
            .iter()
            .find(|line| line.contains(text))
            .unwrap_or_else(|| panic!("it ended without a word of {text:?}"))
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a PID is not 0");
        kill_process(pid, signal).expect("it is still running");
    }

    /// Waits for its end; returns its exit code.
    pub fn end(mut self) -> Option<i32> {
        wait(&mut self.child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already if this fails.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// A process and all that descend from it, by PID.
pub fn family(ancestor: u32) -> BTreeSet<u32> {
    let mut family = BTreeSet::from([ancestor]);
    // Read once: every `ps` is a child of this process.
    let all = processes();
    loop {
        let before = family.len();
        for (pid, parent, _) in &all {
            if family.contains(parent) {
                family.insert(*pid);
            }
        }
        if family.len() == before {
            return family;
        }
    }
}

/// Waits until none of these processes lives.
pub fn all_end(pids: &BTreeSet<u32>) {
    let living = || -> Vec<u32> {
        processes()
            .into_iter()
            .filter(|(pid, _, state)| pids.contains(pid) && !state.starts_with('Z'))
            .map(|(pid, ..)| pid)
            .collect()
    };
    let gone = until(|| living().is_empty().then_some(()));
    assert!(gone.is_some(), "still there: {:?}", living());
}

/// PID, parent's PID and state of every process.
fn processes() -> Vec<(u32, u32, String)> {
    let listed = Command::new("ps")
        .args(["-A", "-o", "pid=,ppid=,stat="])
        .output()
        .expect("ps runs");
    String::from_utf8_lossy(&listed.stdout)
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            Some((
                fields.next()?.parse().ok()?,
                fields.next()?.parse().ok()?,
                fields.next()?.to_owned(),
            ))
        })
        .collect()
}
