//! One Redis, either a single one or a master of a cluster: its connection, its subscriptions and
//! its queue of messages.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak},
};

use futures_util::future::try_join_all;
use redis::{
    AsyncConnectionConfig, ConnectionInfo, FromRedisValue, PushInfo, PushKind, RedisResult, Value,
    aio::MultiplexedConnection, cmd,
};
use tokio::{
    sync::{Mutex, mpsc},
    time::{sleep, timeout},
};

use crate::{
    Notice, Unfit,
    about::About,
    check::{forbidden, is_master},
    connection::{ANSWER_LIMIT, RETRY_DELAY, connect_to, too_slow},
    shared::{Outgoing, Shared},
};

/// How many messages may wait for one node. If the queue is full, the sender waits.
const QUEUE: usize = 4096;

/// Why a node is given up: the connection was closed.
const GONE: &str = "is gone";
/// Why a node is given up that hangs: the driver closes the connection.
const SILENT: &str = "does not answer";

/// One Redis that owns slots.
pub(crate) struct Node {
    at: ConnectionInfo,
    /// In a cluster, Pub/Sub is sharded: a channel exists only at the owner of its slot.
    is_sharded: bool,
    shared: Arc<Shared>,
    /// The messages to publish, in order.
    outgoing: mpsc::Sender<Outgoing>,
    /// Held while messages are published and not answered.
    publishing: Mutex<()>,
    // This is a `std::sync::RwLock` and not Tokio's: it is never held across an `.await`.
    connection: RwLock<Connection>,
}

#[derive(Default)]
struct Connection {
    /// `None` while Redis is away.
    open: Option<MultiplexedConnection>,
    /// Rises with each connection. Messages from an earlier connection are ignored.
    number: usize,
    /// The channels that it subscribes to. Messages of other channels are ignored.
    subscribed: HashSet<String>,
    /// What Redis said about itself; `None` if it says nothing.
    about: Option<About>,
}

impl Node {
    /// A node that is not connected yet. It publishes nothing before the answers of `predecessors`,
    /// the nodes that retired: a master that became a replica still accepts messages.
    pub(crate) fn start(
        at: ConnectionInfo,
        is_sharded: bool,
        shared: Arc<Shared>,
        predecessors: Vec<Arc<Self>>,
    ) -> Arc<Self> {
        let (outgoing, queue) = mpsc::channel(QUEUE);
        let node = Arc::new(Self {
            at,
            is_sharded,
            shared: Arc::clone(&shared),
            outgoing,
            publishing: Mutex::default(),
            connection: RwLock::default(),
        });
        let publishes = publish_from(queue, Arc::downgrade(&node), shared);
        tokio::spawn(async move {
            for node in predecessors {
                drop(node.publishing.lock().await);
            }
            publishes.await;
        });
        node
    }

    pub(crate) fn at(&self) -> &ConnectionInfo {
        &self.at
    }

    pub(crate) fn is_at(&self, at: &ConnectionInfo) -> bool {
        self.at.addr() == at.addr()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.connection().open.is_some()
    }

    /// The open connection, if there is one, and its number.
    pub(crate) fn current(&self) -> Option<(MultiplexedConnection, usize)> {
        let connection = self.connection();
        Some((connection.open.clone()?, connection.number))
    }

    fn is_current(&self, number: usize) -> bool {
        self.current().is_some_and(|(_, current)| current == number)
    }

    /// Publishes a message after all messages that were queued before it.
    pub(crate) async fn queue(&self, outgoing: Outgoing) {
        // The receiver is gone only when the program ends.
        let _ended = self.outgoing.send(outgoing).await;
    }

    /// Connects if necessary, and subscribes to these channels. Only one task calls this, so there
    /// is only one connection.
    ///
    /// # Errors
    /// When Redis does not answer, or this node does not own a channel any more.
    pub(crate) async fn connect(self: &Arc<Self>, channels: HashSet<String>) -> RedisResult<()> {
        if !self.is_open() {
            let opening = timeout(2 * ANSWER_LIMIT, self.open(&channels));
            return opening.await.unwrap_or_else(|_| Err(too_slow()));
        }
        // Redis itself ended the subscriptions to channels that moved to another node.
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

    /// Opens a new connection, and subscribes.
    async fn open(self: &Arc<Self>, channels: &HashSet<String>) -> RedisResult<()> {
        let number = self.connection().number + 1;
        let node = Arc::downgrade(self);
        let config = AsyncConnectionConfig::new().set_push_sender(
            move |push| -> Result<(), std::convert::Infallible> {
                if let Some(node) = node.upgrade() {
                    node.receive(push, number);
                }
                Ok(())
            },
        );
        let mut connection = connect_to(&self.at, config).await?;
        if !self.is_sharded {
            // On each connection: after a failover, a replica may answer at the master's address.
            // It accepts messages, and passes them on to no other server.
            is_master(&mut connection)
                .await
                .map_err(Unfit::into_error)?;
        }
        let about = About::ask(&mut connection).await;
        let before = self.connection().about.clone();
        if let Some(too_slow) = about.as_ref().and_then(|now| now.has_dropped(before)) {
            self.shared.was_dropped(too_slow);
        }
        // From here on, messages of this connection are delivered.
        *self.connection_mut() = Connection {
            open: None,
            number,
            subscribed: channels.clone(),
            about,
        };
        let each = channels.iter().cloned();
        try_join_all(each.map(|channel| self.subscribe_over(connection.clone(), channel))).await?;
        if self.is_sharded && self.shared.is_broken() {
            // The other servers, too, look for the new owner of a slot every `RETRY_DELAY`. A
            // message that is published before they have subscribed there reaches none of them,
            // but its receipt would succeed.
            sleep(2 * RETRY_DELAY).await;
        }
        // While Redis loads its data, it answers this with an error.
        cmd("PING").exec_async(&mut connection).await?;
        let mut current = self.connection_mut();
        if current.number != number {
            return Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into());
        }
        current.open = Some(connection);
        Ok(())
    }

