//! Sending to a user from a process that is no Socket.IO server.

use anyhow::{Context, Result};
use ch01_express_pid::log;
use ch05_redis_pubsub::{link::Private, programs::no_redis};
use clap::Parser;
use redis::{RedisError, cmd};
use socketioxide_emitter::{Driver, IoEmitter};

use crate::place::{Connection, Place, within_patience};

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
        let publisher = Publisher::at(&Place::from_env().await?)
            .await
            .with_context(no_redis)?;
        let message = Private {
            from: "emit".to_owned(),
            to: self.user.clone(),
            text: self.text,
        };
        IoEmitter::new()
            .to(self.user)
            .emit("message", &message, &publisher)
            .await?;
        Ok(())
    }
}

/// The emitter brings no client of its own; one command is all that it needs. In a cluster it
/// is the one of sharded pub/sub, since that is where the servers listen.
pub(crate) struct Publisher {
    redis: Connection,
    publish: &'static str,
}

impl Publisher {
    /// One that publishes at `place`.
    ///
    /// # Errors
    /// When a cluster does not answer.
    pub(crate) async fn at(place: &Place) -> Result<Self, RedisError> {
        Ok(Self {
            redis: place.connect().await?,
            publish: place.publish(),
        })
    }
}

impl Driver for Publisher {
    type Error = RedisError;

    async fn emit(&self, channel: String, data: Vec<u8>) -> Result<(), RedisError> {
        let mut publish = cmd(self.publish);
        publish.arg(channel).arg(data);
        let mut redis = self.redis.clone();
        let subscribers: usize = within_patience(publish.query_async(&mut redis)).await?;
        log(format!("published, subscribers: {subscribers}"));
        Ok(())
    }
}
