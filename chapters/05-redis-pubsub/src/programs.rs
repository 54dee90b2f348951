//! The article's two programs, and the Redis that they use.

use anyhow::{Result, anyhow, bail, ensure};
use clap::Parser;
use futures_util::StreamExt;
use lab::prefixed;
use lab_server::log;
use redis::{AsyncCommands, Client, RedisError};
use redis_driver::{TargetError, Unfit, redis_url, shown_redis_url};

/// Prints every message on the channel `my channel`.
#[derive(Parser)]
pub struct Subscriber {}

/// Publishes `hi` and `hello world` on the channel `my channel`.
#[derive(Parser)]
pub struct Publisher {}

/// The article's channel. In Redis, the application's name stands before it.
pub const CHANNEL: &str = "my channel";

impl Subscriber {
    /// Subscribes, and prints each message that arrives, until it is stopped.
    pub async fn run(self) -> Result<()> {
        let client = redis_client()?;
        let mut subscriber = client.get_async_pubsub().await.map_err(no_answer)?;
        subscriber.subscribe(prefixed(CHANNEL)).await?;
        eprintln!("(subscribed to \"{}\")", prefixed(CHANNEL));

        let mut messages = subscriber.on_message();
        while let Some(message) = messages.next().await {
            let (channel, text) = (message.get_channel_name(), message.get_payload::<String>()?);
            log(format!(
                "Message \"{text}\" on channel \"{channel}\" arrived!"
            ));
        }
        bail!("Redis has closed the connection")
    }
}

impl Publisher {
    /// Publishes both messages.
    pub async fn run(self) -> Result<()> {
        let client = redis_client()?;
        let connected = client.get_multiplexed_async_connection().await;
        let mut publisher = connected.map_err(no_answer)?;
        for text in ["hi", "hello world"] {
            let subscribers: usize = publisher.publish(prefixed(CHANNEL), text).await?;
            eprintln!("(\"{text}\" published, subscribers: {subscribers})");
        }
        Ok(())
    }
}

/// A client of the Redis that `REDIS_URL` names, or of the one on this machine.
pub fn redis_client() -> Result<Client> {
    names_one_redis()?;
    let url = shown_redis_url();
    Client::open(redis_url()).map_err(|_| {
        anyhow!("REDIS_URL={url} is no Redis URL: it looks like redis://127.0.0.1:6379")
    })
}

/// Refuses a `REDIS_URL` that names several servers, as it does for a Redis Cluster.
pub fn names_one_redis() -> Result<()> {
    let url = shown_redis_url();
    ensure!(
        !url.contains(','),
        "REDIS_URL={url} names several servers, and this chapter uses one Redis: name one of them"
    );
    Ok(())
}

/// Says in one sentence that no Redis answers, and what to do.
pub fn no_answer(error: RedisError) -> TargetError {
    TargetError::of(&redis_url(), Some(Unfit::from(error)))
}
