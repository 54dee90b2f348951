//! Somebody who writes to everybody, from outside the servers: numbered messages, so that
//! whoever hears them can tell which are missing.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail};
use ch05_redis_pubsub::link::Private;
use lab::Heard;
use redis::{
    AsyncCommands, RedisError,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use socketioxide_emitter::{Driver, IoEmitter};
use tokio::{
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

use crate::place::Place;

/// Between two messages.
const PAUSE: Duration = Duration::from_millis(50);
/// How long Redis may take to take one.
const PATIENCE: Duration = Duration::from_secs(1);
/// So many of the last messages may still be in Redis when it is killed.
const ON_THEIR_WAY: usize = 5;

/// Writes to everybody twenty times a second, through Redis.
pub struct Speaker {
    state: Arc<State>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    /// For each message whether it must arrive; the first has number 0.
    must_arrive: Mutex<Vec<bool>>,
    redis_is_away: AtomicBool,
    is_over: AtomicBool,
}

impl Speaker {
    /// Begins.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn start(redis: &str) -> Result<Self> {
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let Place::One(redis) = Place::at(redis).await? else {
            bail!(
                "what writes to everybody here needs one Redis, and REDIS_URL names a cluster: unset \
                 REDIS_URL, or try the drill shard-killed"
            );
        };
        let client = redis::Client::open(redis)?;
        let voice = ConnectionManager::new_with_config(client, config)
            .await
            .context("the one who writes cannot reach Redis")?;
        let state = Arc::new(State::default());
        let task = tokio::spawn(speak(Voice(voice), Arc::clone(&state)));
        Ok(Self { state, task })
    }

    /// From now on, messages may be lost: Redis is about to be killed.
    pub fn redis_goes(&self) {
        self.state.redis_is_away.store(true, Relaxed);
        for must_arrive in self.state.must_arrive().iter_mut().rev().take(ON_THEIR_WAY) {
            *must_arrive = false;
        }
    }

    /// From now on, they must arrive again.
    pub fn redis_is_back(&self) {
        self.state.redis_is_away.store(false, Relaxed);
    }

    /// Whether a message must arrive: Redis took it, and was not away.
    pub fn must_arrive(&self, number: usize) -> bool {
        let all = self.state.must_arrive();
        all.get(number).copied().unwrap_or_default()
    }

    /// Stops, and says of each message whether it must arrive.
    ///
    /// # Errors
    /// When it has stopped before.
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

/// The number of a message that was heard.
pub fn number(heard: &Heard) -> Option<usize> {
    heard.argument["text"].as_str()?.parse().ok()
}

async fn speak(voice: Voice, state: Arc<State>) {
    let mut turns = interval(PAUSE);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !state.is_over.load(Relaxed) {
        turns.tick().await;
        let number = {
            let mut messages = state.must_arrive();
            // Until Redis has taken it, it need not arrive.
            messages.push(false);
            messages.len() - 1
        };
        let was_away = state.redis_is_away.load(Relaxed);
        let message = Private {
            from: "speaker".to_owned(),
            to: "all".to_owned(),
            text: number.to_string(),
        };
        let taken = IoEmitter::new().emit("message", &message, &voice).await;
        let is_away = state.redis_is_away.load(Relaxed);
        if let Some(must_arrive) = state.must_arrive().get_mut(number) {
            *must_arrive = taken.is_ok() && !was_away && !is_away;
        }
    }
}

/// The emitter brings no client of its own.
struct Voice(ConnectionManager);

impl Driver for Voice {
    type Error = RedisError;

    async fn emit(&self, channel: String, data: Vec<u8>) -> Result<(), RedisError> {
        self.0.clone().publish(channel, data).await
    }
}
