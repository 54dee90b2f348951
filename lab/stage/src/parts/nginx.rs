//! nginx: finds it, starts it with a config, reloads it, and stops it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use tokio::{process::Command, sync::mpsc};

use crate::{
    parts::find::on_path,
    parts::process::{PROGRAM, Process, Spec, ended, how},
    parts::site::Site,
    seen::event::{Event, Forwarded, Part},
    seen::journal::Journal,
};

/// An nginx that can be started.
pub(crate) struct Installation {
    program: PathBuf,
    /// Its version and where it comes from, for the learner.
    pub(crate) origin: String,
}

impl Installation {
    /// `NGINX_BIN`, or else nginx on `PATH`, or else an nginx that is built from source once.
    ///
    /// `NGINX_BIN=embedded` selects the nginx that is built from source.
    pub(crate) async fn find(binary: &Path, scratch: &Path, journal: &Journal) -> Result<Self> {
        if let Some(named) = env::var_os("NGINX_BIN").filter(|named| *named != "embedded") {
            let program = PathBuf::from(named);
            let about = describe(&program).await.with_context(|| {
                format!(
                    "NGINX_BIN={} is no nginx: give the path of one, or unset NGINX_BIN, and nginx is found or built",
                    program.display()
                )
            })?;
            return Ok(Self {
                origin: format!("{}, from NGINX_BIN", about.version),
                program,
            });
        }
        if env::var_os("NGINX_BIN").is_none()
            && let Some(program) = on_path("nginx")
            && let Ok(about) = describe(&program).await
        {
            if about.has_realip {
                return Ok(Self {
                    origin: format!("{}, {}", about.version, program.display()),
                    program,
                });
            }
            journal.record(Event::Note {
                text: format!(
                    "{} lacks the realip module that the configs need. So nginx is built from source.",
                    program.display()
                ),
            });
        }
        let program = from_source(binary, scratch).await?;
        let about = describe(&program).await?;
        Ok(Self {
            origin: format!("{}, built from source", about.version),
            program,
        })
    }

    /// Tests a config and starts nginx with it. Returns when nginx accepts connections.
    pub(crate) async fn start(
        &self,
        site: &Site,
        scratch: &Path,
        journal: &Journal,
    ) -> Result<RunningNginx> {
        let arguments = site.arguments();
        self.test(site).await?;

        let (told, mut milestones) = mpsc::unbounded_channel();
        let (complained, complaints) = mpsc::channel(COMPLAINTS);
        let process = {
            let journal = journal.clone();
            Process::spawn(
                &Spec::new(&self.program).arguments(&arguments),
                scratch,
                move |line| hear(line, &journal, &told, &complained),
            )?
        };
        let mut workers = Vec::new();
        while workers.len() < site.workers {
            tokio::select! {
                // Not `None`, which means the end of its output, and so the end of nginx.
                Some(milestone) = milestones.recv() => {
                    if let Milestone::Worker(pid) = milestone {
                        workers.push(pid);
                    }
                }
                status = ended(process.watch_exit()) => {
                    let how = status.map(how).unwrap_or_default();
                    bail!("nginx {how} while it started with nginx/{}: start the lesson again", site.config);
                }
            }
        }
        Ok(RunningNginx {
            process,
            workers,
            config: site.file(),
            milestones,
            complaints,
        })
    }

    /// Runs `nginx -t`. The error for a refused config is nginx's own.
    pub(crate) async fn test(&self, site: &Site) -> Result<()> {
        let tested = Command::new(&self.program)
            .arg("-t")
            .args(site.arguments())
            .stdin(Stdio::null())
            .output()
            .await
            .with_context(|| format!("{} cannot be started", self.program.display()))?;
        if tested.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&tested.stderr);
        let refusal = said
            .lines()
            .find_map(|line| line.find("[emerg]").map(|at| &line[at..]))
            .or(said.lines().last())
            .unwrap_or("it gives no reason");
        // The error must name the learner's file, not the stage's copy.
        let refusal = refusal.replace(&format!("{}/", site.prefix.display()), "");
        bail!("nginx refuses nginx/{}: {}", site.config, refusal.trim());
    }
}

