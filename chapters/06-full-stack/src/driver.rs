//! The road between the Socket.IO adapter and Redis, open again whenever Redis is.
//!
//! The adapter's own driver keeps one connection. When Redis restarts, it is broken for
//! good: every emit fails then, even one to a socket of the same server. This driver
//! connects and subscribes again, and while Redis is away it lets messages stay on their
//! own server instead of failing them.
//!
//! The crate `redis` has a `ConnectionManager` that connects again by itself. But a publish
//! that fails and the news that the connection broke each make it do so, and for a moment
//! both new connections are subscribed: once in some twenty restarts, messages came twice.
//! Here one task connects, so that there is one connection.
//!
//! A Redis Cluster is several such `Node`s. A channel has a slot, a slot has a master, and
//! each master has a connection, a queue and a fate of its own: when one dies, the messages of
//! its slots stay on their server, and all others cross. The same task asks who has which slot,
//! once a second and whenever something has happened, and has each channel subscribed to there
//! and nowhere else. The crate's own `ClusterConnection` subscribes again by itself, as its
//! `ConnectionManager` does.

mod node;
mod slots;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak,
        atomic::{
            AtomicBool, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::Duration,
};

use ch01_express_pid::log;
use futures_util::future::join_all;
use redis::{ConnectionInfo, ErrorKind, RedisError};
use socketioxide_redis::drivers::{ChanItem, Driver, MessageStream};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::{sleep, timeout},
};

use crate::{
    crossing,
    place::{PAUSE, Place},
};
use node::Node;
use slots::{Slots, slot_of};

/// How many messages may wait for one master. One more has its sender wait.
const QUEUE: usize = 4096;

/// How often a cluster is asked who has which slot, though nothing has happened: of a master
/// that hangs, or that became a replica, its clients hear nothing.
const BEAT: Duration = Duration::from_secs(1);

/// A driver for [`socketioxide_redis`] that survives a restart of Redis, and the failover of a
/// cluster's shard.
#[derive(Clone)]
pub struct ResilientDriver(Arc<Road>);

/// A message for the other servers.
struct Outgoing {
    channel: String,
    message: Vec<u8>,
    /// Learns whether Redis has it.
    crossed: oneshot::Sender<bool>,
}

struct Road {
    place: Place,
    hub: Arc<Hub>,
    // This is a `std::sync::RwLock` and not Tokio's: it is never held across an `.await`.
    /// Who has which slots. One Redis has them all.
    owners: RwLock<Vec<(Slots, Arc<Node>)>>,
    /// All nodes of the cluster, as it was asked last: those who were named may be gone.
    learned: RwLock<Vec<ConnectionInfo>>,
}

/// What all nodes share.
struct Hub {
    tell: fn(String),
    /// Who gets the messages of which channel.
    subscribers: RwLock<HashMap<String, mpsc::Sender<ChanItem>>>,
    /// There is something for [`keep_open`] to look after.
    changed: Notify,
    /// Whether a node was given up, and the road is not whole again since.
    is_broken: AtomicBool,
    /// Messages that did not reach the other servers, or may not have.
    stayed: AtomicUsize,
}

impl ResilientDriver {
    /// Connects to `place`, over RESP3: messages come in as push messages, over the connection
    /// that publishes.
    ///
    /// # Errors
    /// When Redis does not answer now. Later it may come and go.
    pub async fn connect(place: Place) -> Result<Self, RedisError> {
        Self::connect_telling(place, log).await
    }

    /// The same; what it has to say it says to `tell`.
    pub(crate) async fn connect_telling(
        place: Place,
        tell: fn(String),
    ) -> Result<Self, RedisError> {
        let hub = Arc::new(Hub {
            tell,
            subscribers: RwLock::default(),
            changed: Notify::new(),
            is_broken: AtomicBool::new(false),
            stayed: AtomicUsize::new(0),
        });
        let road = Arc::new(Road {
            place,
            hub,
            owners: RwLock::default(),
            learned: RwLock::default(),
        });
        road.settle().await?;
        tokio::spawn(keep_open(Arc::downgrade(&road), Arc::clone(&road.hub)));
        Ok(Self(road))
    }
}

