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

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use ch01_express_pid::log;
use redis::{
    AsyncCommands, AsyncConnectionConfig, Client, FromRedisValue, IntoConnectionInfo,
    ProtocolVersion, PushInfo, PushKind, RedisError,
    aio::{ConnectionManagerConfig, MultiplexedConnection},
};
use socketioxide_redis::drivers::{ChanItem, Driver, MessageStream};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::{sleep, timeout},
};

use crate::crossing;

/// How long Redis may take for an answer before it counts as gone.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// Between two attempts to reach a Redis that is gone.
const PAUSE: Duration = Duration::from_millis(50);

/// How many messages may wait for Redis. One more has its sender wait.
const QUEUE: usize = 4096;

/// A driver for [`socketioxide_redis`] that survives a restart of Redis.
#[derive(Clone)]
pub struct ResilientDriver(Arc<Road>);

struct Road {
    client: Client,
    // These are `std::sync::RwLock`s and not Tokio's: none is held across an `.await`.
    /// Who gets the messages of which channel.
    subscribers: RwLock<HashMap<String, mpsc::Sender<ChanItem>>>,
    /// What is to be published, in its order.
    outgoing: mpsc::Sender<Outgoing>,
    connection: RwLock<Connection>,
    went: Notify,
    /// Messages that did not reach the other servers, or may not have.
    stayed: AtomicUsize,
}

/// A message for the other servers.
struct Outgoing {
    channel: String,
    message: Vec<u8>,
    /// Learns whether Redis has it.
    crossed: oneshot::Sender<bool>,
}

#[derive(Default)]
struct Connection {
    /// None while Redis is away.
    open: Option<MultiplexedConnection>,
    /// How many there were before it: what an earlier one still brings is not heard.
    number: usize,
}

impl ResilientDriver {
    /// Connects to the Redis at `url`, over RESP3: messages come in as its push messages,
    /// over the connection that publishes.
    ///
    /// # Errors
    /// When Redis does not answer now. Later it may come and go.
    pub async fn connect(url: &str) -> Result<Self, RedisError> {
        let (outgoing, queue) = mpsc::channel(QUEUE);
        let road = Arc::new(Road {
            client: resp3(url)?,
            subscribers: RwLock::default(),
            outgoing,
            connection: RwLock::default(),
            went: Notify::new(),
            stayed: AtomicUsize::new(0),
        });
        road.open().await?;
        tokio::spawn(Arc::clone(&road).keep_open());
        tokio::spawn(Arc::clone(&road).publish_from(queue));
        Ok(Self(road))
    }
}

/// A client of the Redis at `url`, over RESP3.
pub(crate) fn resp3(url: &str) -> Result<Client, RedisError> {
    let info = url.into_connection_info()?;
    let resp3 = info
        .redis_settings()
        .clone()
        .set_protocol(ProtocolVersion::RESP3);
    Client::open(info.set_redis_settings(resp3))
}

/// How a connection is kept that must be there again as soon as Redis is.
pub(crate) fn persistent() -> ConnectionManagerConfig {
    ConnectionManagerConfig::new()
        .set_number_of_retries(usize::MAX)
        .set_min_delay(PAUSE)
        .set_max_delay(4 * PAUSE)
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE))
}

impl Driver for ResilientDriver {
    type Error = RedisError;

    /// Queues the message; [`crossing::watch`] learns what becomes of it.
    ///
    /// Does not wait for Redis, and never fails: the adapter delivers to its own sockets only
    /// after this, and neither a Redis that is away nor one that is slow must keep it from
    /// that.
    async fn publish(&self, channel: String, message: Vec<u8>) -> Result<(), RedisError> {
        let outgoing = Outgoing {
            channel,
            message,
            crossed: crossing::begin(),
        };
        // The other end of the queue is gone when the program ends.
        let _ended = self.0.outgoing.send(outgoing).await;
        Ok(())
    }

    async fn subscribe(
        &self,
        channel: String,
        size: usize,
    ) -> Result<MessageStream<ChanItem>, RedisError> {
        let (sender, receiver) = mpsc::channel(size);
        self.0.subscribers_mut().insert(channel.clone(), sender);
        // While Redis is away this is done once it is back.
        if let (Some(mut connection), _) = self.0.current() {
            connection.subscribe(channel).await?;
        }
        Ok(MessageStream::new(receiver))
    }

    async fn unsubscribe(&self, channel: String) -> Result<(), RedisError> {
        self.0.subscribers_mut().remove(&channel);
        // A Redis that is away has forgotten the subscription.
        match self.0.current() {
            (Some(mut connection), _) => connection.unsubscribe(channel).await,
            (None, _) => Ok(()),
        }
    }

