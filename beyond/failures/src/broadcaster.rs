//! A program outside the servers that sends numbered messages to all clients. The numbers show
//! which messages a client has missed.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail};
use ch05_redis_pubsub::link::Private;
use ch06_full_stack::chat::CHANNELS;
use drills::Heard;
use lab::{Stage, prefixed};
use redis_driver::{Publisher, RedisTarget};
use socketioxide_emitter::IoEmitter;
use tokio::{
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

/// The time between two messages.
const PAUSE: Duration = Duration::from_millis(50);
/// How many of the last messages may still be in Redis when it is killed.
const IN_REDIS: usize = 5;

/// The servers' Redis, for a program outside.
pub struct ServersRedis {
    /// Its URL.
    pub url: String,
    /// The beginning of the adapter's channels.
    pub channels: String,
}

impl ServersRedis {
    /// The Redis at this URL, for servers that no stage has started.
    pub fn at(url: String) -> Self {
        Self {
            url,
            channels: prefixed(CHANNELS),
        }
    }

    /// The Redis of a stage, whose URL is this.
    pub fn of(stage: &Stage, url: String) -> Self {
        Self {
            url,
            channels: stage.redis.prefixed(CHANNELS),
        }
    }
}

/// Sends twenty messages a second to all clients, through Redis.
pub struct Broadcaster {
    state: Arc<State>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    /// For each message, whether it must arrive. The first has number 0.
    must_arrive: Mutex<Vec<bool>>,
    redis_is_away: AtomicBool,
    is_over: AtomicBool,
}

impl Broadcaster {
    /// Starts to send.
    ///
    /// # Errors
    /// When no Redis answers, or `redis` is a cluster.
    pub async fn start(redis: &ServersRedis) -> Result<Self> {
        let target = RedisTarget::at(&redis.url).await?;
        if matches!(target, RedisTarget::Cluster(_)) {
            bail!(
                "this drill needs one Redis, and REDIS_URL names a cluster: unset REDIS_URL, or \
                 run cargo run -p redis-cluster"
            );
        }
        let publisher = Publisher::at(&target, |_servers| {})
            .await
            .context("the broadcaster cannot reach Redis")?;
        let state = Arc::new(State::default());
        let emitter = IoEmitter::new().prefix(&redis.channels);
        let task = tokio::spawn(broadcast(emitter, publisher, Arc::clone(&state)));
        Ok(Self { state, task })
    }

    /// Redis is about to be killed: from now on, messages may be lost.
    pub fn redis_goes_away(&self) {
        self.state.redis_is_away.store(true, Relaxed);
        for must_arrive in self.state.must_arrive().iter_mut().rev().take(IN_REDIS) {
            *must_arrive = false;
        }
    }

    /// Redis is back: from now on, messages must arrive again.
    pub fn redis_is_back(&self) {
        self.state.redis_is_away.store(false, Relaxed);
    }

    /// Whether a message must arrive: Redis took it, and was not away.
    pub fn must_arrive(&self, number: u64) -> bool {
        must_arrive(&self.state.must_arrive(), number)
    }

    /// Stops. Returns for each message whether it must arrive.
    ///
    /// # Errors
    /// When the task has failed.
    pub async fn finish(self) -> Result<Vec<bool>> {
        self.state.is_over.store(true, Relaxed);
        self.task.await?;
        Ok(self.state.must_arrive().clone())
    }
}

impl State {
    fn must_arrive(&self) -> MutexGuard<'_, Vec<bool>> {
        self.must_arrive
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the message with that number must arrive.
pub fn must_arrive(messages: &[bool], number: u64) -> bool {
    let index = usize::try_from(number).ok();
    index.is_some_and(|index| messages.get(index) == Some(&true))
}

/// The number in a message that a client received.
pub fn number_of(heard: &Heard) -> Option<u64> {
    heard.argument["text"].as_str()?.parse().ok()
}

async fn broadcast(emitter: IoEmitter, publisher: Publisher, state: Arc<State>) {
    let mut turns = interval(PAUSE);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !state.is_over.load(Relaxed) {
        turns.tick().await;
        let number = {
            let mut messages = state.must_arrive();
            // It need not arrive until Redis has taken it.
            messages.push(false);
            messages.len() - 1
        };
        let was_away = state.redis_is_away.load(Relaxed);
        let message = Private {
            from: "broadcaster".to_owned(),
            to: "all".to_owned(),
            text: number.to_string(),
        };
        let taken = emitter.clone().emit("message", &message, &publisher).await;
        let is_away = state.redis_is_away.load(Relaxed);
        if let Some(must_arrive) = state.must_arrive().get_mut(number) {
            *must_arrive = taken.is_ok() && !was_away && !is_away;
        }
    }
}