/// The nginx built from source.
///
/// Another process builds it, so that its compilers end when the stage ends.
async fn from_source(binary: &Path, scratch: &Path) -> Result<PathBuf> {
    let (said, mut lines) = mpsc::unbounded_channel();
    let builder = Process::spawn(
        &Spec::new(binary)
            .environment(PROGRAM, BUILDER)
            .with_own_stderr(),
        scratch,
        move |line| {
            // The receiver exists until the builder has ended.
            let _heard = said.send(line);
        },
    )?;
    ended(builder.watch_exit()).await;
    let mut outcome = lines
        .recv()
        .await
        .context("nginx could not be built, and the builder gives no reason")?;
    if let Some(path) = outcome.strip_prefix(BUILT) {
        return Ok(path.into());
    }
    while let Some(line) = lines.recv().await {
        outcome = format!("{outcome}\n{line}");
    }
    bail!(outcome)
}

/// The name by which the stage starts its own binary to build nginx.
pub(crate) const BUILDER: &str = "embedded-nginx";
const BUILT: &str = "built ";

/// Finds or builds nginx, and prints its path or the error.
pub(crate) fn build() {
    match embedded_nginx::nginx() {
        Ok(path) => println!("{BUILT}{}", path.display()),
        Err(error) => println!("{error}"),
    }
}

/// A running nginx. Dropping it kills it and its workers.
pub(crate) struct RunningNginx {
    process: Process,
    /// The PIDs of its first workers.
    workers: Vec<u32>,
    /// Its config file. nginx reads the file again on a reload.
    config: PathBuf,
    milestones: mpsc::UnboundedReceiver<Milestone>,
    complaints: mpsc::Receiver<String>,
}

/// How many lines of the error log are kept. When all servers are dead, each request adds some.
const COMPLAINTS: usize = 1000;

impl RunningNginx {
    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    /// The PIDs of its master and its workers: `master PID: 10, worker PID: 11`. For several
    /// workers, it is their number with the first and the last PID.
    pub(crate) fn pids(&self) -> String {
        let master = format!("master PID: {}", self.process.pid());
        match self.workers.as_slice() {
            [worker] => format!("{master}, worker PID: {worker}"),
            [first, .., last] => {
                let count = self.workers.len();
                format!("{master}, {count} workers, PID: {first} to PID: {last}")
            }
            [] => master,
        }
    }

    /// Makes nginx use another config, which was tested before. New workers take new connections.
    /// Old workers keep their connections. Source: nginx's signal HUP.
    pub(crate) async fn reload(&mut self, site: &Site) -> Result<()> {
        if site.file() != self.config {
            fs::copy(site.file(), &self.config)?;
        }
        while self.milestones.try_recv().is_ok() {}
        self.process.signal(Signal::HUP)?;
        // nginx starts the new workers first. Until the old worker stops, both take connections.
        loop {
            match self.milestones.recv().await {
                Some(Milestone::Worker(_) | Milestone::WorkerEnded) => {}
                Some(Milestone::OldWorkerLeaves) => return Ok(()),
                None => bail!("nginx ended during the reload of nginx/{}", site.config),
            }
        }
    }

    /// Waits until a worker has ended. Returns `false` if nginx itself has ended.
    pub(crate) async fn worker_ends(&mut self) -> bool {
        loop {
            match self.milestones.recv().await {
                Some(Milestone::WorkerEnded) => return true,
                Some(_) => {}
                None => return false,
            }
        }
    }

    /// Waits for a line of its error log with `text` in it. Returns `None` if nginx has ended.
    pub(crate) async fn complaint(&mut self, text: &str) -> Option<String> {
        loop {
            let complaint = self.complaints.recv().await?;
            if complaint.contains(text) {
                return Some(complaint);
            }
        }
    }

