//! Redis: finds it, or starts and stops it.

use std::{
    env,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use futures_util::future::select_ok;
use tokio::{sync::mpsc, time::timeout};

use crate::{
    parts::find::on_path,
    parts::ports::{Ports, loopback},
    parts::process::{Process, Spec, ended, how},
};

const PORT: u16 = 6379;
/// How long Redis may take to answer PING.
const PATIENCE: Duration = Duration::from_secs(3);

/// A Redis that answers.
pub(crate) struct RunningRedis {
    /// Its URL, `redis://…`.
    pub(crate) url: String,
    /// Its version and where it comes from, for the learner.
    pub(crate) origin: String,
    source: Source,
}

/// Where Redis comes from.
enum Source {
    /// The stage found it running. It uses this Redis, but never stops it.
    Found,
    /// The stage starts `redis-server` or `valkey-server`.
    Program {
        program: PathBuf,
        address: SocketAddr,
        keeps: Keeps,
        process: Option<Process>,
    },
    /// The pub/sub server of this workspace.
    Embedded {
        address: SocketAddr,
        server: Option<embedded_pubsub::Server>,
    },
}

/// What the stage's Redis keeps when it is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeps {
    /// Nothing. Pub/sub stores no messages anyway.
    Nothing,
    /// Its keys. Redis writes each change to a file before it answers (its setting `appendonly`).
    /// The file survives a crash of the process, but perhaps not a crash of the machine.
    Keys,
}

impl RunningRedis {
    /// Redis's usual URL.
    pub(crate) const USUAL_URL: &str = "redis://127.0.0.1:6379";

    /// The Redis at `REDIS_URL`, or else the one on port 6379, or else a server on `PATH`, or else
    /// the embedded pub/sub server.
    ///
    /// `REDIS_URL=embedded` selects the embedded one. A stage on free ports shares nothing with
    /// other programs, so it does not use port 6379.
    pub(crate) async fn start(ports: &Ports, scratch: &Path, keeps: Keeps) -> Result<Self> {
        let named = env::var("REDIS_URL").ok();
        if let Some(url) = named.as_deref().filter(|url| *url != "embedded") {
            return Self::named(url).await;
        }
        let embedded_only = named.is_some();
        if !embedded_only && matches!(ports, Ports::Article) {
            let url = Self::USUAL_URL.to_owned();
            if listens(loopback(PORT)) {
                let version = ping(&url).await.with_context(|| {
                    format!(
                        "the program on port {PORT} cannot be used as Redis: give the URL of a Redis in \
                         REDIS_URL (with its password, if it has one: redis://:password@127.0.0.1), \
                         or use free ports with `-- --ports auto`"
                    )
                })?;
                return Ok(Self {
                    url,
                    origin: format!("{version}, found on port {PORT}"),
                    source: Source::Found,
                });
            }
        }
        let address = ports.instead_of(PORT)?;
        let url = format!("redis://{address}");
        let program = installed().filter(|_| !embedded_only);
        let mut redis = match program {
            Some(program) => Self {
                url,
                origin: program.display().to_string(),
                source: Source::Program {
                    program,
                    address,
                    keeps,
                    process: None,
                },
            },
            None => Self {
                url,
                origin: "the embedded pub/sub server (pub/sub only, no keys)".to_owned(),
                source: Source::Embedded {
                    address,
                    server: None,
                },
            },
        };
        redis.restart(scratch).await?;
        if let Source::Program { program, .. } = &redis.source {
            redis.origin = format!("{}, {}", ping(&redis.url).await?, program.display());
        }
        Ok(redis)
    }

