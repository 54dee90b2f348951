//! Past one Redis: what a Redis Cluster changes about messages between servers, and what it
//! does not.
//!
//! Each experiment counts what the nodes themselves have counted. [`rooms`] asks what a channel
//! for each room would change.

pub mod rooms;

use std::time::Duration;

use anyhow::{Context, Result};
use lab::{Cluster, Home};
use tokio::time::{interval, timeout};

use crate::experiment::User;

/// What the adapter of every server is subscribed to, for the messages of the namespace `/`.
pub const CHANNEL: &str = "socket.io-request#/#";

/// How many messages are published to see where they go.
pub const MESSAGES: u64 = 1_000;

/// How long the nodes may take to count what they were sent.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a message crossed.
#[derive(Debug)]
pub struct Crossed {
    /// Whether it arrived.
    pub arrived: bool,
    /// Which slot the adapter's channel has, and who has that slot.
    pub home: Home,
    /// How many messages each node was given to publish meanwhile.
    pub published: Vec<(&'static str, u64)>,
}

/// One user writes to another one, on another server.
///
/// # Errors
/// When the sender's connection is gone, or a node does not answer.
pub async fn cross(cluster: &Cluster, from: &User, to: &mut User) -> Result<Crossed> {
    let home = cluster.home_of(CHANNEL).await?;
    let before = cluster.calls("spublish").await?;
    from.say(&to.name, "hi").await?;
    let arrived = to.hears(&from.name, "hi").await;
    let after = cluster.calls("spublish").await?;
    let names = cluster.nodes().map(|(name, _)| name);
    Ok(Crossed {
        arrived,
        home,
        published: names.zip(less(&after, &before)).collect(),
    })
}

/// What [`MESSAGES`] messages, published at one master, cost the cluster's bus: the connections
/// over which its nodes talk to each other.
#[derive(Debug, PartialEq, Eq)]
pub struct Bus {
    /// How many messages that master has sent to other nodes.
    pub sent: u64,
    /// How many each other node has received.
    pub received: Vec<u64>,
}

/// Publishes with `PUBLISH` or `SPUBLISH` on the adapter's channel, where its slot is.
///
/// # Errors
/// When a node does not answer, or does not get all that was sent.
pub async fn over_the_bus(cluster: &Cluster, command: &str) -> Result<Bus> {
    // Each is counted under a name of its own.
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
            let sent: Vec<_> = less(&cluster.messages(&sent).await?, &before[0]).collect();
            let received: Vec<_> = less(&cluster.messages(&received).await?, &before[1]).collect();
            let total: u64 = sent.iter().sum();
            // All that was sent has come.
            if total >= MESSAGES && total == received.iter().sum::<u64>() {
                return anyhow::Ok(Bus {
                    sent: total,
                    received,
                });
            }
        }
    };
    timeout(PATIENCE, counted)
        .await
        .context("the nodes have not received what they were sent")?
}

async fn publish(cluster: &Cluster, command: &str) -> Result<()> {
    let home = cluster.home_of(CHANNEL).await?;
    let client = redis::Client::open(format!("redis://{}", home.address))?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let mut messages = redis::pipe();
    for number in 0..MESSAGES {
        messages.cmd(command).arg(CHANNEL).arg(number).ignore();
    }
    Ok(messages.exec_async(&mut connection).await?)
}

fn less<'a>(after: &'a [u64], before: &'a [u64]) -> impl Iterator<Item = u64> + 'a {
    after
        .iter()
        .zip(before)
        .map(|(after, before)| after.saturating_sub(*before))
}
