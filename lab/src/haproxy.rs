//! HAProxy: which one, with which config, and its life on the stage.

use std::{
    env,
    ffi::OsString,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{self, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::{
    net::TcpStream,
    process::Command,
    sync::mpsc,
    task::AbortHandle,
    time::{interval, timeout},
};

use crate::{
    client::PATIENCE,
    event::{Event, Forwarded, Part},
    journal::Journal,
    nginx::on_path,
    process::{Process, Spec, ended, how},
    rewrite::{Swap, rewrite},
    stage::{NGINX, Stage, watch},
};

/// The folder of the configs, as it stands in the repository.
const CONFIGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../haproxy");

const PART: Part = Part::Program("haproxy");

/// An HAProxy that can be started.
pub(crate) struct Haproxy {
    place: Place,
    /// Which one it is and where it comes from, for the learner.
    origin: String,
}

/// Where it runs.
enum Place {
    Here(PathBuf),
    /// In a container of this image, on this machine's network.
    Container(String),
}

/// Ends a container's HAProxy once nobody holds the container's stdin any more: it is open
/// for as long as the stage lives.
const LEASH: &str = r#"exec 3<&0 </dev/null
(while read -r _; do :; done <&3; kill $$) &
exec 3<&-
exec haproxy "$@""#;

impl Haproxy {
    /// A container of the image that `HAPROXY_IMAGE` names, else haproxy on `PATH`.
    ///
    /// # Errors
    /// When there is neither.
    pub(crate) async fn find() -> Result<Self> {
        if let Ok(image) = env::var("HAPROXY_IMAGE") {
            let place = Place::Container(image.clone());
            let version = version(&place).await.with_context(|| {
                format!(
                    "no HAProxy runs from HAPROXY_IMAGE={image}: start Docker and pull the image, \
                     or unset HAPROXY_IMAGE to use the one that is installed"
                )
            })?;
            let origin = format!("{version}, in a container of {image}");
            return Ok(Self { place, origin });
        }
        let installed = on_path("haproxy").map(Place::Here);
        if let Some(place @ Place::Here(program)) = &installed
            && let Ok(version) = version(place).await
        {
            return Ok(Self {
                origin: format!("{version}, {}", program.display()),
                place: Place::Here(program.clone()),
            });
        }
        bail!(
            "there is no HAProxy: install it (Debian: apt-get install haproxy), or name an image of \
             it for Docker with HAPROXY_IMAGE"
        )
    }

    /// Tests a config and starts HAProxy with it; ready once it accepts connections.
    async fn start(
        &self,
        config: &Config,
        scratch: &Path,
        journal: &Journal,
    ) -> Result<RunningHaproxy> {
        self.test(config).await?;
        let (told, news) = mpsc::unbounded_channel();
        let container = matches!(self.place, Place::Container(_)).then(container_name);
        let mut command = self.place.command(Some(config), container.as_deref());
        if container.is_some() {
            // The stage gives a child no stdin; in the container, the end of stdin is the end.
            let leash = ["sh", "-c", r#"tail -f /dev/null | exec "$@""#, "leash"];
            command.splice(0..0, leash.map(OsString::from));
        }
        let process = {
            let journal = journal.clone();
            Process::spawn(
                &Spec::new(&command[0]).arguments(&command[1..]),
                scratch,
                move |line| hear(line, &journal, &told),
            )?
        };
        let way_back = format!(
            "Nobody answers at http://{} now. HAProxy comes back with the stage: Ctrl-C, and start \
             that again.",
            config.address
        );
        let watcher = watch(PART, &process, journal, way_back);
        let running = RunningHaproxy {
            process,
            container,
            news,
            watcher,
        };
        tokio::select! {
            () = accepts(config.address) => Ok(running),
            status = ended(running.process.watch_exit()) => {
                let how = status.map(how).unwrap_or_default();
                bail!("HAProxy {how} while it started with haproxy/{}: start it again", config.name)
            }
        }
    }

    /// `haproxy -c`: a config that HAProxy refuses is said in HAProxy's own words.
    async fn test(&self, config: &Config) -> Result<()> {
        let mut command = self.place.command(Some(config), None);
        command.push("-c".into());
        let tested = run(command).await?;
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
        bail!("HAProxy refuses haproxy/{}: {refusal}", config.name)
    }
}

impl Place {
    /// The command line of HAProxy: with a config, or for its version.
    fn command(&self, config: Option<&Config>, container: Option<&str>) -> Vec<OsString> {
        let mut command: Vec<OsString> = match self {
            Self::Here(program) => vec![program.into()],
            Self::Container(image) => {
                let mut docker: Vec<OsString> = ["docker", "run", "--rm", "--network", "host"]
                    .map(OsString::from)
                    .into();
                if let Some(name) = container {
                    docker.extend(["--interactive", "--name", name].map(OsString::from));
                }
                if let Some(config) = config {
                    docker.push("--volume".into());
                    let mut volume = config.prefix.clone().into_os_string();
                    volume.push(":/lab:ro");
                    docker.push(volume);
                }
                docker.extend(["--entrypoint", "sh", image, "-c"].map(OsString::from));
                let script = if container.is_some() {
                    LEASH
                } else {
                    r#"exec haproxy "$@""#
                };
                docker.extend([script, "haproxy"].map(OsString::from));
                docker
            }
        };
        match config {
            None => command.push("-v".into()),
            Some(config) => {
                // `-db`: in the foreground, whatever the config says.
                command.extend(["-db", "-C"].map(OsString::from));
                command.push(match self {
                    Self::Here(_) => config.prefix.clone().into(),
                    Self::Container(_) => "/lab".into(),
                });
                command.push("-f".into());
                command.push(format!("haproxy/{}", config.name).into());
            }
        }
        command
    }
}

async fn run(command: Vec<OsString>) -> Result<Output> {
    let mut words = command.into_iter();
    let program = words.next().context("a command has a first word")?;
    Command::new(&program)
        .args(words)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("{} does not start", program.display()))
}

/// `HAProxy 2.6.12`, of what `haproxy -v` says.
async fn version(place: &Place) -> Result<String> {
    let said = run(place.command(None, None)).await?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let version = said
        .strip_prefix("HAProxy version ")
        .and_then(|rest| rest.split([' ', '-']).next())
        .context("it does not answer `-v` as HAProxy does")?;
    Ok(format!("HAProxy {version}"))
}

/// A name that no other container has.
fn container_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!(
        "socket-lab-haproxy-{}-{}",
        process::id(),
        NEXT.fetch_add(1, Relaxed)
    )
}

/// Ready once somebody listens there.
async fn accepts(address: SocketAddr) {
    let mut again = interval(Duration::from_millis(10));
    loop {
        again.tick().await;
        if TcpStream::connect(address).await.is_ok() {
            return;
        }
    }
}

/// A copy of one config with the stage's addresses.
struct Config {
    /// The folder for HAProxy's `-C`.
    prefix: PathBuf,
    name: String,
    address: SocketAddr,
}

impl Config {
    fn copy(scratch: &Path, name: &str, address: SocketAddr, swaps: &[Swap]) -> Result<Self> {
        let text = fs::read_to_string(Path::new(CONFIGS).join(name)).with_context(|| {
            format!(
                "haproxy/{name} cannot be read; a chapter runs where its repository was checked \
                 out and built"
            )
        })?;
        let text = rewrite(&text, swaps).with_context(|| format!("haproxy/{name}"))?;
        let prefix = scratch.join("haproxy-stage");
        fs::create_dir_all(prefix.join("haproxy"))?;
        fs::write(prefix.join("haproxy").join(name), text)?;
        Ok(Self {
            prefix,
            name: name.to_owned(),
            address,
        })
    }
}

/// A running HAProxy. Dropping it kills it.
pub(crate) struct RunningHaproxy {
    process: Process,
    container: Option<String>,
    news: mpsc::UnboundedReceiver<String>,
    watcher: AbortHandle,
}

impl RunningHaproxy {
    /// Ends HAProxy; open connections are closed.
    async fn stop(self) {
        self.watcher.abort();
        if let Some(name) = &self.container {
            // The container is gone, and its port free, once this returns; or it was already.
            let _gone_already = run(["docker", "kill", name].map(OsString::from).into()).await;
            ended(self.process.watch_exit()).await;
        }
        self.process.stop().await;
    }
}

/// Sorts what HAProxy writes: its access log, and what becomes of servers.
fn hear(line: String, journal: &Journal, told: &mpsc::UnboundedSender<String>) {
    if let Some(mut forwarded) = Forwarded::parse(&line) {
        // nginx logs seconds, HAProxy milliseconds.
        forwarded.seconds /= 1000.0;
        journal.record(Event::Forwarded(forwarded));
    } else if line.starts_with("Server ") {
        // What comes with a severity before it is the same, said once more on stderr.
        let _not_waited_for = told.send(line);
    } else if line.starts_with("[ALERT]") {
        journal.record(Event::Said { part: PART, line });
    }
}

/// HAProxy, in nginx's place.
impl Stage {
    /// Starts HAProxy with one of the configs in `haproxy/`, where nginx would listen and in
    /// place of what runs there. Returns its URL.
    ///
    /// # Errors
    /// When there is no HAProxy, the config does not fit the servers, or HAProxy refuses it.
    pub async fn start_haproxy(&mut self, config: &str) -> Result<String> {
        let is_first = self.haproxy_found.is_none();
        let url = self.switch_haproxy(config).await?;
        if let (Some(running), Some(found)) = (&self.haproxy, &self.haproxy_found) {
            let pid = running.container.is_none().then_some(running.process.pid());
            let mut says = vec![format!("{url} with haproxy/{config}")];
            if is_first {
                says.insert(0, found.origin.clone());
            }
            for detail in says {
                self.journal.record(Event::Up {
                    part: PART,
                    pid,
                    detail,
                });
            }
        }
        Ok(url)
    }

    /// The same without a word: for a lesson that goes through many configs.
    ///
    /// # Errors
    /// As for [`Stage::start_haproxy`].
    pub async fn switch_haproxy(&mut self, config: &str) -> Result<String> {
        let address = self.balancer_address()?;
        let mut swaps = self.server_swaps();
        // `bind 127.0.0.1:3000` is an address as a server's is.
        swaps.push(Swap::Server {
            port: NGINX,
            with: address,
        });
        let config = Config::copy(self.folder(), config, address, &swaps)?;
        self.stop_balancer().await;
        let haproxy = match self.haproxy_found.take() {
            Some(haproxy) => haproxy,
            None => Haproxy::find().await?,
        };
        let running = haproxy.start(&config, self.folder(), &self.journal).await;
        self.haproxy_found = Some(haproxy);
        self.haproxy = Some(running?);
        Ok(format!("http://{address}"))
    }

    /// Waits until HAProxy says of a server that it is `DOWN` or `UP`, and returns its words;
    /// none if it does not within the time that an answer may take.
    pub async fn haproxy_says(&mut self, letter: char, state: &str) -> Option<String> {
        let running = self.haproxy.as_mut()?;
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

    /// Ends HAProxy, if it runs.
    pub(crate) async fn stop_haproxy(&mut self) {
        if let Some(haproxy) = self.haproxy.take() {
            haproxy.stop().await;
        }
    }
}

/// Whether HAProxy can be had on this machine, and if not, why not, in one sentence.
///
/// # Errors
/// That sentence.
pub async fn haproxy_found() -> Result<String> {
    Ok(Haproxy::find().await?.origin)
}