impl Driver for ResilientDriver {
    type Error = RedisError;

    /// Queues the message; `crossing::watch` learns what becomes of it.
    ///
    /// Does not wait for Redis, and never fails: the adapter delivers to its own sockets only
    /// after this, and neither a Redis that is away nor one that is slow must keep it from
    /// that.
    async fn publish(&self, channel: String, message: Vec<u8>) -> Result<(), RedisError> {
        let owner = self.0.owner_of(&channel);
        let outgoing = Outgoing {
            channel,
            message,
            crossed: crossing::begin(),
        };
        match owner {
            Some(node) => node.queue(outgoing).await,
            None => self.0.hub.keep(outgoing),
        }
        Ok(())
    }

    async fn subscribe(
        &self,
        channel: String,
        size: usize,
    ) -> Result<MessageStream<ChanItem>, RedisError> {
        let (sender, receiver) = mpsc::channel(size);
        self.0.hub.subscribers_mut().insert(channel.clone(), sender);
        match self.0.owner_of(&channel).filter(|node| node.is_open()) {
            Some(node) => node.subscribe(vec![channel]).await?,
            // This is done once Redis is back.
            None => self.0.hub.changed.notify_one(),
        }
        Ok(MessageStream::new(receiver))
    }

    async fn unsubscribe(&self, channel: String) -> Result<(), RedisError> {
        self.0.hub.subscribers_mut().remove(&channel);
        match self.0.owner_of(&channel) {
            Some(node) => node.unsubscribe(channel).await,
            None => Ok(()),
        }
    }

    /// While Redis is away, a server knows of itself alone.
    async fn num_serv(&self, channel: &str) -> Result<u16, RedisError> {
        match self.0.owner_of(channel) {
            Some(node) => node.count_subscribers(channel).await,
            None => Ok(1),
        }
    }
}

/// Each time that something has happened, looks after it, and says when all is well again.
async fn keep_open(road: Weak<Road>, hub: Arc<Hub>) {
    loop {
        // A cluster is asked now and then, too, without anything having happened.
        let beat = road.upgrade().and_then(|road| road.beat());
        match beat {
            Some(beat) => drop(timeout(beat, hub.changed.notified()).await),
            None => hub.changed.notified().await,
        }
        loop {
            let Some(road) = road.upgrade() else {
                return;
            };
            if road.settle().await.is_ok() {
                break;
            }
            drop(road);
            sleep(PAUSE).await;
        }
        if road.upgrade().is_some_and(|road| road.is_open()) {
            hub.say_that_it_is_whole();
        }
    }
}

impl Drop for Road {
    /// Nobody uses it any more: [`keep_open`] ends.
    fn drop(&mut self) {
        self.hub.changed.notify_one();
    }
}

impl Road {
    fn beat(&self) -> Option<Duration> {
        matches!(self.place, Place::Cluster(_)).then_some(BEAT)
    }

    fn is_open(&self) -> bool {
        self.nodes().iter().all(|node| node.is_open())
    }

    /// Has each slot's owner connected, and each channel subscribed to at its owner's.
    async fn settle(&self) -> Result<(), RedisError> {
        let owners = match &self.place {
            Place::One(node) => vec![(Slots::all(), node.clone())],
            Place::Cluster(named) => self.ask_for_owners(named).await?,
        };
        let is_complete = slots::are_complete(owners.iter().map(|(slots, _)| slots));
        self.install(owners);
        let channels: Vec<_> = self.hub.subscribers().keys().cloned().collect();
        let nodes = self.nodes();
        // All at once: one that is gone must not keep the others waiting.
        let standing = nodes.iter().map(|node| {
            let its_own = channels.iter().filter(|channel| {
                let owner = self.owner_of(channel);
                owner.is_some_and(|owner| Arc::ptr_eq(&owner, node))
            });
            node.stand(its_own.cloned().collect::<HashSet<_>>())
        });
        let standing = join_all(standing).await;
        if !is_complete {
            return Err(self.hub.miss_an_owner());
        }
        standing.into_iter().collect()
    }

