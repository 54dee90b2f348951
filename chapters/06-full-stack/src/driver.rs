//! The road between the Socket.IO adapter and Redis, open again whenever Redis is.
//!
//! The adapter's own driver keeps one connection. When Redis restarts, it is broken for
//! good: every emit fails then, even one to a socket of the same server. This driver
//! connects and subscribes again, and while Redis is away it lets messages stay on their
//! own server instead of failing them.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use ch01_express_pid::log;
use redis::{
    AsyncCommands, Client, FromRedisValue, IntoConnectionInfo, ProtocolVersion, PushInfo, PushKind,
    RedisError,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use socketioxide_redis::drivers::{ChanItem, Driver, MessageStream};
use tokio::{
    sync::{Notify, mpsc},
    time::{sleep, timeout},
};

/// How long a publish may take before Redis counts as gone.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// The least and the longest time between two attempts to reach a Redis that is gone.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// A driver for [`socketioxide_redis`] that survives a restart of Redis.
#[derive(Clone)]
pub struct ResilientDriver {
    connection: ConnectionManager,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Who gets the messages of which channel.
    // A `std::sync::RwLock` and not Tokio's: it is never held across an `.await`.
    subscribers: RwLock<HashMap<String, mpsc::Sender<ChanItem>>>,
    is_gone: AtomicBool,
    went: Notify,
    /// Messages that did not reach the other servers, or may not have.
    stayed: AtomicUsize,
}

impl ResilientDriver {
    /// Connects to the Redis at `url`, over RESP3: messages come in as its push messages,
    /// over the connection that publishes.
    ///
    /// # Errors
    /// When Redis does not answer now. Later it may come and go.
    pub async fn connect(url: &str) -> Result<Self, RedisError> {
        let client = resp3(url)?;
        // The manager would go on trying for ever; a Redis that was never there is an error.
        client.get_multiplexed_async_connection().await?;

        let state = Arc::new(State::default());
        let pushed = Arc::clone(&state);
        let config = persistent()
            .set_push_sender(move |push| -> Result<(), std::convert::Infallible> {
                pushed.take(push);
                Ok(())
            })
            .set_automatic_resubscription();
        let driver = Self {
            connection: ConnectionManager::new_with_config(client, config).await?,
            state,
        };
        tokio::spawn(await_returns(
            driver.connection.clone(),
            Arc::clone(&driver.state),
        ));
        Ok(driver)
    }

    /// Whether what is published now reaches the other servers. Right after an emit: whether
    /// that message did.
    pub(crate) fn crosses(&self) -> bool {
        !self.state.is_gone.load(Relaxed)
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
        .set_max_delay(LONGEST_PAUSE)
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE))
}

impl Driver for ResilientDriver {
    type Error = RedisError;

    /// Never fails: the adapter delivers to its own sockets only after this, and a Redis
    /// that is away must not keep it from that.
    async fn publish(&self, channel: String, message: Vec<u8>) -> Result<(), RedisError> {
        let mut connection = self.connection.clone();
        let publish = connection.publish::<_, _, usize>(channel, message);
        let is_gone = self.state.is_gone.load(Relaxed);
        if is_gone || !matches!(timeout(PATIENCE, publish).await, Ok(Ok(_))) {
            self.state.stayed.fetch_add(1, Relaxed);
            self.state.mark_gone();
        }
        Ok(())
    }

    async fn subscribe(
        &self,
        channel: String,
        size: usize,
    ) -> Result<MessageStream<ChanItem>, RedisError> {
        let (sender, receiver) = mpsc::channel(size);
        self.state
            .subscribers
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(channel.clone(), sender);
        self.connection.clone().subscribe(channel).await?;
        Ok(MessageStream::new(receiver))
    }

    async fn unsubscribe(&self, channel: String) -> Result<(), RedisError> {
        self.state
            .subscribers
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&channel);
        // A Redis that is away has forgotten the subscription, and waiting for it would
        // keep a server from ending.
        if self.state.is_gone.load(Relaxed) {
            return Ok(());
        }
        self.connection.clone().unsubscribe(channel).await
    }

    /// While Redis is away, a server knows of itself alone.
    async fn num_serv(&self, channel: &str) -> Result<u16, RedisError> {
        if self.state.is_gone.load(Relaxed) {
            return Ok(1);
        }
        let (_, servers): (String, u16) = redis::cmd("PUBSUB")
            .arg("NUMSUB")
            .arg(channel)
            .query_async(&mut self.connection.clone())
            .await?;
        Ok(servers)
    }
}

impl State {
    /// Takes what Redis sends by itself: a message, or the news that the connection broke.
    fn take(&self, push: PushInfo) {
        match push.kind {
            PushKind::Message => self.hand_on(push.data),
            PushKind::Disconnection => self.mark_gone(),
            _ => {}
        }
    }

    /// Gives a message to whoever subscribed to its channel.
    fn hand_on(&self, data: Vec<redis::Value>) {
        let message = redis::Value::Array(data);
        let Ok((channel, payload)) = <(String, Vec<u8>)>::from_redis_value(message) else {
            return;
        };
        let subscribers = self
            .subscribers
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(subscriber) = subscribers.get(&channel)
            && let Err(error) = subscriber.try_send((channel, payload))
        {
            log(format!("a message of another server is lost: {error}"));
        }
    }

    fn mark_gone(&self) {
        if !self.is_gone.swap(true, Relaxed) {
            log("Redis is gone: messages stay on this server until it is back");
            self.went.notify_one();
        }
    }
}

/// Each time that Redis has gone, waits for it and says that it is back.
async fn await_returns(connection: ConnectionManager, state: Arc<State>) {
    loop {
        state.went.notified().await;
        // The manager is connecting by now, and answers once it has connected and
        // subscribed again. An error means that Redis went a second time in between, or
        // is still loading its data.
        while connection.clone().ping::<()>().await.is_err() {
            sleep(PAUSE).await;
        }
        state.is_gone.store(false, Relaxed);
        log("Redis is back");
        let stayed = state.stayed.swap(0, Relaxed);
        if stayed > 0 {
            log(format!("{stayed} messages stayed on this server meanwhile"));
        }
    }
}
