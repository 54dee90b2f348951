//! A Redis Cluster on the stage: three masters that share the slots, and a replica of each.
//!
//! Its nodes are ordinary `redis-server`s. What makes them a cluster is a few commands, which
//! `redis-cli --cluster create` would give them too.
//!
//! Source: Redis Cluster specification; `redis.conf`, "REDIS CLUSTER".

mod form;
mod report;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tokio::{process::Command, task::AbortHandle, time::timeout};

use self::form::share;
pub use self::report::Home;
use crate::{
    event::{Event, Part},
    journal::Journal,
    process::{Process, Spec},
    redis::{installed, spawn_ready},
    stage::{Stage, watch},
};

/// What each node is called. Those of the second row begin as replicas of those above them.
const NAMES: [&str; 6] = [
    "redis 1", "redis 2", "redis 3", //
    "redis 4", "redis 5", "redis 6",
];

/// How many of them begin as masters.
const MASTERS: usize = 3;

/// How many slots the masters share.
const SLOTS: usize = 16_384;

/// The port of the first node, as in Redis' own tutorial; the others follow. The nodes talk to
/// each other on ports of their own, from [`FIRST_BUS`] on.
const FIRST: u16 = 7001;
const FIRST_BUS: u16 = 7101;

/// A master that has been silent for so long is given up, in milliseconds: `redis.conf` has
/// 15000.
const NODE_TIMEOUT: &str = "1000";

/// How long the nodes may take to agree, or one of them to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// A Redis Cluster, running. Dropping it kills it.
pub struct Cluster {
    program: PathBuf,
    folder: PathBuf,
    journal: Journal,
    nodes: Vec<Node>,
}

struct Node {
    name: &'static str,
    address: SocketAddr,
    bus: SocketAddr,
    running: Option<(Process, AbortHandle)>,
}

/// Whether a Redis Cluster can be had on this machine: which program it would be started from.
///
/// # Errors
/// Why not, in one sentence.
pub async fn cluster_found() -> Result<String> {
    let (program, version) = find().await?;
    Ok(format!("{version}, {}", program.display()))
}

/// `redis-server` or `valkey-server` on `PATH`, from 7.0 on, and its version.
async fn find() -> Result<(PathBuf, String)> {
    const WAY_OUT: &str =
        "install redis-server 7.0 or newer (Debian: apt-get install redis-server)";
    let program = installed()
        .with_context(|| format!("there is no redis-server for a Redis Cluster: {WAY_OUT}"))?;
    let said = Command::new(&program).arg("--version").output().await?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let version = said
        .split_whitespace()
        .find_map(|word| word.strip_prefix("v="))
        .unwrap_or_default();
    let major: u32 = version
        .split('.')
        .next()
        .unwrap_or_default()
        .parse()
        .unwrap_or(0);
    ensure!(
        major >= 7,
        "{} is version {version}, and sharded pub/sub needs 7.0: {WAY_OUT}",
        program.display()
    );
    let name = if said.starts_with("Valkey") {
        "Valkey"
    } else {
        "Redis"
    };
    Ok((program, format!("{name} {version}")))
}

/// A Redis Cluster.
impl Stage {
    /// Starts three masters and a replica of each. Done once all six agree on who has what.
    /// Returns what `REDIS_URL` may say: the masters, comma-separated.
    ///
    /// # Errors
    /// When there is no `redis-server` from 7.0 on, a port is in use, or they do not agree.
    pub async fn start_cluster(&mut self) -> Result<String> {
        let (program, version) = find().await?;
        let mut nodes = Vec::new();
        for (name, number) in NAMES.into_iter().zip(0..) {
            nodes.push(Node {
                name,
                address: self.address(FIRST + number)?,
                bus: self.address(FIRST_BUS + number)?,
                running: None,
            });
        }
        let mut cluster = Cluster {
            program,
            folder: self.folder().to_owned(),
            journal: self.journal.clone(),
            nodes,
        };
        for number in 0..NAMES.len() {
            cluster.start(number).await?;
        }
        timeout(PATIENCE, cluster.form())
            .await
            .context("six Redis nodes did not become a cluster in time: start again")??;
        cluster.say_who_is_up(&version);
        let url = cluster.url();
        self.cluster = Some(cluster);
        Ok(url)
    }

    /// The Redis Cluster.
    ///
    /// # Errors
    /// When none was started.
    pub fn cluster(&mut self) -> Result<&mut Cluster> {
        self.cluster.as_mut().context("no Redis Cluster runs")
    }
}

