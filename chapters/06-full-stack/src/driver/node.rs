//! One Redis, alone or as a master in a cluster: its connection, and what waits for it.

use std::{
    collections::HashSet,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak, atomic::Ordering::SeqCst,
    },
};

use futures_util::future::try_join_all;
use redis::{
    AsyncConnectionConfig, ConnectionInfo, FromRedisValue, PushInfo, PushKind, RedisError,
    RedisResult, Value, aio::MultiplexedConnection, cmd,
};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use super::{Hub, Outgoing, QUEUE};
use crate::place::{PATIENCE, PAUSE, connect_to};

/// A Redis that has slots.
pub(super) struct Node {
    at: ConnectionInfo,
    /// In a cluster, channels are sharded: they are the slot's owner's, and nobody else's.
    is_sharded: bool,
    hub: Arc<Hub>,
    /// What is to be published, in its order.
    outgoing: mpsc::Sender<Outgoing>,
    // This is a `std::sync::RwLock` and not Tokio's: it is never held across an `.await`.
    connection: RwLock<Connection>,
}

#[derive(Default)]
struct Connection {
    /// None while Redis is away.
    open: Option<MultiplexedConnection>,
    /// How many there were before it: what an earlier one still brings is not heard.
    number: usize,
    /// What it is subscribed to: what else it still brings is not heard either.
    subscribed: HashSet<String>,
}

impl Node {
    /// One that is not connected yet.
    pub(super) fn start(at: ConnectionInfo, is_sharded: bool, hub: Arc<Hub>) -> Arc<Self> {
        let (outgoing, queue) = mpsc::channel(QUEUE);
        let node = Arc::new(Self {
            at,
            is_sharded,
            hub: Arc::clone(&hub),
            outgoing,
            connection: RwLock::default(),
        });
        tokio::spawn(publish_from(queue, Arc::downgrade(&node), hub));
        node
    }

    pub(super) fn at(&self) -> &ConnectionInfo {
        &self.at
    }

    pub(super) fn is_at(&self, at: &ConnectionInfo) -> bool {
        self.at.addr() == at.addr()
    }

    pub(super) fn is_open(&self) -> bool {
        self.connection().open.is_some()
    }

    /// The connection, while there is one, and its number.
    pub(super) fn current(&self) -> Option<(MultiplexedConnection, usize)> {
        let connection = self.connection();
        Some((connection.open.clone()?, connection.number))
    }

    fn is_current(&self, number: usize) -> bool {
        self.current().is_some_and(|(_, current)| current == number)
    }

    /// Publishes a message after those that came before it.
    pub(super) async fn queue(&self, outgoing: Outgoing) {
        // The other end of the queue is gone when the program ends.
        let _ended = self.outgoing.send(outgoing).await;
    }

    /// Is connected, and subscribed to these channels and no others. Only one task calls this:
    /// so there is one connection.
    ///
    /// # Errors
    /// When Redis does not answer, or a channel is not this node's any more.
    pub(super) async fn stand(self: &Arc<Self>, channels: HashSet<String>) -> RedisResult<()> {
        if !self.is_open() {
            let opening = timeout(2 * PATIENCE, self.open(&channels));
            return opening.await.unwrap_or_else(|_| Err(too_slow()));
        }
        // Redis has ended the subscriptions to those that have moved to another node.
        self.connection_mut()
            .subscribed
            .retain(|channel| channels.contains(channel));
        let missing = {
            let connection = self.connection();
            let missing = channels.difference(&connection.subscribed);
            missing.cloned().collect()
        };
        self.subscribe(missing).await
    }

