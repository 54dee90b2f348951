//! A small typed wrapper for Redis PUB/SUB.
//!
//! A channel has a name and one type of message. Messages are sent as JSON.

use std::marker::PhantomData;

use anyhow::{Context, Result};
use futures_util::{Stream, StreamExt};
use lab::prefixed;
use redis::{AsyncCommands, Client, aio::MultiplexedConnection};
use serde::{Serialize, de::DeserializeOwned};

/// A Redis channel of this application, whose messages are of type `T`.
#[derive(Clone, Copy, Debug)]
pub struct Channel<T> {
    name: &'static str,
    // A function of `T`: a channel contains no message, so threads may share it even if they
    // may not share a `T`.
    messages: PhantomData<fn(T) -> T>,
}

impl<T: Serialize + DeserializeOwned> Channel<T> {
    /// The channel of that name.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            messages: PhantomData,
        }
    }

    /// Publishes a message. Returns how many subscribers got it. Without subscribers the message
    /// is lost, and that is not an error.
    ///
    /// Source: <https://redis.io/docs/latest/commands/publish/>.
    pub async fn publish(
        &self,
        connection: &mut MultiplexedConnection,
        message: &T,
    ) -> Result<usize> {
        let json = serde_json::to_string(message)?;
        Ok(connection.publish(prefixed(self.name), json).await?)
    }

    /// Subscribes with a connection of its own. The stream gives every later message.
    ///
    /// A message that is not of type `T` is an error in the stream. The next message follows.
    pub async fn subscribe(
        &self,
        client: &Client,
    ) -> Result<impl Stream<Item = Result<T>> + Send + use<T>> {
        let mut subscriber = client.get_async_pubsub().await?;
        let name = prefixed(self.name);
        subscriber.subscribe(&name).await?;
        Ok(subscriber.into_on_message().map(move |message| {
            serde_json::from_slice(message.get_payload_bytes())
                .with_context(|| format!("a message on channel {name} has an unknown format"))
        }))
    }
}
