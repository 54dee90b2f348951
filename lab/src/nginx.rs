//! nginx: which one, with which config, and its life.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use tokio::{process::Command, sync::mpsc};

use crate::{
    event::{Event, Forwarded, Part},
    journal::Journal,
    process::{Process, Spec, ended},
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
    pub(crate) async fn find(scratch: &Path, journal: &Journal) -> Result<Self> {
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
        let program = from_source(scratch).await?;
        let about = describe(&program).await?;
        Ok(Self {
            origin: format!("{}, built from source", about.version),
            program,
        })
    }

    /// Tests a config and starts nginx with it; ready once nginx accepts connections.
    ///
    /// `scratch` gets a copy of the configs in which `swaps` replace the article's addresses.
    pub(crate) async fn start(
        &self,
        config: &str,
        swaps: &[Swap],
        scratch: &Path,
        journal: &Journal,
    ) -> Result<RunningNginx> {
        let prefix = scratch.join("nginx-stage");
        copy_configs(&prefix, config, swaps)?;
        let arguments = arguments(&prefix, config);
        self.test(&arguments, &prefix, config).await?;

        let (started, mut ready) = mpsc::channel(1);
        let process = {
            let journal = journal.clone();
            Process::spawn(
                &Spec::new(&self.program).arguments(&arguments),
                scratch,
                move |line| hear(&line, &journal, &started),
            )?
        };
        tokio::select! {
            _ = ready.recv() => {}
            _ = ended(process.watch_exit()) => {
                bail!("nginx ended while it started with nginx/{config}");
            }
        }
        Ok(RunningNginx { process })
    }

    /// `nginx -t`: a config that nginx refuses is said in nginx's own words.
    async fn test(&self, arguments: &[OsString], prefix: &Path, config: &str) -> Result<()> {
        let tested = Command::new(&self.program)
            .arg("-t")
            .args(arguments)
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
        let refusal = refusal.replace(&format!("{}/", prefix.display()), "");
        bail!("nginx refuses nginx/{config}: {}", refusal.trim());
    }
}

/// The command line that starts nginx with a config of the copy below `prefix`.
fn arguments(prefix: &Path, config: &str) -> Vec<OsString> {
    vec![
        // Without it, nginx first tries a log file that only root may write.
        "-e".into(),
        "stderr".into(),
        "-p".into(),
        prefix.into(),
        "-c".into(),
        format!("nginx/{config}").into(),
    ]
}

/// The nginx built from source.
///
/// A process of its own builds it, so that whatever ends the stage ends the compilers too.
async fn from_source(scratch: &Path) -> Result<PathBuf> {
    let own = env::current_exe().context("this program's own path is unknown")?;
    let (said, mut lines) = mpsc::unbounded_channel();
    let builder = Process::spawn(
        &Spec::new(&own)
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
}

impl RunningNginx {
    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    /// Ends nginx; open connections are closed.
    pub(crate) async fn stop(self) {
        // SIGQUIT would wait for held polls and WebSockets; SIGTERM is nginx's fast shutdown.
        let _ended_already = self.process.signal(Signal::TERM);
        self.process.stop().await;
    }
}

/// Sorts what nginx writes: its access log, its start, its complaints.
fn hear(line: &str, journal: &Journal, started: &mpsc::Sender<()>) {
    if let Some(forwarded) = Forwarded::parse(line) {
        journal.record(Event::Forwarded(forwarded));
    } else if line.contains("start worker processes") {
        // Listening sockets are open by now: workers inherit them. A full channel means
        // that this was said before.
        let _said_already = started.try_send(());
    } else if ["[emerg]", "[alert]", "[crit]"]
        .iter()
        .any(|level| line.contains(level))
    {
        journal.record(Event::Said {
            part: Part::Nginx,
            line: line.to_owned(),
        });
    }
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

/// Copies the repository's `nginx/` below `prefix`, with addresses swapped in `config`.
fn copy_configs(prefix: &Path, config: &str, swaps: &[Swap]) -> Result<()> {
    let (from, to) = (Path::new(CONFIGS), prefix.join("nginx"));
    let text = fs::read_to_string(from.join(config)).with_context(|| {
        format!(
            "nginx/{config} cannot be read; a chapter runs where its repository was checked out and built, {}",
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .parent()
                .unwrap_or(from)
                .display()
        )
    })?;
    let include = to.join("include");
    fs::create_dir_all(&include)?;
    fs::create_dir_all(to.join("run"))?;
    for file in fs::read_dir(from.join("include"))? {
        let file = file?;
        fs::copy(file.path(), include.join(file.file_name()))?;
    }
    let text = rewrite(&text, swaps).with_context(|| format!("nginx/{config}"))?;
    fs::write(to.join(config), text)?;
    Ok(())
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
        let prefix = tempfile::tempdir().unwrap();
        fs::create_dir(prefix.path().join("nginx")).unwrap();
        fs::write(prefix.path().join("nginx/bad.conf"), "evnts {}\n").unwrap();

        let arguments = arguments(prefix.path(), "bad.conf");
        let refused = nginx.test(&arguments, prefix.path(), "bad.conf").await;
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
