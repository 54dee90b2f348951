//! One channel for the messages to all rooms, as in the adapter, or one channel for each room?
//!
//! Here a server is only its driver, without clients. Each room has members on two servers.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, future::try_join_all};
use redis::RedisError;
use redis_driver::{RedisTarget, ResilientDriver, watch};
use socketioxide_redis::drivers::{ChanItem, Driver, MessageStream};
use tokio::time::{interval, timeout};

use crate::Cluster;

/// How many rooms there are.
pub const ROOMS: usize = 30;

/// How many messages are sent to each room.
const MESSAGES: usize = 10;

/// How many messages are sent in all.
pub const SENT: usize = ROOMS * MESSAGES;

/// How long an answer or a message may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many messages a channel may hold: more than are ever sent.
const ENOUGH: usize = 2 * SENT;

/// The last message on each channel.
const END: &[u8] = b"end";

/// The channel for a message to a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channels {
    /// The same channel for all rooms.
    One,
    /// A channel for each room.
    EachRoom,
}

/// Who got the messages to the rooms.
#[derive(Debug)]
pub struct FanOut {
    /// How many messages each server got.
    pub by_server: Vec<usize>,
    /// How many messages each master published; masters without one are left out.
    pub by_master: Vec<u64>,
}

impl FanOut {
    /// How many messages all servers got.
    pub fn total(&self) -> usize {
        self.by_server.iter().sum()
    }
}

impl Channels {
    fn of(self, room: usize) -> String {
        match self {
            Self::One => "rooms".to_owned(),
            Self::EachRoom => format!("room {room}"),
        }
    }

    /// The channels that a server subscribes to.
    fn subscribed_by(self, server: usize, servers: usize) -> Vec<String> {
        let rooms = (0..ROOMS).filter(|room| has_members(*room, server, servers));
        let mut channels: Vec<_> = rooms.map(|room| self.of(room)).collect();
        channels.dedup();
        channels
    }
}

/// Each room has members on two servers.
fn has_members(room: usize, server: usize, servers: usize) -> bool {
    [room % servers, (room + 1) % servers].contains(&server)
}

/// Sends [`SENT`] messages to the rooms, through the cluster.
///
/// # Errors
/// When the cluster does not answer, or does not accept a message.
pub async fn fan_out(cluster: &Cluster, servers: usize, channels: Channels) -> Result<FanOut> {
    let target = RedisTarget::at(&cluster.url()).await?;
    let mut streams = Vec::new();
    // A driver receives messages only until it is dropped.
    let mut drivers = Vec::new();
    for server in 0..servers {
        let driver = connect(target.clone()).await?;
        let subscribed = channels.subscribed_by(server, servers);
        streams.push(
            try_join_all(
                subscribed
                    .into_iter()
                    .map(|name| driver.subscribe(name, ENOUGH)),
            )
            .await?,
        );
        drivers.push(driver);
    }
    let sender = connect(target).await?;
    let before = cluster.calls("spublish").await?;
    for number in 0..SENT {
        let room = number % ROOMS;
        ensure!(
            publish(&sender, channels.of(room), b"hi").await?,
            "the cluster did not accept a message to room {room}"
        );
    }
    let after = cluster.calls("spublish").await?;
    let mut all: Vec<_> = (0..ROOMS).map(|room| channels.of(room)).collect();
    all.dedup();
    for channel in all {
        publish(&sender, channel, END).await?;
    }
    let by_server = try_join_all(streams.into_iter().map(count_all)).await?;
    let by_master = after
        .iter()
        .zip(before)
        .map(|(after, before)| after - before);
    Ok(FanOut {
        by_server,
        by_master: by_master.filter(|count| *count > 0).collect(),
    })
}

/// A server's driver. Its notices are not shown.
async fn connect(target: RedisTarget) -> Result<ResilientDriver, RedisError> {
    ResilientDriver::connect(target, |_notice| {}).await
}

/// Publishes a message. Returns whether the cluster accepted it.
async fn publish(sender: &ResilientDriver, channel: String, message: &[u8]) -> Result<bool> {
    let (published, receipt) = watch(sender.publish(channel, message.to_vec())).await;
    published?;
    Ok(receipt.succeeds().await)
}

/// How many messages come over a server's channels before [`END`].
async fn count_all(streams: Vec<MessageStream<ChanItem>>) -> Result<usize> {
    let counts = try_join_all(streams.into_iter().map(count)).await?;
    Ok(counts.into_iter().sum())
}

async fn count(mut stream: MessageStream<ChanItem>) -> Result<usize> {
    let counted = async {
        let mut count = 0;
        while let Some((_, message)) = stream.next().await {
            if message == END {
                return Some(count);
            }
            count += 1;
        }
        None
    };
    let counted = timeout(PATIENCE, counted).await;
    counted
        .ok()
        .flatten()
        .context("the last message did not come")
}

/// One message to each room, while the slots of one shard have no master.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ShardDown {
    /// How many rooms have their channel on another shard.
    pub other_rooms: usize,
    /// How many of these got the message.
    pub received: usize,
    /// How many rooms have their channel on the shard that is down.
    pub its_rooms: usize,
    /// For how many of these the sender was told that the message was not published.
    pub sender_told: usize,
}

/// Kills a shard: its replica first, so that no node takes its place. Sends a message to each
/// room, and starts both again. Done once every room works again.
///
/// # Errors
/// When the cluster does not answer, or does not come back.
pub async fn take_a_shard_down(cluster: &mut Cluster) -> Result<ShardDown> {
    let target = RedisTarget::at(&cluster.url()).await?;
    let [sender, receiver] = [target.clone(), target].map(connect);
    let (sender, receiver) = (sender.await?, receiver.await?);
    let mut rooms = Vec::new();
    for number in 0..ROOMS {
        let name = Channels::EachRoom.of(number);
        let master = cluster.home_of(&name).await?.address;
        let stream = receiver.subscribe(name.clone(), ENOUGH).await?;
        rooms.push(Room {
            name,
            master,
            stream,
        });
    }
    let master = rooms[0].master;
    let replica = cluster.replica_of(master).await?;
    cluster.kill(replica).await?;
    cluster.kill(master).await?;

    let mut seen = ShardDown::default();
    for room in &mut rooms {
        let is_published = publish(&sender, room.name.clone(), b"anybody?").await?;
        if room.master == master {
            seen.its_rooms += 1;
            seen.sender_told += usize::from(!is_published);
        } else {
            seen.other_rooms += 1;
            seen.received += usize::from(is_published && room.receives(b"anybody?").await);
        }
    }
    cluster.restart(master).await?;
    cluster.restart(replica).await?;
    cluster.is_replica(replica).await?;
    for room in &mut rooms {
        room.works_again(&sender).await?;
    }
    Ok(seen)
}

struct Room {
    name: String,
    master: SocketAddr,
    stream: MessageStream<ChanItem>,
}

impl Room {
    /// Whether the next message is this one.
    async fn receives(&mut self, text: &[u8]) -> bool {
        let next = timeout(PATIENCE, self.stream.next()).await;
        next.is_ok_and(|next| next.is_some_and(|(_, message)| message == text))
    }

    async fn works_again(&mut self, sender: &ResilientDriver) -> Result<()> {
        let mut turns = interval(Duration::from_millis(50));
        let received = async {
            loop {
                publish(sender, self.name.clone(), b"again").await?;
                tokio::select! {
                    Some(_) = self.stream.next() => return anyhow::Ok(()),
                    _ = turns.tick() => {}
                }
            }
        };
        let received = timeout(PATIENCE, received).await;
        received.with_context(|| format!("{} gets no messages again", self.name))?
    }
}
