//! How sure can a sender be that a message arrives?
//!
//! There are four ways to deliver a message. Each one costs more than the one before it, and
//! survives more:
//!
//! 1. fire and forget: the sender sends it, and does nothing more;
//! 2. the receiver's program confirms that it has the message;
//! 3. the sender repeats it until it is confirmed, and the receiver drops duplicates;
//! 4. the server keeps it in a history, and the receiver fetches what it has missed.
//!
//! [`flow`] sends numbered messages in each of these ways, and counts which ones arrive.

pub(crate) mod acknowledged;
pub mod experiments;
pub mod flow;
pub(crate) mod kept;
mod receiver;
pub(crate) mod retried;
mod server;

use std::fmt;

use lab::{Client, Socket, Transport, client::Error};
use serde_json::json;

use kept::Kept;
pub use server::serve;

/// A way to deliver a message: how it is sent, and what its sender waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The sender waits for nothing.
    Forgotten,
    /// The sender's server confirms that it has passed the message on. The chat's page uses this
    /// way. It is safer than the first one, and less safe than the second one.
    PassedOn,
    /// The receiver confirms that it has the message.
    Acknowledged,
    /// The same, and the sender repeats the message until then.
    Retried,
    /// The server confirms that the message is in the receiver's history. The sender repeats the
    /// message until then.
    Kept,
}

impl Way {
    /// The four ways that the lesson compares.
    pub const ALL: [Self; 4] = [
        Self::Forgotten,
        Self::Acknowledged,
        Self::Retried,
        Self::Kept,
    ];

    /// Sends a message once. Returns whether the sender knows now that it is safe.
    ///
    /// # Errors
    /// When the connection is broken, or no answer comes in time.
    async fn send(self, socket: &Socket, to: &str, text: &str) -> Result<bool, Error> {
        let message = json!({ "to": to, "text": text });
        let event = match self {
            Self::Forgotten => {
                socket.emit("say", &message)?;
                return Ok(false);
            }
            Self::PassedOn => "say",
            Self::Acknowledged | Self::Retried => "tell",
            Self::Kept => "keep",
        };
        let answer = socket.ask(event, &message).await?;
        if self != Self::Kept {
            return Ok(answer == json!(true));
        }
        match serde_json::from_value(answer) {
            Ok(Kept::Under(_id)) => Ok(true),
            Ok(Kept::NotNow) => Ok(false),
            Ok(Kept::Never(why)) => Err(Error::Unexpected(why)),
            Err(error) => Err(Error::Unexpected(error.to_string())),
        }
    }

    /// Whether the sender repeats a message until it is safe.
    fn repeats(self) -> bool {
        matches!(self, Self::Retried | Self::Kept)
    }
}

/// Why the servers that `client` reaches keep no history; `None` if they keep one.
///
/// # Errors
/// When the client cannot connect, or no answer comes.
pub async fn why_nothing_is_kept(client: &Client) -> Result<Option<String>, Error> {
    let auth = json!({ "user": client.name() });
    let socket = Socket::connect(client, Transport::WebSocket, Some(&auth)).await?;
    let to_itself = json!({ "to": client.name(), "text": "is this kept?" });
    let answer = socket.ask("keep", &to_itself).await?;
    match serde_json::from_value(answer) {
        Ok(Kept::Never(why)) => Ok(Some(why)),
        Ok(_) => Ok(None),
        Err(error) => Err(Error::Unexpected(error.to_string())),
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forgotten => "fire and forget",
            Self::PassedOn => "passed on",
            Self::Acknowledged => "acknowledgement",
            Self::Retried => "retry, de-duplication",
            Self::Kept => "history",
        })
    }
}