    /// The Redis at `urls`, or the nodes of a cluster, with commas between them. One of them must
    /// answer.
    async fn named(urls: &str) -> Result<Self> {
        for url in urls.split(',') {
            redis::Client::open(url.trim()).map_err(|_| {
                anyhow!(
                    "REDIS_URL={} is no Redis URL: write it like redis://127.0.0.1:6379",
                    without_password(urls)
                )
            })?;
        }
        let answers = urls.split(',').map(|url| Box::pin(ping(url.trim())));
        let (version, _) = select_ok(answers).await.with_context(|| {
            format!(
                "REDIS_URL={} cannot be used: start that Redis, or unset REDIS_URL, and a Redis is found or started",
                without_password(urls)
            )
        })?;
        Ok(Self {
            url: urls.to_owned(),
            origin: format!("{version}, from REDIS_URL"),
            source: Source::Found,
        })
    }

    /// Whether the stage has started it, so that it may stop it.
    pub(crate) fn is_own(&self) -> bool {
        !matches!(self.source, Source::Found)
    }

    /// Whether it runs. For a Redis that the stage did not start, the answer is always yes.
    pub(crate) fn is_up(&self) -> bool {
        match &self.source {
            Source::Found => true,
            Source::Program { process, .. } => process.as_ref().is_some_and(Process::is_running),
            Source::Embedded { server, .. } => server.is_some(),
        }
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        match &self.source {
            Source::Program { process, .. } => process.as_ref().map(Process::pid),
            Source::Found | Source::Embedded { .. } => None,
        }
    }

    /// The process to watch, if there is one. With it comes the note for the learner about its end,
    /// and the command that starts it again.
    pub(crate) fn process(&self) -> Option<(&Process, String)> {
        let Source::Program {
            program,
            address,
            process: Some(process),
            ..
        } = &self.source
        else {
            return None;
        };
        let way_back = format!(
            "Messages stay on the server that they came to. Messages on their way are lost.\n\
             To start Redis again, run this in a second terminal:\n\n  {} --bind 127.0.0.1 --port {} --save ''\n\n",
            program.display(),
            address.port()
        );
        Some((process, way_back))
    }

    /// Kills it. Every connection breaks, as in a crash.
    pub(crate) async fn kill(&mut self) {
        match &mut self.source {
            Source::Found => {}
            Source::Program { process, .. } => {
                if let Some(process) = process.take() {
                    process.kill().await;
                }
            }
            Source::Embedded { server, .. } => {
                if let Some(server) = server.take() {
                    server.stop().await;
                }
            }
        }
    }

    /// Whether it keeps what a lesson needs when it is started again. A Redis that the stage did not
    /// start is never started again, and the embedded one has no keys.
    pub(crate) fn keeps(&self, asked: Keeps) -> bool {
        match &self.source {
            Source::Found | Source::Embedded { .. } => true,
            Source::Program { keeps, .. } => *keeps == asked,
        }
    }

    /// From now on, it keeps this when it is started again.
    pub(crate) fn set_keeps(&mut self, keeping: Keeps) {
        if let Source::Program { keeps, .. } = &mut self.source {
            *keeps = keeping;
        }
    }

    /// Starts it again on the same port.
    pub(crate) async fn restart(&mut self, scratch: &Path) -> Result<()> {
        match &mut self.source {
            Source::Found => {}
            Source::Program {
                program,
                address,
                keeps,
                process,
            } => *process = Some(spawn(program, *address, *keeps, scratch).await?),
            Source::Embedded { address, server } => {
                *server = Some(embedded_pubsub::Server::start(*address)?);
            }
        }
        Ok(())
    }
}

/// `redis-server` on `PATH`, or Valkey's.
pub fn installed() -> Option<PathBuf> {
    ["redis-server", "valkey-server"]
        .iter()
        .find_map(|name| on_path(name))
}

async fn spawn(
    program: &Path,
    address: SocketAddr,
    keeps: Keeps,
    scratch: &Path,
) -> Result<Process> {
    let appendonly = match keeps {
        Keeps::Nothing => "no",
        Keeps::Keys => "yes",
    };
    let port = address.port().to_string();
    let redis = Spec::new(program)
        .arguments(["--bind", "127.0.0.1", "--port", &port])
        .arguments(["--save", "", "--appendonly", appendonly, "--dir"])
        .arguments([scratch.as_os_str()]);
    spawn_ready(&redis, scratch, &format!("on port {port}")).await
}

