//! The driver: which node owns a channel, and the task that keeps all nodes connected.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, RwLock, Weak},
    time::Duration,
};

use futures_util::future::join_all;
use redis::{ConnectionInfo, ErrorKind, RedisError};
use socketioxide_redis::drivers::{ChanItem, Driver, MessageStream};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use crate::{
    Notice, RedisTarget,
    connection::RETRY_DELAY,
    node::Node,
    receipt,
    shared::{Outgoing, Shared},
    slots::{self, Slots, slot_of},
};

/// How often a cluster is asked who owns which slot, although nothing was reported. The clients
/// of a master that hangs, or of one that became a replica, are not told about that.
const CLUSTER_CHECK: Duration = Duration::from_secs(1);

/// A [`Driver`] that survives a restart of Redis, and a failover in a Redis Cluster.
///
/// All clones share the same connections. They are closed when the last clone is dropped.
#[derive(Clone)]
pub struct ResilientDriver(Arc<State>);

struct State {
    target: RedisTarget,
    shared: Arc<Shared>,
    // These are `std::sync::RwLock`s and not Tokio's: they are never held across an `.await`.
    /// The nodes, and the slots of each. A single Redis owns all slots.
    owners: RwLock<Vec<(Slots, Arc<Node>)>>,
    /// All nodes of the cluster at the last check. The nodes that the target names may be gone.
    known: RwLock<Vec<ConnectionInfo>>,
}

impl ResilientDriver {
    /// Connects to `target`. From then on the driver reconnects by itself.
    ///
    /// `report` gets every [`Notice`]: a lost connection, a restored one, lost messages. It is
    /// called from the driver's tasks, so it must not block.
    ///
    /// # Errors
    /// When Redis does not answer at the first attempt.
    pub async fn connect(
        target: RedisTarget,
        report: impl Fn(Notice) + Send + Sync + 'static,
    ) -> Result<Self, RedisError> {
        let state = Arc::new(State {
            target,
            shared: Arc::new(Shared::new(report)),
            owners: RwLock::default(),
            known: RwLock::default(),
        });
        state.refresh().await?;
        let shared = Arc::clone(&state.shared);
        tokio::spawn(keep_connected(Arc::downgrade(&state), shared));
        Ok(Self(state))
    }
}

impl Driver for ResilientDriver {
    type Error = RedisError;

    /// Queues the message. [`crate::watch`] tells whether Redis accepts it.
    ///
    /// This neither waits for Redis nor fails. The adapter delivers a message to its own sockets
    /// after this call, so a slow or missing Redis must not hold it up.
    async fn publish(&self, channel: String, message: Vec<u8>) -> Result<(), RedisError> {
        let owner = self.0.owner_of(&channel);
        let outgoing = Outgoing {
            channel,
            message,
            receipt: receipt::begin(),
        };
        match owner {
            Some(node) => node.queue(outgoing).await,
            None => self.0.shared.fail(outgoing),
        }
        Ok(())
    }

    /// Subscribes to a channel. While Redis is away this succeeds too, and takes effect as soon
    /// as Redis is back.
    async fn subscribe(
        &self,
        channel: String,
        size: usize,
    ) -> Result<MessageStream<ChanItem>, RedisError> {
        let (sender, receiver) = mpsc::channel(size);
        self.0.shared.subscribe(channel.clone(), sender);
        match self.0.owner_of(&channel).filter(|node| node.is_open()) {
            Some(node) => node.subscribe(vec![channel]).await?,
            None => self.0.shared.changed.notify_one(),
        }
        Ok(MessageStream::new(receiver))
    }

    async fn unsubscribe(&self, channel: String) -> Result<(), RedisError> {
        self.0.shared.unsubscribe(&channel);
        match self.0.owner_of(&channel) {
            Some(node) => node.unsubscribe(channel).await,
            None => Ok(()),
        }
    }

