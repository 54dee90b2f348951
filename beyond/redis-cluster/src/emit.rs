//! A program outside the servers that sends a message to a user, through the cluster.

use anyhow::Result;
use ch05_redis_pubsub::link::Private;
use clap::Parser;
use lab_server::log;
use redis_driver::{Publisher, RedisTarget};
use socketioxide_emitter::IoEmitter;

/// Sends a message to a user of the chat, through the Redis Cluster in `REDIS_URL`.
#[derive(Parser)]
pub struct Emit {
    /// The user's name.
    user: String,
    /// The message.
    text: String,
}

impl Emit {
    /// Publishes the message to all servers. The user's server delivers it.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn run(self) -> Result<()> {
        // In a cluster, `Publisher` uses SPUBLISH: the servers subscribe with SSUBSCRIBE.
        let target = RedisTarget::from_env().await?;
        let publisher = Publisher::at(&target, |servers| {
            log(format!("published, subscribers: {servers}"));
        })
        .await?;
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
