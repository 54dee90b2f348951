//! What a test stands on: real servers, and nginx and Redis in containers or on this machine.
//!
//! `LAB_PARTS=docker` or `local` says which; otherwise containers are used where a Docker
//! engine answers. `NGINX_IMAGE` and `REDIS_IMAGE` name other images. The containers share
//! this machine's network, so that configs, ports and addresses are the same either way.

use std::{
    env,
    io::{ErrorKind, Read, Write},
    net::SocketAddr,
    os::unix::net::UnixStream,
    path::Path,
    sync::OnceLock,
    time::Duration,
};

use lab::Stage;
use testcontainers::{
    ContainerAsync, GenericImage, ImageExt,
    core::{CmdWaitFor, ExecCommand, WaitFor},
    runners::AsyncRunner,
};

/// The official images, at the versions that the tests were written against.
const NGINX_IMAGE: &str = "nginx:1.28-alpine";
const REDIS_IMAGE: &str = "redis:7.4-alpine";

/// Where nginx and Redis come from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Parts {
    Docker,
    Local,
}

/// A stage for one test, and the containers that belong to it. All of it ends with it.
pub(crate) struct Bench {
    pub(crate) stage: Stage,
    parts: Parts,
    nginx: Option<(ContainerAsync<GenericImage>, SocketAddr)>,
    redis: Option<(ContainerAsync<GenericImage>, SocketAddr)>,
}

impl Bench {
    /// A bench with nothing on it yet; `binary` is the chapter's.
    pub(crate) fn new(binary: &str) -> Self {
        Self {
            stage: Stage::silent(binary).expect("a stage"),
            parts: parts(),
            nginx: None,
            redis: None,
        }
    }

    /// A bench with three servers.
    pub(crate) async fn with_servers(binary: &str, environment: &[(&str, &str)]) -> Self {
        let mut bench = Self::new(binary);
        bench
            .stage
            .start_servers(3, environment)
            .await
            .expect("three servers");
        bench
    }

    /// nginx with one of the repository's configs, in place of the one that runs; its URL.
    pub(crate) async fn nginx(&mut self, config: &str) -> String {
        self.nginx_with(config, str::to_owned).await
    }

    /// The same, with the config changed as a learner would change it.
    pub(crate) async fn nginx_with(
        &mut self,
        config: &str,
        edit: impl FnOnce(&str) -> String,
    ) -> String {
        let site = self
            .stage
            .nginx_site(config, edit)
            .expect("the config fits the servers");
        if self.parts == Parts::Local {
            return self.stage.run_nginx(&site).await.expect("nginx starts");
        }
        if let Some((container, _)) = self.nginx.take() {
            remove(container).await;
        }
        let config = format!("nginx/{config}");
        let request = image("NGINX_IMAGE", NGINX_IMAGE)
            .with_wait_for(WaitFor::message_on_stderr("start worker processes"))
            .with_cmd(["nginx", "-e", "stderr", "-p", "/lab", "-c", &config])
            .with_copy_to("/lab/nginx", site.prefix.join("nginx").as_path());
        self.nginx = Some((start(request, "nginx").await, site.address));
        format!("http://{}", site.address)
    }

    /// nginx takes its config again; done once its old workers take no more connections.
    pub(crate) async fn reload_nginx(&mut self, config: &str) {
        let Some((container, _)) = &self.nginx else {
            let reloaded = self.stage.reload_nginx(config, str::to_owned).await;
            return reloaded.expect("nginx reloads");
        };
        let config = format!("nginx/{config}");
        let reload = ["nginx", "-p", "/lab", "-c", &config, "-s", "reload"];
        let reload = ExecCommand::new(reload).with_cmd_ready_condition(CmdWaitFor::exit_code(0));
        container.exec(reload).await.expect("nginx reloads");
        loop {
            let said = container.stderr_to_vec().await.expect("nginx's log");
            if String::from_utf8_lossy(&said).contains("gracefully shutting down") {
                return;
            }
        }
    }

    /// nginx ends, and every connection through it breaks.
    pub(crate) async fn end_nginx(&mut self) {
        match &self.nginx {
            Some((container, _)) => container
                .stop_with_timeout(Some(0))
                .await
                .expect("the container stops"),
            None => self.stage.end_nginx().await,
        }
    }

    /// nginx is there again, where it was.
    pub(crate) async fn start_nginx_again(&mut self, config: &str) {
        match &self.nginx {
            Some((container, address)) => {
                container.start().await.expect("the container starts");
                listening(*address).await;
            }
            None => drop(self.stage.start_nginx(config).await.expect("nginx starts")),
        }
    }

