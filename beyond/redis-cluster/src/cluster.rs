//! A Redis Cluster: three masters that share the slots, and a replica of each.
//!
//! Its nodes are ordinary `redis-server` processes. A few commands make them a cluster, the same
//! that `redis-cli --cluster create` sends.
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
use lab::{
    Stage,
    event::{Event, Part},
    parts::{
        process::{Process, Spec},
        redis::{installed, spawn_ready},
        watch::Watch,
    },
    seen::journal::Journal,
};
use tokio::{process::Command, time::timeout};

pub use self::report::ChannelHome;

/// The names of the nodes. Those of the second line start as replicas of those above them.
const NAMES: [&str; 6] = [
    "redis 1", "redis 2", "redis 3", //
    "redis 4", "redis 5", "redis 6",
];

/// How many of them start as masters.
const MASTERS: usize = 3;

/// How many slots the masters share.
const SLOTS: usize = 16_384;

/// The port of the first node, as in Redis' own tutorial; the others follow. The nodes talk to
/// each other on a second port each, from [`FIRST_BUS`] on.
const FIRST: u16 = 7001;
const FIRST_BUS: u16 = 7101;

/// A master that is silent for this many milliseconds counts as failed. Redis' default is 15000.
const NODE_TIMEOUT: &str = "1000";

/// How long the nodes may take to agree, or one node to answer.
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
    running: Option<RunningNode>,
}

struct RunningNode {
    // First the watch: when the stage ends, the end of the process is no news.
    watch: Watch,
    process: Process,
}

/// Looks for a `redis-server` that a cluster can be started from. Returns its version and path.
///
/// # Errors
/// One sentence that says why there is none.
pub async fn find_redis() -> Result<String> {
    let (program, version) = find().await?;
    Ok(format!("{version}, {}", program.display()))
}

/// `redis-server` or `valkey-server` on `PATH`, 7.0 or newer, and its version.
async fn find() -> Result<(PathBuf, String)> {
    const WAY_OUT: &str =
        "install redis-server 7.0 or newer (Debian: apt-get install redis-server)";
    let program =
        installed().with_context(|| format!("a Redis Cluster needs redis-server: {WAY_OUT}"))?;
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

impl Cluster {
    /// Starts three masters and a replica of each. Done once all six agree on the slots.
    ///
    /// # Errors
    /// When there is no `redis-server` 7.0 or newer, a port is in use, or the nodes do not agree.
    pub async fn start(stage: &Stage) -> Result<Self> {
        let (program, version) = find().await?;
        let mut nodes = Vec::new();
        for (name, number) in NAMES.into_iter().zip(0..) {
            nodes.push(Node {
                name,
                address: stage.address(FIRST + number)?,
                bus: stage.address(FIRST_BUS + number)?,
                running: None,
            });
        }
        let mut cluster = Self {
            program,
            folder: stage.folder().to_owned(),
            journal: stage.journal().clone(),
            nodes,
        };
        for number in 0..NAMES.len() {
            cluster.start_node(number).await?;
        }
        timeout(PATIENCE, cluster.form())
            .await
            .context("six Redis nodes did not become a cluster in time: start again")??;
        cluster.record_up(&version);
        Ok(cluster)
    }

    /// The value for `REDIS_URL`: the nodes that started as masters, separated by commas.
    pub fn url(&self) -> String {
        let urls = self.nodes.iter().take(MASTERS);
        let urls: Vec<_> = urls
            .map(|node| format!("redis://{}", node.address))
            .collect();
        urls.join(",")
    }

    /// All nodes: name and address.
    pub fn nodes(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        self.nodes.iter().map(|node| (node.name, node.address))
    }

    /// The process of the node at `address`, while it runs.
    pub fn pid(&self, address: SocketAddr) -> Option<u32> {
        let node = self.nodes.iter().find(|node| node.address == address)?;
        node.pid()
    }

    /// Kills the node at `address`, as `kill -9` does.
    pub async fn kill(&mut self, address: SocketAddr) -> Result<()> {
        let number = self.number_of(address)?;
        let node = &mut self.nodes[number];
        let running = node.running.take().context("this node does not run")?;
        drop(running.watch);
        let how = format!("kill -9 {}", running.process.pid());
        running.process.kill().await;
        self.journal.record(Event::Down {
            part: Part::Program(node.name),
            how,
        });
        Ok(())
    }

    /// Starts the node at `address` again. Done once it answers.
    pub async fn restart(&mut self, address: SocketAddr) -> Result<()> {
        let number = self.number_of(address)?;
        self.start_node(number).await?;
        self.nodes[number].record_up(&self.journal, "started again");
        Ok(())
    }

    fn number_of(&self, address: SocketAddr) -> Result<usize> {
        let mut nodes = self.nodes.iter();
        let number = nodes.position(|node| node.address == address);
        number.with_context(|| format!("the cluster has no node at {address}"))
    }

    async fn start_node(&mut self, number: usize) -> Result<()> {
        let node = &self.nodes[number];
        let process = spawn(&self.program, node, &self.folder).await?;
        let way_back = format!(
            "If it was a master, its replica takes its place within about two seconds. To start it\n\
             again, press Ctrl-C and start the lesson again. The roles of the nodes now:\n\n  \
             redis-cli -p {} cluster nodes\n\n",
            self.nodes[(number + 1) % NAMES.len()].address.port()
        );
        let part = Part::Program(node.name);
        let watch = Watch::new(part, &process, &self.journal, way_back);
        self.nodes[number].running = Some(RunningNode { watch, process });
        Ok(())
    }

    fn record_up(&self, version: &str) {
        self.journal.record(Event::Note {
            text: format!("Six nodes of {version}, {}:", self.program.display()),
        });
        for (number, node) in self.nodes.iter().enumerate() {
            let role = match number.checked_sub(MASTERS) {
                None => {
                    let (first, last) = slots_of(number);
                    format!("master of slots {first}–{last}")
                }
                Some(master) => format!("replica of {}", NAMES[master]),
            };
            node.record_up(&self.journal, &role);
        }
    }
}

impl Node {
    fn record_up(&self, journal: &Journal, role: &str) {
        let pid = self.pid().unwrap_or_default();
        journal.record(Event::Up {
            part: Part::Program(self.name),
            pid: Some(pid),
            detail: format!("{}, PID: {pid}, {role}", self.address),
        });
    }

    fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.process.pid())
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
        // By default a replica waits five seconds before it copies its master.
        .arguments(["--repl-diskless-sync-delay", "0"])
        // Its first ping is the first thing that a replica gets. The default is every 10 s.
        .arguments(["--repl-ping-replica-period", "1"])
        .arguments(["--save", "", "--appendonly", "no", "--dir"])
        .arguments([folder.as_os_str()]);
    let place = format!("as a node of a cluster on ports {port} and {bus}");
    spawn_ready(&redis, scratch, &place).await
}

/// The first and the last slot of a master.
fn slots_of(master: usize) -> (usize, usize) {
    let first = |number| number * SLOTS / MASTERS;
    (first(master), first(master + 1) - 1)
}
