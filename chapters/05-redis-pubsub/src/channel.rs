//! A small typed wrapper over Redis PUB/SUB.
//!
//! A channel has a name and one type of message, which travels as JSON.

use std::marker::PhantomData;

use anyhow::{Context, Result};
use futures_util::{Stream, StreamExt};
use redis::{AsyncCommands, Client, aio::MultiplexedConnection};
use serde::{Serialize, de::DeserializeOwned};

/// A Redis channel whose messages are of type `T`.
#[derive(Clone, Copy, Debug)]
pub struct Channel<T> {
    name: &'static str,
    // A function of `T`: a channel holds no message, so it may be shared whatever `T` is.
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

    /// Publishes a message. Returns how many subscribers got it: none is no error, and
    /// the message is gone.
    ///
    /// Source: <https://redis.io/docs/latest/commands/publish/>.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn publish(
        &self,
        connection: &mut MultiplexedConnection,
        message: &T,
    ) -> Result<usize> {
        let json = serde_json::to_string(message)?;
        Ok(connection.publish(self.name, json).await?)
    }

    /// Subscribes, over a connection of its own. What is published from now on comes out.
    ///
    /// A message that is not of type `T` comes out as an error, and the next one follows.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn subscribe(
        &self,
        client: &Client,
    ) -> Result<impl Stream<Item = Result<T>> + Send + use<T>> {
        let mut subscriber = client.get_async_pubsub().await?;
        subscriber.subscribe(self.name).await?;
        let name = self.name;
        Ok(subscriber.into_on_message().map(move |message| {
            serde_json::from_slice(message.get_payload_bytes())
                .with_context(|| format!("a message of another shape on channel {name}"))
        }))
    }
}