    /// Redis; its URL.
    pub(crate) async fn redis(&mut self) -> String {
        if self.parts == Parts::Local {
            return self.stage.start_redis().await.expect("Redis starts");
        }
        let address = self.stage.address(6379).expect("a free port");
        let port = address.port().to_string();
        let request = image("REDIS_IMAGE", REDIS_IMAGE)
            .with_wait_for(WaitFor::message_on_stdout("Ready to accept connections"))
            .with_cmd(["redis-server", "--port", &port, "--save", ""]);
        self.redis = Some((start(request, "Redis").await, address));
        format!("redis://{address}")
    }

    /// Redis dies, and every connection to it breaks.
    pub(crate) async fn kill_redis(&mut self) {
        match &self.redis {
            Some((container, _)) => container
                .stop_with_timeout(Some(0))
                .await
                .expect("the container stops"),
            None => self.stage.kill_redis().await,
        }
    }

    /// Redis is there again, where it was.
    pub(crate) async fn restart_redis(&mut self) {
        match &self.redis {
            Some((container, address)) => {
                container.start().await.expect("the container starts");
                listening(*address).await;
            }
            None => self.stage.restart_redis().await.expect("Redis starts"),
        }
    }
}

/// A restarted container is not waited for by testcontainers: the fact is an open port.
async fn listening(address: SocketAddr) {
    while tokio::net::TcpStream::connect(address).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn image(variable: &str, official: &str) -> GenericImage {
    let image = env::var(variable).unwrap_or_else(|_| official.to_owned());
    // A colon before the last slash belongs to a registry's port.
    let (name, tag) = image
        .rsplit_once(':')
        .filter(|(_, tag)| !tag.contains('/'))
        .unwrap_or((&image, "latest"));
    GenericImage::new(name, tag)
}

async fn start(
    request: testcontainers::ContainerRequest<GenericImage>,
    what: &str,
) -> ContainerAsync<GenericImage> {
    request
        .with_network("host")
        .with_startup_timeout(Duration::from_secs(30))
        .start()
        .await
        .unwrap_or_else(|error| {
            if let Err(reason) = engine() {
                panic!(
                    "no container for {what}: {reason} any more; start Docker again, or do without \
                     containers: LAB_PARTS=local"
                );
            }
            panic!(
                "no container for {what}: {error}. Pull its image while online, name another with \
                 NGINX_IMAGE or REDIS_IMAGE, or do without containers: LAB_PARTS=local"
            )
        })
}

async fn remove(container: ContainerAsync<GenericImage>) {
    container.rm().await.expect("the container is removed");
}

/// Decided once a run, and said: what was tested depends on it.
fn parts() -> Parts {
    static DECIDED: OnceLock<Parts> = OnceLock::new();
    *DECIDED.get_or_init(|| {
        let asked = env::var("LAB_PARTS").ok();
        let engine = engine();
        let (parts, why) = match (asked.as_deref(), engine) {
            (Some("local"), _) => (Parts::Local, "LAB_PARTS=local".to_owned()),
            (Some("docker"), Ok(())) => (Parts::Docker, "LAB_PARTS=docker".to_owned()),
            (Some("docker"), Err(reason)) => panic!(
                "LAB_PARTS=docker, but {reason}; start Docker, or do without containers: LAB_PARTS=local"
            ),
            (Some(other), _) => panic!("LAB_PARTS={other} is neither docker nor local"),
            (None, Ok(())) => (Parts::Docker, "a Docker engine answers".to_owned()),
            (None, Err(reason)) => (Parts::Local, reason),
        };
        let from = match parts {
            Parts::Docker => "in containers",
            Parts::Local => "of this machine",
        };
        // Not `eprintln!`, which libtest keeps to itself. Nobody may be there to read it.
        let _unread = writeln!(std::io::stderr(), "nginx and Redis {from}: {why}");
        parts
    })
}

/// Whether a Docker engine answers, and if not, why not.
pub(crate) fn engine() -> Result<(), String> {
    if !cfg!(target_os = "linux") {
        return Err("only on Linux do containers share the host's network".to_owned());
    }
    let host = env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
    let Some(path) = host.strip_prefix("unix://") else {
        return Err(format!("DOCKER_HOST={host} is no engine of this machine"));
    };
    ping(Path::new(path)).map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied => {
            format!("this user may not use the Docker engine at {path} (join the group docker)")
        }
        _ => format!("no Docker engine answers at {path}"),
    })
}

/// `GET /_ping` of Docker's Engine API.
fn ping(socket: &Path) -> std::io::Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.contains(" 200 ") {
        Ok(())
    } else {
        Err(ErrorKind::InvalidData.into())
    }
}