/// Its life.
impl Cluster {
    /// What `REDIS_URL` may say: the nodes that began as masters, comma-separated.
    pub fn url(&self) -> String {
        let urls = self.nodes.iter().take(MASTERS);
        let urls: Vec<_> = urls
            .map(|node| format!("redis://{}", node.address))
            .collect();
        urls.join(",")
    }

    /// All nodes: what the stage calls them, and where they are.
    pub fn nodes(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        self.nodes.iter().map(|node| (node.name, node.address))
    }

    /// The process of the node at `address`, while it runs.
    pub fn pid(&self, address: SocketAddr) -> Option<u32> {
        let node = self.nodes.iter().find(|node| node.address == address)?;
        node.running.as_ref().map(|(process, _)| process.pid())
    }

    /// Kills the node at `address`, as `kill -9` does.
    ///
    /// # Errors
    /// When there is none, or it does not run.
    pub async fn kill(&mut self, address: SocketAddr) -> Result<()> {
        let number = self.number_of(address)?;
        let node = &mut self.nodes[number];
        let (process, watcher) = node.running.take().context("this node does not run")?;
        watcher.abort();
        let how = format!("kill -9 {}", process.pid());
        process.kill().await;
        self.journal.record(Event::Down {
            part: Part::Program(node.name),
            how,
        });
        Ok(())
    }

    /// Starts the node at `address` again; ready once it answers.
    ///
    /// # Errors
    /// When its port is in use by now.
    pub async fn restart(&mut self, address: SocketAddr) -> Result<()> {
        let number = self.number_of(address)?;
        self.start(number).await?;
        let node = &self.nodes[number];
        let pid = node.running.as_ref().map(|(process, _)| process.pid());
        self.journal.record(Event::Up {
            part: Part::Program(node.name),
            pid,
            detail: format!("redis://{address}"),
        });
        Ok(())
    }

    /// Ends all of it.
    pub(crate) async fn stop(self) {
        for (process, watcher) in self.nodes.into_iter().filter_map(|node| node.running) {
            watcher.abort();
            process.kill().await;
        }
    }

    fn number_of(&self, address: SocketAddr) -> Result<usize> {
        let mut nodes = self.nodes.iter();
        let number = nodes.position(|node| node.address == address);
        number.with_context(|| format!("no node of the cluster is at {address}"))
    }

    async fn start(&mut self, number: usize) -> Result<()> {
        let node = &self.nodes[number];
        let process = spawn(&self.program, node, &self.folder).await?;
        let way_back = format!(
            "If it was a master, its replica takes its place within some two seconds. It comes back\n\
             with the stage: Ctrl-C, and start that again. Who is who now:\n\n  \
             redis-cli -p {} cluster nodes\n\n",
            self.nodes[(number + 1) % NAMES.len()].address.port()
        );
        let watcher = watch(Part::Program(node.name), &process, &self.journal, way_back);
        self.nodes[number].running = Some((process, watcher));
        Ok(())
    }

    fn say_who_is_up(&self, version: &str) {
        for (number, node) in self.nodes.iter().enumerate() {
            let role = match number.checked_sub(MASTERS) {
                None => {
                    let (first, last) = share(number);
                    format!("master of the slots {first}–{last}")
                }
                Some(master) => format!("replica of {}", NAMES[master]),
            };
            let origin = if number == 0 {
                format!(", {version}")
            } else {
                String::new()
            };
            self.journal.record(Event::Up {
                part: Part::Program(node.name),
                pid: node.running.as_ref().map(|(process, _)| process.pid()),
                detail: format!("redis://{}, {role}{origin}", node.address),
            });
        }
    }
}

async fn spawn(program: &Path, node: &Node, scratch: &Path) -> Result<Process> {
    let [port, bus] = [node.address, node.bus].map(|address| address.port().to_string());
    let folder = scratch.join(format!("cluster-{port}"));
    fs::create_dir_all(&folder)?;
    let redis = Spec::new(program)
        .arguments(["--bind", "127.0.0.1", "--port", &port])
        .arguments(["--cluster-enabled", "yes", "--cluster-port", &bus])
        .arguments(["--cluster-node-timeout", NODE_TIMEOUT])
        // Replicas are ready at once, not after the usual five seconds.
        .arguments(["--repl-diskless-sync-delay", "0"])
        .arguments(["--save", "", "--appendonly", "no", "--dir"])
        .arguments([folder.as_os_str()]);
    let place = format!("as a node of a cluster on ports {port} and {bus}");
    spawn_ready(&redis, scratch, &place).await
}
