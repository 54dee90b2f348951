//! The experiment: Alice writes to Bob.

use std::time::Duration;

use lab::{Client, Result, Socket, Transport, client::Error};
use serde_json::json;

use crate::link::{Effort, Private};

/// How long Bob waits for a message before it counts as lost.
pub const LOST_AFTER: Duration = Duration::from_millis(500);

/// What Alice writes.
pub const TEXT: &str = "hi";

/// What became of a message.
pub struct Outcome {
    /// Whether it arrived unchanged.
    pub arrived: bool,
    /// How much work it was for Alice's server to pass it on.
    pub effort: Effort,
}

/// Connects a user by name.
pub async fn connect(url: &str, user: &str) -> Result<Socket, Error> {
    let client = Client::new(user, url);
    Socket::connect(
        &client,
        Transport::WebSocket,
        Some(&json!({ "user": user })),
    )
    .await
}

/// Alice writes to Bob. Each of them is connected to a server, or both to the same.
pub async fn alice_writes_to_bob(alice_at: &str, bob_at: &str) -> Result<Outcome> {
    let alice = connect(alice_at, "alice").await?;
    let mut bob = connect(bob_at, "bob").await?;
    let effort = alice
        .ask("say", &json!({ "to": "bob", "text": TEXT }))
        .await?;
    let heard = bob.hear("message", LOST_AFTER).await;
    let expected = Private {
        from: "alice".to_owned(),
        to: "bob".to_owned(),
        text: TEXT.to_owned(),
    };
    Ok(Outcome {
        arrived: heard == Some(json!(expected)),
        effort: serde_json::from_value(effort)?,
    })
}
