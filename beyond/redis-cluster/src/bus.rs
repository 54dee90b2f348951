//! Which nodes of the cluster carry a message? The nodes' own counters tell.

use std::time::Duration;

use anyhow::{Context, Result};
use ch06_full_stack::experiment::{User, write};
use tokio::time::{interval, timeout};

use crate::{Cluster, channel, cluster::ChannelHome};

/// How many messages are published to see where they go.
pub const MESSAGES: u64 = 1_000;

/// How long the nodes may take to count the messages.
const PATIENCE: Duration = Duration::from_secs(10);

/// How one message went from server to server.
#[derive(Debug)]
pub struct Crossed {
    /// Whether it arrived.
    pub arrived: bool,
    /// The master of the adapter's channel.
    pub home: ChannelHome,
    /// How many messages each node was told to publish: name and count.
    pub published: Vec<(&'static str, u64)>,
}

/// One user writes to another user, on another server.
pub async fn cross(cluster: &Cluster, from: &User, to: &mut User) -> Result<Crossed> {
    let home = cluster.home_of(&channel()).await?;
    let before = cluster.calls("spublish").await?;
    let arrived = write(from, to, "hi").await?;
    let after = cluster.calls("spublish").await?;
    let names = cluster.nodes().map(|(name, _)| name);
    Ok(Crossed {
        arrived,
        home,
        published: names.zip(difference(&after, &before)).collect(),
    })
}

/// How often [`MESSAGES`] messages went over the cluster bus, the connections between the nodes.
#[derive(Debug, PartialEq, Eq)]
pub struct BusTraffic {
    /// How many messages the master sent to other nodes.
    pub sent: u64,
    /// How many messages each node received.
    pub received: Vec<u64>,
}

impl BusTraffic {
    /// How many nodes received all messages.
    pub fn receivers(&self) -> usize {
        self.received
            .iter()
            .filter(|count| **count == MESSAGES)
            .count()
    }
}

/// Publishes on the adapter's channel, at its master, with `PUBLISH` or `SPUBLISH`.
///
/// # Errors
/// When a node does not answer, or does not receive the messages.
pub async fn over_the_bus(cluster: &Cluster, command: &str) -> Result<BusTraffic> {
    // The nodes have a counter for each of the two.
    let kind = match command {
        "SPUBLISH" => "publishshard",
        _ => "publish",
    };
    let [sent, received] =
        ["sent", "received"].map(|way| format!("cluster_stats_messages_{kind}_{way}"));
    let before = [
        cluster.messages(&sent).await?,
        cluster.messages(&received).await?,
    ];
    publish(cluster, command).await?;
    let counted = async {
        let mut turns = interval(Duration::from_millis(20));
        loop {
            turns.tick().await;
            let sent = difference(&cluster.messages(&sent).await?, &before[0]);
            let received = difference(&cluster.messages(&received).await?, &before[1]);
            let total: u64 = sent.iter().sum();
            // Each message that was sent has been received.
            if total >= MESSAGES && total == received.iter().sum::<u64>() {
                return anyhow::Ok(BusTraffic {
                    sent: total,
                    received,
                });
            }
        }
    };
    timeout(PATIENCE, counted)
        .await
        .context("the nodes have not received all messages")?
}

async fn publish(cluster: &Cluster, command: &str) -> Result<()> {
    let home = cluster.home_of(&channel()).await?;
    let client = redis::Client::open(format!("redis://{}", home.address))?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let mut messages = redis::pipe();
    for number in 0..MESSAGES {
        messages.cmd(command).arg(channel()).arg(number).ignore();
    }
    Ok(messages.exec_async(&mut connection).await?)
}

fn difference(after: &[u64], before: &[u64]) -> Vec<u64> {
    let pairs = after.iter().zip(before);
    pairs
        .map(|(after, before)| after.saturating_sub(*before))
        .collect()
}
