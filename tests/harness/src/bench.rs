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
use serde_json::{Value, json};

use crate::container::Container;

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
pub struct Bench {
    pub stage: Stage,
    parts: Parts,
    nginx: Option<(Container, SocketAddr)>,
    redis: Option<(Container, SocketAddr)>,
}

impl Bench {
    /// A bench with nothing on it yet; `binary` is the chapter's.
    pub fn new(binary: &str) -> Self {
        Self {
            stage: Stage::silent(binary).expect("a stage"),
            parts: parts(),
            nginx: None,
            redis: None,
        }
    }

    /// A bench with three servers.
    pub async fn with_servers(binary: &str, environment: &[(&str, &str)]) -> Self {
        let mut bench = Self::new(binary);
        bench
            .stage
            .servers
            .start(3, environment)
            .await
            .expect("three servers");
        bench
    }

    /// nginx with one of the repository's configs, in place of the one that runs; its URL.
    pub async fn nginx(&mut self, config: &str) -> String {
        self.nginx_with(config, str::to_owned).await
    }

    /// The same, with the config changed as a learner would change it.
    pub async fn nginx_with(&mut self, config: &str, edit: impl FnOnce(&str) -> String) -> String {
        let site = self
            .stage
            .nginx
            .site(config, edit)
            .expect("the config fits the servers");
        if self.parts == Parts::Local {
            return self.stage.nginx.run(&site).await.expect("nginx starts");
        }
        if let Some((container, _)) = self.nginx.take() {
            container.remove().await;
        }
        let config = format!("nginx/{config}");
        let mut spec = image("NGINX_IMAGE", NGINX_IMAGE);
        spec["command"] = json!(["nginx", "-e", "stderr", "-p", "/lab", "-c", config]);
        spec["copy"] = json!([site.prefix.join("nginx"), "/lab/nginx"]);
        spec["ready_on_stderr"] = json!("start worker processes");
        self.nginx = Some((start(&spec, "nginx").await, site.address));
        format!("http://{}", site.address)
    }

    /// nginx takes its config again; done once its old workers take no more connections.
    pub async fn reload_nginx(&mut self, config: &str) {
        let Some((container, _)) = &mut self.nginx else {
            let reloaded = self.stage.nginx.reload(config, str::to_owned).await;
            return reloaded.expect("nginx reloads");
        };
        let config = format!("nginx/{config}");
        container
            .run(&["nginx", "-p", "/lab", "-c", &config, "-s", "reload"])
            .await;
        container.wait_for_stderr("gracefully shutting down").await;
    }

    /// nginx ends, and every connection through it breaks.
    pub async fn end_nginx(&mut self) {
        match &mut self.nginx {
            Some((container, _)) => container.stop().await,
            None => self.stage.nginx.end().await,
        }
    }

    /// nginx is there again, where it was.
    pub async fn start_nginx_again(&mut self, config: &str) {
        match &mut self.nginx {
            Some((container, address)) => {
                container.start_again().await;
                listening(*address).await;
            }
            None => drop(self.stage.nginx.start(config).await.expect("nginx starts")),
        }
    }

    /// Redis; its URL.
    pub async fn redis(&mut self) -> String {
        if self.parts == Parts::Local {
            return self.stage.redis.start().await.expect("Redis starts");
        }
        let address = self.stage.address(6379).expect("a free port");
        let port = address.port().to_string();
        let mut spec = image("REDIS_IMAGE", REDIS_IMAGE);
        spec["command"] = json!(["redis-server", "--port", port, "--save", ""]);
        spec["ready_on_stdout"] = json!("Ready to accept connections");
        self.redis = Some((start(&spec, "Redis").await, address));
        format!("redis://{address}")
    }

    /// Redis dies, and every connection to it breaks.
    pub async fn kill_redis(&mut self) {
        match &mut self.redis {
            Some((container, _)) => container.stop().await,
            None => self.stage.redis.kill().await,
        }
    }

    /// Redis is there again, where it was.
    pub async fn restart_redis(&mut self) {
        match &mut self.redis {
            Some((container, address)) => {
                container.start_again().await;
                listening(*address).await;
            }
            None => self.stage.redis.restart().await.expect("Redis starts"),
        }
    }
}

/// A restarted container is not waited for by testcontainers: the fact is an open port.
async fn listening(address: SocketAddr) {
    while tokio::net::TcpStream::connect(address).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn image(variable: &str, official: &str) -> Value {
    let image = env::var(variable).unwrap_or_else(|_| official.to_owned());
    // A colon before the last slash belongs to a registry's port.
    let (name, tag) = image
        .rsplit_once(':')
        .filter(|(_, tag)| !tag.contains('/'))
        .unwrap_or((&image, "latest"));
    json!({ "image": name, "tag": tag })
}

async fn start(spec: &Value, what: &str) -> Container {
    Container::start(spec).await.unwrap_or_else(|error| {
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
pub fn engine() -> Result<(), String> {
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