    /// While Redis is away, a server knows of itself alone.
    async fn num_serv(&self, channel: &str) -> Result<u16, RedisError> {
        let (Some(mut connection), _) = self.0.current() else {
            return Ok(1);
        };
        let (_, servers): (String, u16) = redis::cmd("PUBSUB")
            .arg("NUMSUB")
            .arg(channel)
            .query_async(&mut connection)
            .await?;
        Ok(servers)
    }
}

impl Road {
    /// Each time that Redis has gone, opens the road again, and says so.
    async fn keep_open(self: Arc<Self>) {
        loop {
            self.went.notified().await;
            while self.open().await.is_err() {
                sleep(PAUSE).await;
            }
            log("Redis is back");
            let stayed = self.stayed.swap(0, Relaxed);
            if stayed > 0 {
                log(format!("{stayed} messages stayed on this server meanwhile"));
            }
        }
    }

    /// Publishes what is queued, in its order. What comes while Redis answers goes together,
    /// in one pipeline: the more there is to say, the less each message costs.
    async fn publish_from(self: Arc<Self>, mut queue: mpsc::Receiver<Outgoing>) {
        let mut batch = Vec::new();
        while queue.recv_many(&mut batch, QUEUE).await > 0 {
            let crossed = self.publish(&batch).await;
            if !crossed {
                self.stayed.fetch_add(batch.len(), Relaxed);
            }
            for outgoing in batch.drain(..) {
                // Not every sender wants to know.
                let _told = outgoing.crossed.send(crossed);
            }
        }
    }

    /// Whether Redis has taken all of them.
    async fn publish(&self, batch: &[Outgoing]) -> bool {
        let (Some(mut connection), number) = self.current() else {
            return false;
        };
        let mut pipeline = redis::pipe();
        for outgoing in batch {
            pipeline
                .publish(&outgoing.channel, &outgoing.message)
                .ignore();
        }
        let published = pipeline.exec_async(&mut connection).await;
        if published.is_err() {
            self.mark_gone(number);
        }
        published.is_ok()
    }

    /// Connects, and subscribes to what there are subscribers for.
    async fn open(self: &Arc<Self>) -> Result<(), RedisError> {
        let number = self.connection().number + 1;
        let road = Arc::downgrade(self);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE))
            .set_push_sender(move |push| -> Result<(), std::convert::Infallible> {
                if let Some(road) = road.upgrade() {
                    road.take(push, number);
                }
                Ok(())
            });
        let opening = async {
            let client = &self.client;
            let mut connection = client
                .get_multiplexed_async_connection_with_config(&config)
                .await?;
            // What comes over it counts from here on.
            self.connection_mut().number = number;
            let channels: Vec<_> = self.subscribers().keys().cloned().collect();
            if !channels.is_empty() {
                connection.subscribe(channels).await?;
            }
            // One that is still loading its data is not back yet.
            connection.ping::<()>().await?;
            Ok::<_, RedisError>(connection)
        };
        let connection = timeout(2 * PATIENCE, opening)
            .await
            .unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()))?;
        self.connection_mut().open = Some(connection);
        Ok(())
    }

    /// Takes what Redis sends by itself: a message, or the news that the connection broke.
    fn take(&self, push: PushInfo, number: usize) {
        match push.kind {
            PushKind::Message if number == self.connection().number => self.hand_on(push.data),
            PushKind::Disconnection => self.mark_gone(number),
            _ => {}
        }
    }

    /// Gives a message to whoever subscribed to its channel.
    fn hand_on(&self, data: Vec<redis::Value>) {
        let message = redis::Value::Array(data);
        let Ok((channel, payload)) = <(String, Vec<u8>)>::from_redis_value(message) else {
            return;
        };
        if let Some(subscriber) = self.subscribers().get(&channel)
            && let Err(error) = subscriber.try_send((channel, payload))
        {
            log(format!("a message of another server is lost: {error}"));
        }
    }

    /// Gives up the connection with that number, if it is still the one in use.
    fn mark_gone(&self, number: usize) {
        let mut connection = self.connection_mut();
        if connection.number == number && connection.open.take().is_some() {
            log("Redis is gone: messages stay on this server until it is back");
            self.went.notify_one();
        }
    }

    fn current(&self) -> (Option<MultiplexedConnection>, usize) {
        let connection = self.connection();
        (connection.open.clone(), connection.number)
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
