//! The delivery ladder: how sure can a sender be that a message arrives?
//!
//! Each rung costs more than the one below it, and survives more:
//!
//! 1. fire and forget: the sender says it, and that is all;
//! 2. `acknowledged`: the receiver's program says that it has the message;
//! 3. `retried`: the sender says it again until that comes, and the receiver takes it once;
//! 4. `kept`: the server keeps it in a history, and the receiver catches up from there.
//!
//! [`flow`] sends numbered messages up each of them, and counts what arrives.

pub(crate) mod acknowledged;
pub mod announced;
pub mod flow;
pub(crate) mod kept;
mod receiver;
pub(crate) mod retried;

use std::fmt;

use lab::{Client, Socket, Transport, client::Error};
use serde_json::json;

use kept::Kept;

/// How a message is sent, and what its sender waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rung {
    /// Nothing.
    Forgotten,
    /// The sender's own server has passed it on: half a rung, what the chat's page shows.
    PassedOn,
    /// The receiver has it.
    Acknowledged,
    /// The receiver has it; said again until then.
    Retried,
    /// It is in the receiver's history; said again until then.
    Kept,
}

impl Rung {
    /// The ladder.
    pub const LADDER: [Self; 4] = [
        Self::Forgotten,
        Self::Acknowledged,
        Self::Retried,
        Self::Kept,
    ];

    /// Says a message once. Returns whether the sender knows now that it is safe.
    ///
    /// # Errors
    /// When the connection is gone, or no answer comes in time.
    async fn say(self, socket: &Socket, to: &str, text: &str) -> Result<bool, Error> {
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

    /// Whether the sender says a message again until it is safe.
    fn repeats(self) -> bool {
        matches!(self, Self::Retried | Self::Kept)
    }
}

/// Why the servers that `client` reaches keep no history, if that is so.
///
/// # Errors
/// When it cannot connect, or no answer comes.
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

impl fmt::Display for Rung {
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