    /// Subscribes to more channels, if the node is connected.
    ///
    /// # Errors
    /// When Redis does not answer, or this node does not own a channel.
    pub(crate) async fn subscribe(&self, channels: Vec<String>) -> RedisResult<()> {
        let Some((connection, _)) = self.current() else {
            return Ok(());
        };
        // Before the command: the first message may come together with its answer.
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
        let outcome = if self.is_sharded {
            // For one channel there is one answer, as for any other command.
            let mut subscribe = cmd("SSUBSCRIBE");
            subscribe.arg(&channel).exec_async(&mut connection).await
        } else {
            connection.subscribe(&channel).await
        };
        outcome.map_err(|error| forbidden(&channel, error))
    }

    /// Ends a subscription. A Redis that is away has forgotten it already.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub(crate) async fn unsubscribe(&self, channel: String) -> RedisResult<()> {
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

    /// How many servers subscribe to a channel. While Redis is away: 1, this server.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub(crate) async fn count_subscribers(&self, channel: &str) -> RedisResult<u16> {
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

    /// Publishes all messages in one pipeline. Returns for each whether Redis accepted it.
    async fn publish(&self, batch: &[Outgoing]) -> Vec<bool> {
        let none = vec![false; batch.len()];
        let _until_answered = self.publishing.lock().await;
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
        let Ok(answers) = answers.inspect_err(|error| {
            self.give_up(number, if error.is_timeout() { SILENT } else { GONE });
        }) else {
            return none;
        };
        // If the connection was given up meanwhile, these may be answers to other commands: see
        // `receive`.
        if self.is_sharded && !self.is_current(number) {
            return none;
        }
        if answers.iter().any(Result::is_err) {
            self.give_up(number, "does not accept all messages any more");
        }
        answers.iter().map(Result::is_ok).collect()
    }

    /// Handles what Redis sends without being asked: a message, or the end of a subscription. The
    /// crate `redis` also reports a broken connection this way.
    fn receive(&self, push: PushInfo, number: usize) {
        match push.kind {
            PushKind::Message | PushKind::SMessage => self.receive_message(push.data, number),
            PushKind::Disconnection => self.give_up(number, GONE),
            PushKind::SUnsubscribe => {
                let channel = push.data.into_iter().next();
                let channel = channel.and_then(|channel| String::from_redis_value(channel).ok());
                let is_ours =
                    channel.is_some_and(|channel| self.connection().subscribed.contains(&channel));
                // The driver did not ask for this: the channel's slot has a new owner. The crate
                // `redis` takes this push for the answer to some other command, and so assigns
                // every later answer to the wrong command. The connection is of no use any more.
                if is_ours {
                    self.give_up(number, "has given slots to another node");
                }
            }
            _ => {}
        }
    }

    fn receive_message(&self, data: Vec<Value>, number: usize) {
        let Ok((channel, payload)) = <(String, Vec<u8>)>::from_redis_value(Value::Array(data))
        else {
            return;
        };
        let is_expected = {
            let connection = self.connection();
            connection.number == number && connection.subscribed.contains(&channel)
        };
        if is_expected {
            self.shared.deliver(channel, payload);
        }
    }

    /// Gives up the connection with this number, if it is still the current one.
    pub(crate) fn give_up(&self, number: usize, reason: &'static str) {
        let mut connection = self.connection_mut();
        if connection.number != number {
            return;
        }
        // If `open` is still working on this connection, it fails.
        connection.number += 1;
        if reason != GONE {
            // It was not Redis that closed it.
            connection.about = None;
        }
        if connection.open.take().is_none() {
            return;
        }
        drop(connection);
        self.shared.report_loss(if self.is_sharded {
            Notice::MasterLost {
                address: self.at.addr().to_string(),
                reason,
            }
        } else {
            Notice::RedisLost
        });
    }

    /// This node owns no slots any more: its messages are ignored from now on.
    pub(crate) fn retire(&self) {
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

/// Publishes the queue, in order. All messages that arrive while Redis answers go together in the
/// next pipeline. So the more messages there are, the less each one costs.
async fn publish_from(mut queue: mpsc::Receiver<Outgoing>, node: Weak<Node>, shared: Arc<Shared>) {
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, QUEUE).await > 0 {
        let accepted = match node.upgrade() {
            Some(node) => node.publish(&batch).await,
            // The node owns no slots any more.
            None => vec![false; batch.len()],
        };
        for (outgoing, accepted) in batch.drain(..).zip(accepted) {
            if accepted {
                // Not every sender asks for a receipt.
                let _unread = outgoing.receipt.send(true);
            } else {
                shared.fail(outgoing);
            }
        }
    }
}