    async fn ask_for_owners(
        &self,
        named: &[ConnectionInfo],
    ) -> Result<Vec<(Slots, ConnectionInfo)>, RedisError> {
        let mut others = named.to_vec();
        others.extend_from_slice(&self.learned.read().unwrap_or_else(PoisonError::into_inner));
        let answer = slots::ask_for_owners(&self.nodes(), others).await?;
        *self.learned.write().unwrap_or_else(PoisonError::into_inner) = answer.everybody;
        Ok(answer.owners)
    }

    /// From now on these have the slots. Who has none any more is not heard any more: a master
    /// that became a replica would say again what the new one says.
    fn install(&self, owners: Vec<(Slots, ConnectionInfo)>) {
        let known = self.nodes();
        let is_cluster = matches!(self.place, Place::Cluster(_));
        let owners = owners.into_iter().map(|(slots, at)| {
            let node = known.iter().find(|node| node.is_at(&at)).cloned();
            let node = node.unwrap_or_else(|| Node::start(at, is_cluster, Arc::clone(&self.hub)));
            (slots, node)
        });
        let owners: Vec<_> = owners.collect();
        for node in known {
            if !owners.iter().any(|(_, owner)| Arc::ptr_eq(owner, &node)) {
                node.retire();
            }
        }
        *self.owners.write().unwrap_or_else(PoisonError::into_inner) = owners;
    }

    fn owner_of(&self, channel: &str) -> Option<Arc<Node>> {
        let slot = slot_of(channel);
        let owners = self.owners.read().unwrap_or_else(PoisonError::into_inner);
        let owner = owners.iter().find(|(slots, _)| slots.contain(slot));
        owner.map(|(_, node)| Arc::clone(node))
    }

    fn nodes(&self) -> Vec<Arc<Node>> {
        let owners = self.owners.read().unwrap_or_else(PoisonError::into_inner);
        owners.iter().map(|(_, node)| Arc::clone(node)).collect()
    }
}

impl Hub {
    /// Leaves a message on this server, and tells its sender.
    fn keep(&self, outgoing: Outgoing) {
        self.stayed.fetch_add(1, Relaxed);
        // Not every sender wants to know.
        let _told = outgoing.crossed.send(false);
    }

    /// Says why messages stay on this server now, and has somebody look after it.
    fn break_down(&self, why: String) {
        self.is_broken.store(true, SeqCst);
        (self.tell)(why);
        self.changed.notify_one();
    }

    /// Says, once, that some slots have no master.
    fn miss_an_owner(&self) -> RedisError {
        const NOBODY: &str = "no master has some of the slots";
        if !self.is_broken.load(SeqCst) {
            self.break_down(format!(
                "In the Redis Cluster {NOBODY}: their messages stay on this server until one has"
            ));
        }
        (ErrorKind::Client, NOBODY).into()
    }

    fn say_that_it_is_whole(&self) {
        if !self.is_broken.swap(false, SeqCst) {
            return;
        }
        (self.tell)("Redis is back".to_owned());
        let stayed = self.stayed.swap(0, Relaxed);
        if stayed > 0 {
            (self.tell)(format!("{stayed} messages stayed on this server meanwhile"));
        }
    }

    /// Gives a message to whoever subscribed to its channel.
    fn hand_on(&self, channel: String, payload: Vec<u8>) {
        if let Some(subscriber) = self.subscribers().get(&channel)
            && let Err(error) = subscriber.try_send((channel, payload))
        {
            (self.tell)(format!("a message of another server is lost: {error}"));
        }
    }

    fn subscribers(&self) -> RwLockReadGuard<'_, HashMap<String, mpsc::Sender<ChanItem>>> {
        self.subscribers
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn subscribers_mut(&self) -> RwLockWriteGuard<'_, HashMap<String, mpsc::Sender<ChanItem>>> {
        self.subscribers
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
