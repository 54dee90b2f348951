//! A Redis Cluster on the stage: three masters that share the slots, and a replica of each.
//!
//! Its nodes are ordinary `redis-server`s. What makes them a cluster is a few commands, which
//! `redis-cli --cluster create` would give them too.
//!
//! Source: Redis Cluster specification; the commands `CLUSTER MEET`, `CLUSTER ADDSLOTSRANGE`
//! (Redis 7.0) and `CLUSTER REPLICATE`; `redis.conf`, "REDIS CLUSTER".

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use futures_util::future::try_join_all;
use redis::{Cmd, FromRedisValue, aio::MultiplexedConnection, cmd};
use tokio::{
    process::Command,
    sync::mpsc,
    task::AbortHandle,
    time::{interval, timeout},
};

use crate::{
    event::{Event, Part},
    journal::Journal,
    nginx::on_path,
    process::{Process, Spec, ended, how},
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

/// Which slot a channel or a key has, and who has that slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Home {
    /// One of 16,384.
    pub slot: u16,
    /// What the stage calls the master that has it.
    pub name: &'static str,
    /// Where that master is.
    pub address: SocketAddr,
}

/// What a node says of one of the nodes.
struct Known {
    port: u16,
    flags: String,
    slots: Vec<(u16, u16)>,
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
    let program = ["redis-server", "valkey-server"]
        .iter()
        .find_map(|name| on_path(name))
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

/// What it says of itself.
impl Cluster {
    /// Who has the slot of `channel`.
    ///
    /// # Errors
    /// When no node answers, or nobody has it.
    pub async fn home_of(&self, channel: &str) -> Result<Home> {
        let (_, someone) = self.running().next().context("no node runs")?;
        let slot: u16 = ask(someone, cmd("CLUSTER").arg("KEYSLOT").arg(channel)).await?;
        let known = known_to(someone).await?;
        let master = known.iter().find(|node| node.has(slot));
        let port = master
            .with_context(|| format!("nobody has slot {slot}"))?
            .port;
        let home = self.nodes().find(|(_, address)| address.port() == port);
        let (name, address) = home.context("a node that the stage did not start")?;
        Ok(Home {
            slot,
            name,
            address,
        })
    }

    /// The replica of the master at `address`.
    ///
    /// # Errors
    /// When no node answers, or it has none.
    pub async fn replica_of(&self, address: SocketAddr) -> Result<SocketAddr> {
        let mut replication = cmd("INFO");
        let info: String = ask(address, replication.arg("replication")).await?;
        let port = field(&info, "slave0").and_then(|replica| {
            let mut fields = replica.split(',');
            fields.find_map(|field| field.strip_prefix("port=")?.parse::<u16>().ok())
        });
        let port = port.with_context(|| format!("the master at {address} has no replica"))?;
        let mut nodes = self.nodes();
        let replica = nodes.find(|(_, address)| address.port() == port);
        Ok(replica.context("a node that the stage did not start")?.1)
    }

    /// What each node that runs counts under `name` in its `CLUSTER INFO`, such as
    /// `cluster_stats_messages_publish_sent`; 0 where it does not name it.
    ///
    /// # Errors
    /// When one of them does not answer.
    pub async fn messages(&self, name: &str) -> Result<Vec<u64>> {
        self.each(async |address| {
            let info: String = ask(address, cmd("CLUSTER").arg("INFO")).await?;
            let count = field(&info, name).and_then(|count| count.parse().ok());
            Ok(count.unwrap_or(0))
        })
        .await
    }

    /// How often each node that runs was given a command, such as `spublish`.
    ///
    /// # Errors
    /// When one of them does not answer.
    pub async fn calls(&self, command: &str) -> Result<Vec<u64>> {
        self.each(async |address| {
            let info: String = ask(address, cmd("INFO").arg("commandstats")).await?;
            let calls = field(&info, &format!("cmdstat_{command}")).and_then(|stats| {
                stats
                    .strip_prefix("calls=")?
                    .split(',')
                    .next()?
                    .parse()
                    .ok()
            });
            Ok(calls.unwrap_or(0))
        })
        .await
    }