    /// Connects, and subscribes.
    async fn open(self: &Arc<Self>, channels: &HashSet<String>) -> RedisResult<()> {
        let number = self.connection().number + 1;
        let node = Arc::downgrade(self);
        let config = AsyncConnectionConfig::new().set_push_sender(
            move |push| -> Result<(), std::convert::Infallible> {
                if let Some(node) = node.upgrade() {
                    node.take(push, number);
                }
                Ok(())
            },
        );
        let mut connection = connect_to(&self.at, config).await?;
        // What comes over it counts from here on.
        *self.connection_mut() = Connection {
            open: None,
            number,
            subscribed: channels.clone(),
        };
        let each = channels.iter().cloned();
        try_join_all(each.map(|channel| self.subscribe_over(connection.clone(), channel))).await?;
        if self.is_sharded && self.hub.is_broken.load(SeqCst) {
            // The other servers look for the new owner of a slot every `PAUSE`, too. What is
            // published before they have subscribed there reaches nobody, and its sender would
            // be told that it has crossed.
            sleep(2 * PAUSE).await;
        }
        // One that is still loading its data is not back yet.
        cmd("PING").exec_async(&mut connection).await?;
        let mut current = self.connection_mut();
        if current.number != number {
            return Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into());
        }
        current.open = Some(connection);
        Ok(())
    }

    /// Subscribes to more channels, while it is connected.
    ///
    /// # Errors
    /// When Redis does not answer, or a channel is not this node's.
    pub(super) async fn subscribe(&self, channels: Vec<String>) -> RedisResult<()> {
        let Some((connection, _)) = self.current() else {
            return Ok(());
        };
        // Before Redis knows: the first message may come with its answer.
        self.connection_mut().subscribed.extend(channels.clone());
        let each = channels.iter().cloned();
        let subscribed = each.map(|channel| self.subscribe_over(connection.clone(), channel));
        let outcome = try_join_all(subscribed).await;
        if outcome.is_err() {
            let mut connection = self.connection_mut();
            for channel in &channels {
                connection.subscribed.remove(channel);
            }
        }
        outcome.map(drop)
    }

    async fn subscribe_over(
        &self,
        mut connection: MultiplexedConnection,
        channel: String,
    ) -> RedisResult<()> {
        if self.is_sharded {
            // One channel, and so one answer, as of any other command.
            let mut subscribe = cmd("SSUBSCRIBE");
            subscribe.arg(channel).exec_async(&mut connection).await
        } else {
            connection.subscribe(channel).await
        }
    }

    /// # Errors
    /// When Redis does not answer. One that is away has forgotten the subscription.
    pub(super) async fn unsubscribe(&self, channel: String) -> RedisResult<()> {
        self.connection_mut().subscribed.remove(&channel);
        match self.current() {
            Some((mut connection, _)) if self.is_sharded => {
                let mut unsubscribe = cmd("SUNSUBSCRIBE");
                unsubscribe.arg(channel).exec_async(&mut connection).await
            }
            Some((mut connection, _)) => connection.unsubscribe(channel).await,
            None => Ok(()),
        }
    }

    /// How many servers listen on a channel; while Redis is away, this one.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub(super) async fn count_subscribers(&self, channel: &str) -> RedisResult<u16> {
        let Some((mut connection, _)) = self.current() else {
            return Ok(1);
        };
        let count = if self.is_sharded {
            "SHARDNUMSUB"
        } else {
            "NUMSUB"
        };
        let mut count_subscribers = cmd("PUBSUB");
        count_subscribers.arg(count).arg(channel);
        let (_, servers): (String, u16) = count_subscribers.query_async(&mut connection).await?;
        Ok(servers)
    }

    /// Publishes all of them in one pipeline, and says of each whether Redis has it.
    async fn publish(&self, batch: &[Outgoing]) -> Vec<bool> {
        let none = vec![false; batch.len()];
        let Some((mut connection, number)) = self.current() else {
            return none;
        };
        let publish = if self.is_sharded {
            "SPUBLISH"
        } else {
            "PUBLISH"
        };
        let mut pipeline = redis::pipe();
        pipeline.ignore_errors();
        for outgoing in batch {
            let message = &outgoing.message;
            pipeline.cmd(publish).arg(&outgoing.channel).arg(message);
        }
        let answers: RedisResult<Vec<RedisResult<Value>>> =
            pipeline.query_async(&mut connection).await;
        let Ok(answers) = answers else {
            self.give_up(number, GONE);
            return none;
        };
        // An answer of a connection that was given up meanwhile may be that to something else.
        if self.is_sharded && !self.is_current(number) {
            return none;
        }
        if answers.iter().any(Result::is_err) {
            self.give_up(number, "does not take all messages any more");
        }
        answers.iter().map(Result::is_ok).collect()
    }

    /// Takes what Redis sends by itself: a message, the news that the connection broke, or that
    /// it is not subscribed to a channel any more.
    fn take(&self, push: PushInfo, number: usize) {
        match push.kind {
            PushKind::Message | PushKind::SMessage => self.hear(push.data, number),
            PushKind::Disconnection => self.give_up(number, GONE),
            PushKind::SUnsubscribe => {
                let channel = push.data.into_iter().next();
                let channel = channel.and_then(|channel| String::from_redis_value(channel).ok());
                let connection = self.connection();
                // Nobody asked for that: the channel's slot has another owner now. The crate
                // `redis` takes such a message for the answer to some other request, and all
                // answers after it for those to others: so this connection is of no use.
                let is_ours = channel.is_some_and(|name| connection.subscribed.contains(&name));
                drop(connection);
                if is_ours {
                    self.give_up(number, "has given slots to another node");
                }
            }
            _ => {}
        }
    }

    fn hear(&self, data: Vec<Value>, number: usize) {
        let Ok((channel, payload)) = <(String, Vec<u8>)>::from_redis_value(Value::Array(data))
        else {
            return;
        };
        let is_heard = {
            let connection = self.connection();
            connection.number == number && connection.subscribed.contains(&channel)
        };
        if is_heard {
            self.hub.hand_on(channel, payload);
        }
    }

    /// Gives up the connection with that number, if it is still the one in use.
    pub(super) fn give_up(&self, number: usize, why: &str) {
        let mut connection = self.connection_mut();
        if connection.number != number {
            return;
        }
        // One that is about to be used will not be.
        connection.number += 1;
        if connection.open.take().is_none() {
            return;
        }
        drop(connection);
        if self.is_sharded {
            let at = self.at.addr();
            self.hub.break_down(format!(
                "Redis at {at} {why}: messages of its slots stay on this server until all is well again"
            ));
        } else {
            let gone = "Redis is gone: messages stay on this server until it is back";
            self.hub.break_down(gone.to_owned());
        }
    }

    /// It has no slots any more: what it still says is not heard.
    pub(super) fn retire(&self) {
        let mut connection = self.connection_mut();
        *connection = Connection {
            number: connection.number + 1,
            ..Connection::default()
        };
    }

    fn connection(&self) -> RwLockReadGuard<'_, Connection> {
        self.connection
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn connection_mut(&self) -> RwLockWriteGuard<'_, Connection> {
        self.connection
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why most are given up.
const GONE: &str = "is gone";

/// Publishes what is queued, in its order. What comes while Redis answers goes together, in one
/// pipeline: the more there is to say, the less each message costs.
async fn publish_from(mut queue: mpsc::Receiver<Outgoing>, node: Weak<Node>, hub: Arc<Hub>) {
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, QUEUE).await > 0 {
        // A node that has no slots any more has gone with what waited for it.
        let crossed = match node.upgrade() {
            Some(node) => node.publish(&batch).await,
            None => vec![false; batch.len()],
        };
        for (outgoing, crossed) in batch.drain(..).zip(crossed) {
            if crossed {
                // Not every sender wants to know.
                let _told = outgoing.crossed.send(true);
            } else {
                hub.keep(outgoing);
            }
        }
    }
}

fn too_slow() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}
