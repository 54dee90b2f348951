//! Sending to a user from a process that is not a Socket.IO server.

use anyhow::Result;
use clap::Parser;
use lab::prefixed;
use lab_server::log;
use redis_driver::{Publisher, RedisTarget};
use socketioxide_emitter::IoEmitter;

use crate::chat::{CHANNELS, private};

/// Sends a message to a user, on whichever server the user is.
#[derive(Parser)]
pub struct Emit {
    /// The user's name.
    user: String,
    /// The text.
    text: String,
}

impl Emit {
    /// Publishes the message. All servers get it, and the server of the user delivers it.
    pub async fn run(self) -> Result<()> {
        let redis = RedisTarget::from_env().await?;
        let publisher = Publisher::at(&redis, |subscribers| {
            log(format!("published, subscribers: {subscribers}"));
        });
        let message = private("emit", self.user.clone(), self.text);
        IoEmitter::new()
            .prefix(prefixed(CHANNELS))
            .to(self.user)
            .emit("message", &message, &publisher.await?)
            .await?;
        Ok(())
    }
}