    /// Waits until a node other than `dead` has `slot`, and all who run agree.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn is_taken_over(&self, slot: u16, dead: SocketAddr) -> Result<()> {
        self.wait_until("nobody has taken the dead master's place", async || {
            self.all(async |address| {
                let known = known_to(address).await?;
                let master = known.iter().find(|node| node.has(slot));
                Ok(master.is_some_and(|master| master.port != dead.port()))
            })
            .await
        })
        .await
    }

    /// Waits until the node at `address` is a replica that has what its master has, and all who
    /// run know it.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn is_replica(&self, address: SocketAddr) -> Result<()> {
        let what = "the node that was killed has not become a replica";
        self.wait_until(what, async || {
            let is_known = async |node| {
                let known = known_to(node).await?;
                let it = known.iter().find(|node| node.port == address.port());
                Ok(it.is_some_and(|node| node.flags.contains("slave")))
            };
            Ok(is_linked_replica(address).await? && self.all(is_known).await?)
        })
        .await
    }

    async fn wait_until(
        &self,
        otherwise: &str,
        is_so: impl AsyncFn() -> Result<bool>,
    ) -> Result<()> {
        let becomes_so = async {
            let mut turns = interval(Duration::from_millis(20));
            while !is_so().await? {
                turns.tick().await;
            }
            anyhow::Ok(())
        };
        timeout(PATIENCE, becomes_so)
            .await
            .with_context(|| format!("{otherwise} within {} s", PATIENCE.as_secs()))?
    }

    fn running(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        let running = self.nodes.iter().filter(|node| node.running.is_some());
        running.map(|node| (node.name, node.address))
    }

    /// Whether something is so of all nodes that run.
    async fn all(&self, is_so: impl AsyncFn(SocketAddr) -> Result<bool>) -> Result<bool> {
        let all = self.each(is_so).await?;
        Ok(all.into_iter().all(|is_so| is_so))
    }

    /// Asks all nodes that run, in their order.
    async fn each<T>(&self, ask: impl AsyncFn(SocketAddr) -> Result<T>) -> Result<Vec<T>> {
        try_join_all(self.running().map(|(_, address)| ask(address))).await
    }
}

/// How six nodes become a cluster.
impl Cluster {
    async fn form(&self) -> Result<()> {
        for (number, node) in self.nodes.iter().enumerate() {
            // Of two masters that want a slot, the one with the greater epoch has it: each
            // begins with one of its own.
            let epoch = number + 1;
            ask::<()>(
                node.address,
                cmd("CLUSTER").arg("SET-CONFIG-EPOCH").arg(epoch),
            )
            .await?;
            if number < MASTERS {
                let (first, last) = share(number);
                let slots = &mut cmd("CLUSTER");
                slots.arg("ADDSLOTSRANGE").arg(first).arg(last);
                ask::<()>(node.address, slots).await?;
            }
        }
        let first = self.nodes[0].address;
        for node in &self.nodes[1..] {
            let meet = &mut cmd("CLUSTER");
            meet.arg("MEET").arg(node.address.ip().to_string());
            meet.arg(node.address.port()).arg(node.bus.port());
            ask::<()>(first, meet).await?;
        }
        self.wait_until("the nodes have not met", async || self.all(knows_all).await)
            .await?;
        for (master, replica) in self.nodes.iter().zip(&self.nodes[MASTERS..]) {
            let id: String = ask(master.address, cmd("CLUSTER").arg("MYID")).await?;
            ask::<()>(replica.address, cmd("CLUSTER").arg("REPLICATE").arg(id)).await?;
        }
        self.wait_until("the nodes do not agree", async || self.all(agrees).await)
            .await?;
        for replica in &self.nodes[MASTERS..] {
            self.is_replica(replica.address).await?;
        }
        Ok(())
    }
}

/// The first and the last slot of a master.
fn share(master: usize) -> (usize, usize) {
    let first = |number| number * SLOTS / MASTERS;
    (first(master), first(master + 1) - 1)
}

async fn knows_all(address: SocketAddr) -> Result<bool> {
    let known = known_to(address).await?;
    Ok(known.len() == NAMES.len() && known.iter().all(Known::is_met))
}

