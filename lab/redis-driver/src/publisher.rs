//! The same Redis for `socketioxide-emitter`.

use redis::{RedisError, cmd};
use socketioxide_emitter::Driver;

use crate::{Connection, RedisTarget};

/// A driver for [`socketioxide_emitter`]: it sends events from a process that is not a Socket.IO
/// server.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use redis_driver::{Publisher, RedisTarget};
/// use socketioxide_emitter::IoEmitter;
///
/// let redis = RedisTarget::from_env().await?;
/// let publisher = Publisher::at(&redis, |servers| println!("{servers} servers got it")).await?;
/// IoEmitter::new().to("room").emit("message", &"hi", &publisher).await?;
/// # Ok(())
/// # }
/// ```
///
/// It reconnects by itself. While Redis is away, an emit fails within one second.
pub struct Publisher {
    redis: Connection,
    publish: &'static str,
    report: Box<dyn Fn(usize) + Send + Sync>,
}

impl Publisher {
    /// Connects to `target`. After each message, `report` gets the number of servers that Redis
    /// passed it to.
    ///
    /// # Errors
    /// When a cluster does not answer. For a single Redis this waits until it answers.
    pub async fn at(
        target: &RedisTarget,
        report: impl Fn(usize) + Send + Sync + 'static,
    ) -> Result<Self, RedisError> {
        Ok(Self {
            redis: target.connect().await?,
            publish: target.publish_command(),
            report: Box::new(report),
        })
    }
}

impl Driver for Publisher {
    type Error = RedisError;

    async fn emit(&self, channel: String, data: Vec<u8>) -> Result<(), RedisError> {
        let mut publish = cmd(self.publish);
        publish.arg(channel).arg(data);
        let mut redis = self.redis.clone();
        let subscribers: usize = publish.query_async(&mut redis).await?;
        (self.report)(subscribers);
        Ok(())
    }
}
