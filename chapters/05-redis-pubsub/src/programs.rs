//! The article's two programs.

use std::env;

use anyhow::{Context, Result, ensure};
use ch01_express_pid::log;
use clap::Parser;
use futures_util::StreamExt;
use redis::{AsyncCommands, Client};

/// Prints every message on the channel `my channel`.
#[derive(Parser)]
pub struct Subscriber {}

/// Publishes `hi` and `hello world` on the channel `my channel`.
#[derive(Parser)]
pub struct Publisher {}

/// The article's channel.
pub const CHANNEL: &str = "my channel";

/// The Redis that `REDIS_URL` names, or the one on this machine.
pub fn redis_url() -> String {
    env::var("REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1:6379".to_owned())
}

/// Refuses a `REDIS_URL` that names several servers, as chapter 6 takes it for a cluster.
///
/// # Errors
/// If it does.
pub fn names_one_redis() -> Result<()> {
    let url = redis_url();
    ensure!(
        !url.contains(','),
        "REDIS_URL={url} names several servers, and this chapter uses one Redis: name one of them"
    );
    Ok(())
}

/// A client of that Redis.
///
/// # Errors
/// When `REDIS_URL` is no URL, or names several.
pub fn redis_client() -> Result<Client> {
    names_one_redis()?;
    let url = redis_url();
    Client::open(url.as_str()).with_context(|| {
        format!("REDIS_URL={url} is no Redis URL: it looks like redis://127.0.0.1:6379")
    })
}

/// What to say when Redis does not answer.
pub fn no_redis() -> String {
    no_redis_at(&redis_url())
}

/// What to say when no Redis answers at `url`.
pub fn no_redis_at(url: &str) -> String {
    format!(
        "no Redis answers at {url}: start one (redis-server, or cargo run -p embedded-pubsub), \
         or name another with REDIS_URL"
    )
}

impl Subscriber {
    /// Subscribes, and prints each message that arrives, until it is ended.
    ///
    /// # Errors
    /// When Redis does not answer, or goes away.
    pub async fn run(self) -> Result<()> {
        let client = redis_client()?;
        let mut subscriber = client.get_async_pubsub().await.with_context(no_redis)?;
        subscriber.subscribe(CHANNEL).await?;
        eprintln!("(subscribed to \"{CHANNEL}\")");

        let mut messages = subscriber.on_message();
        while let Some(message) = messages.next().await {
            let channel = message.get_channel_name();
            let text: String = message.get_payload()?;
            log(format!(
                "Message \"{text}\" on channel \"{channel}\" arrived!"
            ));
        }
        anyhow::bail!("Redis has closed the connection")
    }
}

impl Publisher {
    /// Publishes both messages.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn run(self) -> Result<()> {
        let client = redis_client()?;
        let mut publisher = client
            .get_multiplexed_async_connection()
            .await
            .with_context(no_redis)?;
        for text in ["hi", "hello world"] {
            let subscribers: usize = publisher.publish(CHANNEL, text).await?;
            eprintln!("(\"{text}\" published, subscribers: {subscribers})");
        }
        Ok(())
    }
}