    /// How many servers subscribe to the channel. While Redis is away: 1, this server.
    async fn num_serv(&self, channel: &str) -> Result<u16, RedisError> {
        match self.0.owner_of(channel) {
            Some(node) => node.count_subscribers(channel).await,
            None => Ok(1),
        }
    }
}

/// Connects whatever is not connected, each time that something has changed.
async fn keep_connected(state: Weak<State>, shared: Arc<Shared>) {
    loop {
        let check = state.upgrade().and_then(|state| state.check_interval());
        match check {
            Some(interval) => drop(timeout(interval, shared.changed.notified()).await),
            None => shared.changed.notified().await,
        }
        loop {
            let Some(state) = state.upgrade() else {
                return;
            };
            if state.refresh().await.is_ok() {
                break;
            }
            drop(state);
            sleep(RETRY_DELAY).await;
        }
        if state.upgrade().is_some_and(|state| state.is_open()) {
            shared.report_restored();
        }
    }
}

impl Drop for State {
    /// The last clone of the driver is gone: [`keep_connected`] wakes and ends.
    fn drop(&mut self) {
        self.shared.changed.notify_one();
    }
}

impl State {
    fn check_interval(&self) -> Option<Duration> {
        matches!(self.target, RedisTarget::Cluster(_)).then_some(CLUSTER_CHECK)
    }

    fn is_open(&self) -> bool {
        self.nodes().iter().all(|node| node.is_open())
    }

    /// Finds out who owns which slot, connects to these nodes, and subscribes to each channel at
    /// its owner.
    async fn refresh(&self) -> Result<(), RedisError> {
        let owners = match &self.target {
            RedisTarget::One(node) => vec![(Slots::all(), node.clone())],
            RedisTarget::Cluster(named) => self.ask_for_owners(named).await?,
        };
        let is_complete = slots::are_complete(owners.iter().map(|(slots, _)| slots));
        self.install(owners);
        let channels = self.shared.channels();
        let nodes = self.nodes();
        // All at once: a node that is gone must not hold up the others.
        let connecting = nodes.iter().map(|node| {
            let own = channels.iter().filter(|channel| {
                let owner = self.owner_of(channel);
                owner.is_some_and(|owner| Arc::ptr_eq(&owner, node))
            });
            node.connect(own.cloned().collect::<HashSet<_>>())
        });
        let connected = join_all(connecting).await;
        if !is_complete {
            if !self.shared.is_broken() {
                self.shared.report_loss(Notice::SlotsWithoutMaster);
            }
            return Err((ErrorKind::Client, "some slots have no master").into());
        }
        connected.into_iter().collect()
    }

    async fn ask_for_owners(
        &self,
        named: &[ConnectionInfo],
    ) -> Result<Vec<(Slots, ConnectionInfo)>, RedisError> {
        let mut others = named.to_vec();
        others.extend_from_slice(&self.known.read().unwrap_or_else(PoisonError::into_inner));
        let answer = slots::ask_for_owners(&self.nodes(), others).await?;
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = answer.nodes;
        Ok(answer.owners)
    }

    /// Replaces the owners. A node that owns no slots any more is no longer listened to: a master
    /// that became a replica repeats what the new master sends.
    fn install(&self, owners: Vec<(Slots, ConnectionInfo)>) {
        let (kept, retired): (Vec<_>, Vec<_>) = self
            .nodes()
            .into_iter()
            .partition(|node| owners.iter().any(|(_, at)| node.is_at(at)));
        for node in &retired {
            node.retire();
        }
        let is_cluster = matches!(self.target, RedisTarget::Cluster(_));
        let owners = owners.into_iter().map(|(slots, at)| {
            let node = kept.iter().find(|node| node.is_at(&at)).cloned();
            let node = node.unwrap_or_else(|| {
                Node::start(at, is_cluster, Arc::clone(&self.shared), retired.clone())
            });
            (slots, node)
        });
        let owners: Vec<_> = owners.collect();
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
