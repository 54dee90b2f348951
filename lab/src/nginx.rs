//! nginx: which one, with which config, and its life.

use std::{
    env,
    ffi::OsString,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use tokio::{process::Command, sync::mpsc};

use crate::{
    event::{Event, Forwarded, Part},
    journal::Journal,
    process::{Process, Spec, ended, how},
    rewrite::{Swap, rewrite},
    stage::PROGRAM,
};

/// The folder of the configs, as it stands in the repository.
pub(crate) const CONFIGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../nginx");

/// Where an nginx is looked for besides `PATH`, which often lacks the folders for root.
const ELSEWHERE: [&str; 4] = [
    "/usr/sbin",
    "/usr/local/sbin",
    "/usr/local/nginx/sbin",
    "/opt/homebrew/bin",
];

/// An nginx that can be started.
pub(crate) struct Nginx {
    program: PathBuf,
    /// Which one it is and where it comes from, for the learner.
    pub(crate) origin: String,
}

impl Nginx {
    /// `NGINX_BIN`, else nginx on `PATH`, else the one built from source, once.
    ///
    /// `NGINX_BIN=embedded` asks for the one built from source.
    pub(crate) async fn find(binary: &Path, scratch: &Path, journal: &Journal) -> Result<Self> {
        if let Some(named) = env::var_os("NGINX_BIN").filter(|named| *named != "embedded") {
            let program = PathBuf::from(named);
            let about = describe(&program).await.with_context(|| {
                format!(
                    "NGINX_BIN={} is no nginx; name one, or unset NGINX_BIN to have one found or built",
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
                    "{} lacks the realip module that the configs need, so nginx is built from source.",
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

    /// Tests a config and starts nginx with it; ready once nginx accepts connections.
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
        tokio::select! {
            // Not `None`: that is the end of what it writes, and so of nginx.
            Some(_) = milestones.recv() => {}
            status = ended(process.watch_exit()) => {
                let how = status.map(how).unwrap_or_default();
                bail!("nginx {how} while it started with nginx/{}: start the chapter again", site.config);
            }
        }
        Ok(RunningNginx {
            process,
            config: site.file(),
            milestones,
            complaints,
        })
    }

    /// `nginx -t`: a config that nginx refuses is said in nginx's own words.
    pub(crate) async fn test(&self, site: &Site) -> Result<()> {
        let tested = Command::new(&self.program)
            .arg("-t")
            .args(site.arguments())
            .stdin(Stdio::null())
            .output()
            .await
            .with_context(|| format!("{} does not start", self.program.display()))?;
        if tested.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&tested.stderr);
        let refusal = said
            .lines()
            .find_map(|line| line.find("[emerg]").map(|at| &line[at..]))
            .or(said.lines().last())
            .unwrap_or("it gives no reason");
        // The learner's file, not the stage's copy of it.
        let refusal = refusal.replace(&format!("{}/", site.prefix.display()), "");
        bail!("nginx refuses nginx/{}: {}", site.config, refusal.trim());
    }
}

/// The nginx built from source.
///
/// A process of its own builds it, so that whatever ends the stage ends the compilers too.
async fn from_source(binary: &Path, scratch: &Path) -> Result<PathBuf> {
    let (said, mut lines) = mpsc::unbounded_channel();
    let builder = Process::spawn(
        &Spec::new(binary)
            .environment(PROGRAM, BUILDER)
            .with_own_stderr(),
        scratch,
        move |line| {
            // Somebody listens until the builder has ended.
            let _heard = said.send(line);
        },
    )?;
    ended(builder.watch_exit()).await;
    let mut outcome = lines.recv().await.context("nginx was not built")?;
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

/// Finds or builds nginx, and says where it is or why it is not.
pub(crate) fn build() {
    match embedded_nginx::nginx() {
        Ok(path) => println!("{BUILT}{}", path.display()),
        Err(error) => println!("{error}"),
    }
}

/// A running nginx. Dropping it kills it, workers and all.
pub(crate) struct RunningNginx {
    process: Process,
    /// The file that nginx was started with, and reads again on a reload.
    config: PathBuf,
    milestones: mpsc::UnboundedReceiver<Milestone>,
    complaints: mpsc::Receiver<String>,
}

/// How many complaints are kept: with every server dead, each request brings some.
const COMPLAINTS: usize = 1000;

impl RunningNginx {
    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    /// Has nginx take another config, tested before: new workers take what comes from now
    /// on, old ones keep the connections that they have. Source: nginx's signal HUP.
    pub(crate) async fn reload(&mut self, site: &Site) -> Result<()> {
        if site.file() != self.config {
            fs::copy(site.file(), &self.config)?;
        }
        while self.milestones.try_recv().is_ok() {}
        self.process.signal(Signal::HUP)?;
        // New workers are started first: until the old one leaves, both take connections.
        loop {
            match self.milestones.recv().await {
                Some(Milestone::Started | Milestone::WorkerEnded) => {}
                Some(Milestone::OldWorkerLeaves) => return Ok(()),
                None => bail!("nginx ended when it was to take nginx/{}", site.config),
            }
        }
    }

    /// Waits for the end of a worker. Returns whether one has ended; none will once nginx
    /// itself has.
    pub(crate) async fn worker_ends(&mut self) -> bool {
        loop {
            match self.milestones.recv().await {
                Some(Milestone::WorkerEnded) => return true,
                Some(_) => {}
                None => return false,
            }
        }
    }

    /// Waits for a line of its error log that has `text` in it; none once nginx has ended.
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

/// What nginx says of its workers.
enum Milestone {
    /// Listening sockets are open by now: workers inherit them.
    Started,
    /// A worker of before a reload takes no more connections.
    OldWorkerLeaves,
    /// It has ended.
    WorkerEnded,
}

/// Sorts what nginx writes: its access log, its workers, its complaints.
fn hear(
    line: String,
    journal: &Journal,
    told: &mpsc::UnboundedSender<Milestone>,
    complained: &mpsc::Sender<String>,
) {
    if let Some(forwarded) = Forwarded::parse(&line) {
        journal.record(Event::Forwarded(forwarded));
    } else if line.contains("start worker processes") {
        let _ended_already = told.send(Milestone::Started);
    } else if line.contains("gracefully shutting down") {
        let _ended_already = told.send(Milestone::OldWorkerLeaves);
    } else if line.contains("worker process") && line.contains("exited with code") {
        let _ended_already = told.send(Milestone::WorkerEnded);
    } else if let Some((pid, signal)) = worker_killed(&line) {
        journal.record(Event::Said {
            part: Part::Nginx,
            line: format!(
                "worker {pid} was killed (signal {signal}): its connections broke, and nginx starts another"
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
        // Full, and then the first ones are kept; or nobody asks any more.
        let _kept = complained.try_send(line);
    }
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

/// What `nginx -V` says.
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
        .context("it does not answer `-V` as nginx does")?;
    let version = version.replace('/', " ");
    let version = version.split(" (").next().unwrap_or(&version).to_owned();
    Ok(About {
        version,
        has_realip: said.contains("http_realip_module"),
    })
}

/// The first program of that name on `PATH` or in the usual places.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(ELSEWHERE.iter().map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// One of the repository's configs, as it stands.
///
/// # Errors
/// When it is not there: a chapter runs where its repository was checked out.
pub fn config(name: &str) -> Result<String> {
    let folder = Path::new(CONFIGS);
    fs::read_to_string(folder.join(name)).with_context(|| {
        format!(
            "nginx/{name} cannot be read; a chapter runs where its repository was checked out and built, {}",
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .parent()
                .unwrap_or(folder)
                .display()
        )
    })
}

/// A copy of the repository's `nginx/` in which one config names the stage's addresses.
#[derive(Clone, Debug)]
pub struct Site {
    /// The folder that holds the copy, for nginx's `-p`.
    pub prefix: PathBuf,
    /// The config's name, such as `02-round-robin.conf`.
    pub config: String,
    /// Where nginx listens with it.
    pub address: SocketAddr,
}

impl Site {
    /// Makes the copy below `scratch`. `edit` may change the config's text before the
    /// addresses in it are swapped.
    pub(crate) fn copy(
        scratch: &Path,
        config: &str,
        address: SocketAddr,
        swaps: &[Swap],
        edit: impl FnOnce(&str) -> String,
    ) -> Result<Self> {
        let prefix = scratch.join("nginx-stage");
        let (from, to) = (Path::new(CONFIGS), prefix.join("nginx"));
        let text = self::config(config)?;
        for folder in ["include", "run"] {
            fs::create_dir_all(to.join(folder))?;
            for file in fs::read_dir(from.join(folder))? {
                let file = file?;
                if file.file_type()?.is_file() {
                    fs::copy(file.path(), to.join(folder).join(file.file_name()))?;
                }
            }
        }
        let text = rewrite(&edit(&text), swaps).with_context(|| format!("nginx/{config}"))?;
        fs::write(to.join(config), text)?;
        Ok(Self {
            prefix,
            config: config.to_owned(),
            address,
        })
    }

    fn file(&self) -> PathBuf {
        self.prefix.join("nginx").join(&self.config)
    }

    /// The command line that starts nginx with it.
    fn arguments(&self) -> Vec<OsString> {
        vec![
            // Without it, nginx first tries a log file that only root may write.
            "-e".into(),
            "stderr".into(),
            "-p".into(),
            self.prefix.clone().into(),
            "-c".into(),
            format!("nginx/{}", self.config).into(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_refused_config_is_said_in_nginxs_words_and_under_the_learners_path() {
        let nginx = Nginx {
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
