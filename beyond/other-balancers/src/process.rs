//! HAProxy as a process: which one, with which config, and how it starts and stops.

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use lab::{
    Event, Part, Stage,
    client::PATIENCE,
    event::Forwarded,
    parts::{
        find::on_path,
        process::{Process, Spec, ended, how},
        rewrite::Swap,
        watch::Watch,
    },
    seen::journal::Journal,
};
use tokio::{
    net::TcpStream,
    process::Command,
    sync::mpsc,
    time::{interval, timeout},
};

use crate::config;

/// The folder of the configs.
const CONFIGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../nginx/haproxy");

const PART: Part = Part::Program("haproxy");

/// The article's port of the balancer.
const PORT: u16 = 3000;

/// HAProxy, in nginx's place, with one config at a time. Dropping it kills it.
pub struct Haproxy {
    program: PathBuf,
    /// `HAProxy 2.6.12, /usr/sbin/haproxy`
    origin: String,
    running: Option<Running>,
}

/// An HAProxy that runs.
struct Running {
    // First the watch: when it is dropped, it no longer reports the end of the process.
    watch: Watch,
    process: Process,
    /// What HAProxy says about servers.
    news: mpsc::UnboundedReceiver<String>,
}

impl Haproxy {
    /// The HAProxy that `HAPROXY_BIN` names, or the one that is installed.
    ///
    /// # Errors
    /// When there is none: how to get it, in one sentence.
    pub async fn find() -> Result<Self> {
        if let Some(named) = env::var_os("HAPROXY_BIN") {
            let program = PathBuf::from(named);
            let version = version(&program).await.with_context(|| {
                format!(
                    "HAPROXY_BIN={} is no HAProxy: name one, or unset HAPROXY_BIN to use the one that is installed",
                    program.display()
                )
            })?;
            return Ok(Self::new(program, &version));
        }
        if let Some(program) = on_path("haproxy")
            && let Ok(version) = version(&program).await
        {
            return Ok(Self::new(program, &version));
        }
        bail!("HAProxy is not installed: install it (Debian: apt-get install haproxy)")
    }

    fn new(program: PathBuf, version: &str) -> Self {
        Self {
            origin: format!("HAProxy {version}, {}", program.display()),
            program,
            running: None,
        }
    }

    /// Starts HAProxy with one of the configs in `nginx/haproxy/`, where nginx would listen.
    /// nginx and an HAProxy that already runs are stopped first. Returns its URL.
    ///
    /// # Errors
    /// When the config does not fit the servers, or HAProxy refuses it.
    pub async fn start(&mut self, stage: &mut Stage, config: &str) -> Result<String> {
        let url = self.switch(stage, config).await?;
        let pid = self.running.as_ref().map(|running| running.process.pid());
        for detail in [
            self.origin.clone(),
            format!("{url} with nginx/haproxy/{config}"),
        ] {
            stage.record(Event::Up {
                part: PART,
                pid,
                detail,
            });
        }
        Ok(url)
    }

    /// The same, and prints nothing: for a table that goes through many configs.
    ///
    /// # Errors
    /// As for [`Haproxy::start`].
    pub async fn switch(&mut self, stage: &mut Stage, config: &str) -> Result<String> {
        self.stop().await;
        stage.nginx.stop().await;
        let address = stage.nginx.address()?;
        let config = Config::copy(stage, config, address)?;
        self.test(&config).await?;

        let journal = stage.journal().clone();
        let (tell, news) = mpsc::unbounded_channel();
        let process = {
            let journal = journal.clone();
            Process::spawn(
                &Spec::new(&self.program).arguments(config.arguments()),
                stage.folder(),
                move |line| hear(line, &journal, &tell),
            )?
        };
        let way_back = format!(
            "Nobody answers at http://{address} now.\n\
             HAProxy comes back with the stage: press Ctrl-C, and start it again."
        );
        tokio::select! {
            () = accepts(address) => {}
            status = ended(process.watch_exit()) => {
                let how = status.map(how).unwrap_or_default();
                bail!("HAProxy {how} while it started with nginx/haproxy/{}: start it again", config.name)
            }
        }
        let watch = Watch::new(PART, &process, &journal, way_back);
        self.running = Some(Running {
            watch,
            process,
            news,
        });
        Ok(format!("http://{address}"))
    }