/// Starts a `redis-server`, and waits until it accepts connections.
///
/// # Errors
/// When it ends instead. The error says how it ended.
pub async fn spawn_ready(redis: &Spec<'_>, scratch: &Path, place: &str) -> Result<Process> {
    let (said, mut ready) = mpsc::channel(1);
    let process = Process::spawn(redis, scratch, move |line| {
        if line.contains("Ready to accept connections") {
            // A full channel means that this was said before.
            let _said_already = said.try_send(());
        }
    })?;
    tokio::select! {
        // Not `None`, which means the end of its output, and so the end of Redis.
        Some(()) = ready.recv() => Ok(process),
        status = ended(process.watch_exit()) => {
            let how = status.map(how).unwrap_or_default();
            bail!(
                "{} {how} while it started {place}: start the lesson again, or start that program by itself to see its error",
                redis.program().display()
            )
        }
    }
}

/// URLs of Redis for a text that people read: `***` takes the place of a user and a password.
pub fn without_password(urls: &str) -> String {
    let scheme = urls.split_once("://").map_or("redis", |(scheme, _)| scheme);
    let is_scheme = scheme
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'+');
    let scheme = if is_scheme { scheme } else { "redis" };
    // Without a host, what stands in the place of a port may be a password.
    let has_port_or_none = |url: &str| {
        let host = url.split_once("://").map_or(url, |(_, host)| host);
        let host = host.split('/').next().unwrap_or_default();
        let port = host.rsplit_once(':').map(|(_, port)| port);
        host.ends_with(']')
            || port.is_none_or(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
    };
    match urls.rsplit_once('@') {
        // The URL of a Unix socket names them behind a question mark.
        _ if urls.contains('?') => format!("{scheme}://***"),
        Some((_, host)) => format!("{scheme}://***@{host}"),
        None if urls.split(',').all(has_port_or_none) => urls.to_owned(),
        None => format!("{scheme}://***"),
    }
}

fn listens(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
}

/// Sends PING, checks that it speaks RESP3, and asks for its version: `Redis 7.0.15`.
async fn ping(url: &str) -> Result<String> {
    let client = redis::Client::open(url)?;
    let asked = async {
        let connected = client.get_multiplexed_async_connection().await;
        let mut connection = connected.map_err(explained)?;
        redis::cmd("PING").exec_async(&mut connection).await?;
        // With RESP3, a client can publish and receive messages on one connection.
        redis::cmd("HELLO")
            .arg(3)
            .exec_async(&mut connection)
            .await
            .context("it does not speak RESP3, as Redis does from 6.0 on")?;
        let info: String = redis::cmd("INFO")
            .arg("server")
            .query_async(&mut connection)
            .await?;
        anyhow::Ok(info)
    };
    let info = timeout(PATIENCE, asked)
        .await
        .map_err(|_| anyhow!("no answer to PING within {} s", PATIENCE.as_secs()))??;
    let field = |name| field(&info, name);
    let version = match (field("server_name"), field("valkey_version")) {
        (Some("valkey"), Some(version)) => format!("Valkey {version}"),
        (Some("embedded-pubsub"), _) => "an embedded pub/sub server".to_owned(),
        _ => format!("Redis {}", field("redis_version").unwrap_or("?")),
    };
    Ok(match field("redis_mode") {
        Some("cluster") => format!("{version}, a cluster"),
        _ => version,
    })
}

/// The redis client reports an answer in another protocol as a list of unexpected bytes. This
/// replaces it by a sentence.
fn explained(error: redis::RedisError) -> anyhow::Error {
    match error.kind() {
        redis::ErrorKind::Parse => anyhow!("the program that answers there is not Redis"),
        _ => error.into(),
    }
}

/// The value of a line `name:value` in the answer to `INFO` or `CLUSTER INFO`.
pub fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = info.lines();
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
}
