//! Arithmetic of fan-out: one channel for the messages to all rooms, as the adapter has it, or a
//! channel for each room.
//!
//! The servers here are only their drivers: what they are handed is counted, and nobody is
//! connected to them. Each room has members on two of them.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, future::try_join_all};
use lab::Cluster;
use redis::RedisError;
use socketioxide_redis::drivers::{ChanItem, Driver, MessageStream};
use tokio::time::{interval, timeout};

use crate::{crossing::watch, driver::ResilientDriver, place::Place};

/// How many rooms there are.
pub const ROOMS: usize = 30;

/// How many messages each room is sent.
const MESSAGES: usize = 10;

/// How many messages all rooms are sent.
pub const SENT: usize = ROOMS * MESSAGES;

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// More than any channel is ever handed at once.
const ENOUGH: usize = 2 * SENT;

/// The last message on each channel.
const END: &[u8] = b"end";

/// Which channel a message to a room is published on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channels {
    /// The same for all rooms.
    One,
    /// One for each.
    EachRoom,
}

/// What became of the messages to the rooms.
#[derive(Debug)]
pub struct Fanned {
    /// How many each server was handed.
    pub handed: Vec<usize>,
    /// How many each master was given to publish.
    pub carried: Vec<u64>,
}

impl Fanned {
    /// How many all servers were handed.
    pub fn total(&self) -> usize {
        self.handed.iter().sum()
    }
}

impl Channels {
    fn of(self, room: usize) -> String {
        match self {
            Self::One => "rooms".to_owned(),
            Self::EachRoom => format!("room {room}"),
        }
    }

    /// What a server listens on, once each.
    fn heard_by(self, server: usize, servers: usize) -> Vec<String> {
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

/// Sends [`SENT`] messages to the rooms, through the cluster at `urls`.
///
/// # Errors
/// When the cluster does not answer, or does not take a message.
pub async fn fan_out(
    cluster: &Cluster,
    urls: &str,
    servers: usize,
    channels: Channels,
) -> Result<Fanned> {
    let place = Place::at(urls).await?;
    let mut streams = Vec::new();
    // A driver that is dropped hears nothing any more.
    let mut drivers = Vec::new();
    for server in 0..servers {
        let driver = quiet(place.clone()).await?;
        let heard = channels.heard_by(server, servers);
        streams.push(
            try_join_all(heard.into_iter().map(|name| driver.subscribe(name, ENOUGH))).await?,
        );
        drivers.push(driver);
    }
    let sender = quiet(place).await?;
    let before = cluster.calls("spublish").await?;
    for number in 0..SENT {
        let room = number % ROOMS;
        ensure!(
            tell(&sender, channels.of(room), b"hi").await?,
            "the cluster did not take a message to room {room}"
        );
    }
    let after = cluster.calls("spublish").await?;
    let mut all: Vec<_> = (0..ROOMS).map(|room| channels.of(room)).collect();
    all.dedup();
    for channel in all {
        tell(&sender, channel, END).await?;
    }
    let handed = try_join_all(streams.into_iter().map(count_all)).await?;
    let carried = after
        .iter()
        .zip(before)
        .map(|(after, before)| after - before);
    Ok(Fanned {
        handed,
        carried: carried.filter(|carried| *carried > 0).collect(),
    })
}

/// A server's driver. What it has to say is the servers' business, and none of them is here.
async fn quiet(place: Place) -> Result<ResilientDriver, RedisError> {
    ResilientDriver::connect_telling(place, drop).await
}

/// Publishes, and says whether the cluster has it.
async fn tell(sender: &ResilientDriver, channel: String, message: &[u8]) -> Result<bool> {
    let (published, crossing) = watch(sender.publish(channel, message.to_vec())).await;
    published?;
    Ok(crossing.succeeds().await)
}

/// How many messages come over a server's channels before the last of each.
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

/// What became of one message to each room, while nobody has the slots of one master.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Silence {
    /// How many rooms have their channels on other shards.
    pub elsewhere: usize,
    /// How many of these were heard.
    pub heard: usize,
    /// How many rooms have theirs on the shard that is gone.
    pub gone: usize,
    /// Of how many of these the sender was told that the message stays where it is.
    pub told: usize,
}

/// Kills a shard, its replica first so that nobody takes its place, writes to each room, and
/// has both come back. Done once every room is heard again.
///
/// # Errors
/// When the cluster does not answer, or does not come back.
pub async fn silence_a_shard(cluster: &mut Cluster, urls: &str) -> Result<Silence> {
    let place = Place::at(urls).await?;
    let [sender, receiver] = [place.clone(), place].map(quiet);
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

    let mut silence = Silence::default();
    for room in &mut rooms {
        let is_taken = tell(&sender, room.name.clone(), b"anybody?").await?;
        if room.master == master {
            silence.gone += 1;
            silence.told += usize::from(!is_taken);
        } else {
            silence.elsewhere += 1;
            silence.heard += usize::from(is_taken && room.hears(b"anybody?").await);
        }
    }
    cluster.restart(master).await?;
    cluster.restart(replica).await?;
    cluster.is_replica(replica).await?;
    for room in &mut rooms {
        room.is_heard_again(&sender).await?;
    }
    Ok(silence)
}

struct Room {
    name: String,
    master: SocketAddr,
    stream: MessageStream<ChanItem>,
}

impl Room {
    /// Whether the next message is this one.
    async fn hears(&mut self, text: &[u8]) -> bool {
        let next = timeout(PATIENCE, self.stream.next()).await;
        next.is_ok_and(|next| next.is_some_and(|(_, message)| message == text))
    }

    async fn is_heard_again(&mut self, sender: &ResilientDriver) -> Result<()> {
        let mut turns = interval(Duration::from_millis(50));
        let heard = async {
            loop {
                tell(sender, self.name.clone(), b"again").await?;
                tokio::select! {
                    Some(_) = self.stream.next() => return anyhow::Ok(()),
                    _ = turns.tick() => {}
                }
            }
        };
        let heard = timeout(PATIENCE, heard).await;
        heard.with_context(|| format!("{} is not heard again", self.name))?
    }
}
