//! What the nodes of a cluster say about themselves and each other.
//!
//! Source: the commands `CLUSTER NODES`, `CLUSTER INFO` and `INFO`.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, bail};
use futures_util::future::try_join_all;
use lab::parts::redis::field;
use redis::{Cmd, FromRedisValue, aio::MultiplexedConnection, cmd};
use tokio::time::{interval, timeout};

use super::{Cluster, PATIENCE};

/// The slot of a channel, and the master that has this slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelHome {
    /// The slot, one of 16,384.
    pub slot: u16,
    /// The name of the master.
    pub name: &'static str,
    /// The address of the master.
    pub address: SocketAddr,
}

/// What a node says about another node.
pub(super) struct Known {
    port: u16,
    pub(super) flags: String,
    pub(super) slots: Vec<(u16, u16)>,
}

impl Cluster {
    /// The slot of `channel`, and its master.
    ///
    /// # Errors
    /// When no node answers, or no master has the slot.
    pub async fn home_of(&self, channel: &str) -> Result<ChannelHome> {
        let (_, node) = self.running().next().context("no node runs")?;
        let slot: u16 = ask(node, cmd("CLUSTER").arg("KEYSLOT").arg(channel)).await?;
        let known = known_to(node).await?;
        let master = known.iter().find(|node| node.has(slot));
        let port = master
            .with_context(|| format!("no master has slot {slot}"))?
            .port;
        let home = self.nodes().find(|(_, address)| address.port() == port);
        let (name, address) =
            home.context("the cluster has a node that this lesson did not start")?;
        Ok(ChannelHome {
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
        Ok(replica
            .context("the cluster has a node that this lesson did not start")?
            .1)
    }

    /// The names of the nodes that are replicas now, and have all data of their master.
    pub async fn replicas(&self) -> Result<Vec<&'static str>> {
        let are_replicas = self.each(is_linked_replica).await?;
        let nodes = self.running().zip(are_replicas);
        let replicas = nodes.filter(|(_, is_replica)| *is_replica);
        Ok(replicas.map(|((name, _), _)| name).collect())
    }

    /// The counter `name` in `CLUSTER INFO` of each node that runs, such as
    /// `cluster_stats_messages_publish_sent`. 0 if the node does not show it.
    pub async fn messages(&self, name: &str) -> Result<Vec<u64>> {
        self.each(async |address| {
            let info: String = ask(address, cmd("CLUSTER").arg("INFO")).await?;
            let count = field(&info, name).and_then(|count| count.parse().ok());
            Ok(count.unwrap_or(0))
        })
        .await
    }

    /// How often each node that runs was sent a command, such as `spublish`.
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

    /// Waits until a node other than `dead` has `slot`, and all running nodes agree.
    pub async fn is_taken_over(&self, slot: u16, dead: SocketAddr) -> Result<()> {
        self.wait_until("no node has taken the dead master's place", async || {
            self.all(async |address| {
                let known = known_to(address).await?;
                let master = known.iter().find(|node| node.has(slot));
                Ok(master.is_some_and(|master| master.port != dead.port()))
            })
            .await
        })
        .await
    }

    /// Waits until the node at `address` is a replica with all data of its master, and all running
    /// nodes know it.
    pub async fn is_replica(&self, address: SocketAddr) -> Result<()> {
        let what = "the killed node has not become a replica";
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

    pub(super) async fn wait_until(
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

    /// Whether something is true for all nodes that run.
    pub(super) async fn all(
        &self,
        is_so: impl AsyncFn(SocketAddr) -> Result<bool>,
    ) -> Result<bool> {
        let all = self.each(is_so).await?;
        Ok(all.into_iter().all(|is_so| is_so))
    }

    /// Asks all nodes that run, in their order.
    async fn each<T>(&self, ask: impl AsyncFn(SocketAddr) -> Result<T>) -> Result<Vec<T>> {
        try_join_all(self.running().map(|(_, address)| ask(address))).await
    }
}

/// Whether the node is a replica with all data of its master.
async fn is_linked_replica(address: SocketAddr) -> Result<bool> {
    let info: String = ask(address, cmd("INFO").arg("replication")).await?;
    Ok(field(&info, "role") == Some("slave") && field(&info, "master_link_status") == Some("up"))
}

/// What the node at `address` says about all nodes.
pub(super) async fn known_to(address: SocketAddr) -> Result<Vec<Known>> {
    let nodes: String = ask(address, cmd("CLUSTER").arg("NODES")).await?;
    nodes.lines().map(Known::parse).collect()
}

impl Known {
    /// `<id> <ip:port@bus> <flags> <master> <ping> <pong> <epoch> <link> <slot> …`
    fn parse(line: &str) -> Result<Self> {
        let words: Vec<_> = line.split(' ').collect();
        let [_, address, flags, _, _, _, _, _, slots @ ..] = &words[..] else {
            bail!("a line of CLUSTER NODES is not understood: {line:?}");
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

    pub(super) fn is_met(&self) -> bool {
        !self.flags.contains("handshake") && !self.flags.contains("noaddr")
    }
}

/// Sends one command to the node at `address`.
pub(super) async fn ask<T: FromRedisValue>(address: SocketAddr, command: &Cmd) -> Result<T> {
    let mut connection = connect(address).await?;
    Ok(command.query_async(&mut connection).await?)
}

async fn connect(address: SocketAddr) -> Result<MultiplexedConnection> {
    let client = redis::Client::open(format!("redis://{address}"))?;
    Ok(client.get_multiplexed_async_connection().await?)
}