/// Whether the node takes the cluster for whole, with all masters and replicas in their places.
async fn agrees(address: SocketAddr) -> Result<bool> {
    let info: String = ask(address, cmd("CLUSTER").arg("INFO")).await?;
    let known = known_to(address).await?;
    let masters = known.iter().filter(|node| !node.slots.is_empty());
    let replicas = known.iter().filter(|node| node.flags.contains("slave"));
    Ok(field(&info, "cluster_state") == Some("ok")
        && masters.count() == MASTERS
        && replicas.count() == NAMES.len() - MASTERS)
}

/// Whether the node is a replica that has what its master has.
async fn is_linked_replica(address: SocketAddr) -> Result<bool> {
    let info: String = ask(address, cmd("INFO").arg("replication")).await?;
    Ok(field(&info, "role") == Some("slave") && field(&info, "master_link_status") == Some("up"))
}

/// What the node at `address` says of all nodes.
async fn known_to(address: SocketAddr) -> Result<Vec<Known>> {
    let nodes: String = ask(address, cmd("CLUSTER").arg("NODES")).await?;
    nodes.lines().map(Known::parse).collect()
}

impl Known {
    /// `<id> <ip:port@bus> <flags> <master> <ping> <pong> <epoch> <link> <slot> …`
    fn parse(line: &str) -> Result<Self> {
        let words: Vec<_> = line.split(' ').collect();
        let [_, address, flags, _, _, _, _, _, slots @ ..] = &words[..] else {
            bail!("a node of a cluster is described as {line:?}");
        };
        let address = address.split('@').next().unwrap_or_default();
        let port = address.rsplit(':').next().unwrap_or_default().parse()?;
        let ranges = slots.iter().filter(|range| !range.starts_with('['));
        let slots = ranges.map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            anyhow::Ok((first.parse()?, last.parse()?))
        });
        Ok(Self {
            port,
            flags: (*flags).to_owned(),
            slots: slots.collect::<Result<_>>()?,
        })
    }

    fn has(&self, slot: u16) -> bool {
        let mut slots = self.slots.iter();
        slots.any(|(first, last)| (*first..=*last).contains(&slot))
    }

    fn is_met(&self) -> bool {
        !self.flags.contains("handshake") && !self.flags.contains("noaddr")
    }
}

/// A line `name:value` of what `INFO` and `CLUSTER INFO` answer.
fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = info.lines();
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
}

/// Has the node at `address` do one command.
async fn ask<T: FromRedisValue>(address: SocketAddr, command: &Cmd) -> Result<T> {
    let mut connection = connect(address).await?;
    Ok(command.query_async(&mut connection).await?)
}

async fn connect(address: SocketAddr) -> Result<MultiplexedConnection> {
    let client = redis::Client::open(format!("redis://{address}"))?;
    Ok(client.get_multiplexed_async_connection().await?)
}

async fn spawn(program: &Path, node: &Node, scratch: &Path) -> Result<Process> {
    let [port, bus] = [node.address, node.bus].map(|address| address.port().to_string());
    let folder = scratch.join(format!("cluster-{port}"));
    fs::create_dir_all(&folder)?;
    let (said, mut ready) = mpsc::channel(1);
    let process = Process::spawn(
        &Spec::new(program)
            .arguments(["--bind", "127.0.0.1", "--port", &port])
            .arguments(["--cluster-enabled", "yes", "--cluster-port", &bus])
            .arguments(["--cluster-node-timeout", NODE_TIMEOUT])
            // Replicas are ready at once, not after the usual five seconds.
            .arguments(["--repl-diskless-sync-delay", "0"])
            .arguments(["--save", "", "--appendonly", "no", "--dir"])
            .arguments([folder.as_os_str()]),
        scratch,
        move |line| {
            if line.contains("Ready to accept connections") {
                // A full channel means that this was said before.
                let _said_already = said.try_send(());
            }
        },
    )?;
    tokio::select! {
        // Not `None`: that is the end of what it writes, and so of the node.
        Some(()) = ready.recv() => Ok(process),
        status = ended(process.watch_exit()) => {
            let how = status.map(how).unwrap_or_default();
            bail!(
                "{} {how} while it started as a node of a cluster on ports {port} and {bus}: start \
                 this again, or see what it says by itself",
                program.display()
            )
        }
    }
}