    /// Waits until HAProxy says that a server is `DOWN` or `UP`, and returns its words. `None`
    /// if it does not say so within the time that an answer may take.
    pub async fn says(&mut self, letter: char, state: &str) -> Option<String> {
        let running = self.running.as_mut()?;
        let begin = format!("Server nodes/{} is {state}", letter.to_ascii_lowercase());
        let said = async {
            loop {
                let line = running.news.recv().await?;
                if line.starts_with(&begin) {
                    return Some(line);
                }
            }
        };
        timeout(PATIENCE, said).await.ok().flatten()
    }

    /// Stops HAProxy, if it runs, so that its port is free again.
    pub async fn stop(&mut self) {
        if let Some(Running { watch, process, .. }) = self.running.take() {
            drop(watch);
            process.stop().await;
        }
    }

    /// `haproxy -c`: if HAProxy refuses a config, the error has HAProxy's own words.
    async fn test(&self, config: &Config) -> Result<()> {
        let mut arguments = config.arguments();
        arguments.push("-c".into());
        let tested = run(&self.program, &arguments).await?;
        if tested.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&tested.stderr);
        let refusal = said
            .lines()
            .find_map(|line| line.split_once("config : "))
            .map(|(_, refusal)| refusal)
            .or(said.lines().last())
            .unwrap_or("it gives no reason");
        bail!("HAProxy refuses nginx/haproxy/{}: {refusal}", config.name)
    }
}

/// A copy of a config with the stage's addresses.
struct Config {
    /// The folder for HAProxy's `-C`.
    folder: PathBuf,
    name: String,
}

impl Config {
    fn copy(stage: &Stage, name: &str, address: SocketAddr) -> Result<Self> {
        let text = fs::read_to_string(Path::new(CONFIGS).join(name)).with_context(|| {
            format!(
                "nginx/haproxy/{name} cannot be read: keep the repository where this program was built"
            )
        })?;
        let mut swaps = stage.server_swaps();
        // `bind 127.0.0.1:3000` is written as a server's address is.
        swaps.push(Swap::Server {
            port: PORT,
            with: address,
        });
        let text =
            config::rewrite(&text, &swaps).with_context(|| format!("nginx/haproxy/{name}"))?;
        let folder = stage.folder().join("haproxy-stage");
        fs::create_dir_all(folder.join("nginx/haproxy"))?;
        fs::write(folder.join("nginx/haproxy").join(name), text)?;
        Ok(Self {
            folder,
            name: name.to_owned(),
        })
    }

    fn arguments(&self) -> Vec<String> {
        // `-db`: stay in the foreground, although the configs do not say so.
        let folder = self.folder.display().to_string();
        let config = format!("nginx/haproxy/{}", self.name);
        ["-db", "-C", &folder, "-f", &config]
            .map(str::to_owned)
            .into()
    }
}

async fn run(program: &Path, arguments: &[String]) -> Result<Output> {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("{} does not start", program.display()))
}

/// `2.6.12`, from the answer to `haproxy -v`.
async fn version(program: &Path) -> Result<String> {
    let said = run(program, &["-v".to_owned()]).await?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let version = said
        .strip_prefix("HAProxy version ")
        .and_then(|rest| rest.split([' ', '-']).next())
        .context("it does not answer `-v` as HAProxy does")?;
    Ok(version.to_owned())
}

/// Ready when somebody listens at the address.
async fn accepts(address: SocketAddr) {
    let mut again = interval(Duration::from_millis(10));
    loop {
        again.tick().await;
        if TcpStream::connect(address).await.is_ok() {
            return;
        }
    }
}

/// Sorts what HAProxy writes: its access log, and what it says about servers.
fn hear(line: String, journal: &Journal, tell: &mpsc::UnboundedSender<String>) {
    if let Some(mut forwarded) = Forwarded::parse(&line) {
        // nginx logs seconds, HAProxy milliseconds.
        forwarded.seconds /= 1000.0;
        journal.record(Event::Forwarded(forwarded));
    } else if line.starts_with("Server ") {
        // HAProxy writes the same line again on stderr, after a severity: that one is ignored.
        let _nobody_waits = tell.send(line);
    } else if line.starts_with("[ALERT]") {
        journal.record(Event::Said { part: PART, line });
    }
}
