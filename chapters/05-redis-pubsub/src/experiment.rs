//! The experiment: Alice writes to Bob.

use std::time::Duration;

use lab::{Client, Event, Socket, Transport, client::Error};
use serde_json::{Value, json};

use crate::link::{Effort, Private};

/// How long Bob waits for a message before it counts as lost.
pub const LOST_AFTER: Duration = Duration::from_millis(500);

/// What became of a message.
pub struct Outcome {
    /// Whether it arrived, as it was written.
    pub arrived: bool,
    /// What it took Alice's server to pass it on.
    pub effort: Effort,
    /// What was seen.
    pub seen: Vec<Event>,
}

/// Connects a user by name.
///
/// # Errors
/// When the server refuses.
pub async fn connect(url: &str, user: &str) -> Result<Socket, Error> {
    let client = Client::new(user, url);
    Socket::connect(
        &client,
        Transport::WebSocket,
        Some(&json!({ "user": user })),
    )
    .await
}

/// Alice, at one server, writes to Bob, who is at another, or at the same.
///
/// # Errors
/// When one of them cannot connect, or Alice's server does not acknowledge.
pub async fn alice_writes_to_bob(alice_at: &str, bob_at: &str) -> Result<Outcome, Error> {
    let alice = connect(alice_at, "alice").await?;
    let mut bob = connect(bob_at, "bob").await?;
    let text = "hi";
    let effort = alice
        .ask("say", &json!({ "to": "bob", "text": text }))
        .await?;
    let heard = bob.hear("message", LOST_AFTER).await;
    let arrived = heard.and_then(as_private).is_some_and(|private| {
        private.from == "alice" && private.to == "bob" && private.text == text
    });
    Ok(Outcome {
        arrived,
        effort: serde_json::from_value(effort)
            .map_err(|error| Error::Unexpected(error.to_string()))?,
        seen: vec![Event::Message {
            from: "alice".to_owned(),
            to: "bob".to_owned(),
            text: text.to_owned(),
            arrived,
        }],
    })
}

fn as_private(value: Value) -> Option<Private> {
    serde_json::from_value(value).ok()
}
