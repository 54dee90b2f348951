//! Sending to a user from a process that is no Socket.IO server.

use anyhow::{Context, Result};
use ch01_express_pid::log;
use ch05_redis_pubsub::{
    link::Private,
    programs::{no_redis, redis_url},
};
use clap::Parser;
use redis::{AsyncCommands, Client, RedisError};
use socketioxide_emitter::{Driver, IoEmitter};

/// Sends a message to a user, wherever that user is connected.
#[derive(Parser)]
pub struct Emit {
    /// The user's name.
    user: String,
    /// What to say.
    text: String,
}

impl Emit {
    /// Publishes the message for all servers; the one with the user delivers it.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn run(self) -> Result<()> {
        let redis = Client::open(redis_url())?
            .get_multiplexed_async_connection()
            .await
            .with_context(no_redis)?;
        let message = Private {
            from: "emit".to_owned(),
            to: self.user.clone(),
            text: self.text,
        };
        IoEmitter::new()
            .to(self.user)
            .emit("message", &message, &Publisher::new(redis))
            .await?;
        Ok(())
    }
}

/// The emitter brings no client of its own; one PUBLISH is all that it needs.
pub(crate) struct Publisher<C>(C);

impl<C> Publisher<C> {
    pub(crate) fn new(redis: C) -> Self {
        Self(redis)
    }
}

impl<C: AsyncCommands + Clone + Sync> Driver for Publisher<C> {
    type Error = RedisError;

    async fn emit(&self, channel: String, data: Vec<u8>) -> Result<(), RedisError> {
        let subscribers: usize = self.0.clone().publish(channel, data).await?;
        log(format!("published, subscribers: {subscribers}"));
        Ok(())
    }
}