    /// Ends nginx; open connections are closed.
    pub(crate) async fn stop(self) {
        // SIGQUIT would wait for held polls and WebSockets; SIGTERM is nginx's fast shutdown.
        let _ended_already = self.process.signal(Signal::TERM);
        self.process.stop().await;
    }
}

/// News about nginx's workers, from its error log.
enum Milestone {
    /// nginx has started a worker with this PID. The listening sockets are open already, because
    /// workers inherit them.
    Worker(u32),
    /// A worker from before a reload takes no more connections.
    OldWorkerLeaves,
    /// A worker has ended.
    WorkerEnded,
}

/// Sorts nginx's output: lines of its access log, news about workers, errors.
fn hear(
    line: String,
    journal: &Journal,
    told: &mpsc::UnboundedSender<Milestone>,
    complained: &mpsc::Sender<String>,
) {
    if let Some(forwarded) = Forwarded::parse(&line) {
        journal.record(Event::Forwarded(forwarded));
    } else if let Some(pid) = worker_started(&line) {
        let _ended_already = told.send(Milestone::Worker(pid));
    } else if line.contains("gracefully shutting down") {
        let _ended_already = told.send(Milestone::OldWorkerLeaves);
    } else if line.contains("worker process") && line.contains("exited with code") {
        let _ended_already = told.send(Milestone::WorkerEnded);
    } else if let Some((pid, signal)) = worker_killed(&line) {
        journal.record(Event::Said {
            part: Part::Nginx,
            line: format!(
                "worker {pid} was killed (signal {signal}): its connections broke, and nginx starts another one"
            ),
        });
    } else if ["[emerg]", "[alert]", "[crit]"]
        .iter()
        .any(|level| line.contains(level))
    {
        journal.record(Event::Said {
            part: Part::Nginx,
            line,
        });
    } else if line.contains("[error]") {
        // If the channel is full, the line is dropped. If it is closed, nothing reads it.
        let _kept = complained.try_send(line);
    }
}

/// The PID in `… [notice] 10#10: start worker process 11`.
fn worker_started(line: &str) -> Option<u32> {
    let (_, pid) = line.split_once("start worker process ")?;
    pid.trim().parse().ok()
}

/// PID and signal in `… [alert] 10#10: worker process 11 exited on signal 9`.
fn worker_killed(line: &str) -> Option<(&str, &str)> {
    let (_, worker) = line.split_once("worker process ")?;
    worker.split_once(" exited on signal ")
}

struct About {
    version: String,
    has_realip: bool,
}

/// Reads the output of `nginx -V`.
async fn describe(program: &Path) -> Result<About> {
    let output = Command::new(program)
        .arg("-V")
        .stdin(Stdio::null())
        .output()
        .await?;
    let said = String::from_utf8_lossy(&output.stderr);
    let version = said
        .lines()
        .find_map(|line| line.strip_prefix("nginx version: "))
        .context("its answer to `-V` is not that of nginx")?;
    let version = version.replace('/', " ");
    let version = version.split(" (").next().unwrap_or(&version).to_owned();
    Ok(About {
        version,
        has_realip: said.contains("http_realip_module"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_refused_config_is_said_in_nginxs_words_and_under_the_learners_path() {
        let nginx = Installation {
            program: embedded_nginx::nginx().unwrap(),
            origin: String::new(),
        };
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("nginx")).unwrap();
        fs::write(folder.path().join("nginx/bad.conf"), "evnts {}\n").unwrap();

        let refused = nginx
            .test(&Site {
                prefix: folder.path().to_owned(),
                config: "bad.conf".to_owned(),
                address: ([127, 0, 0, 1], 0).into(),
                workers: 1,
            })
            .await;
        let said = refused.unwrap_err().to_string();
        assert!(
            said.starts_with("nginx refuses nginx/bad.conf: [emerg]"),
            "{said}"
        );
        assert!(
            said.ends_with("unknown directive \"evnts\" in nginx/bad.conf:1"),
            "{said}"
        );
    }
}
