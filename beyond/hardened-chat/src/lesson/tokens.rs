//! Somebody connects with the name of another user.

use anyhow::{Context, Result};
use lab::{Client, Socket, Stage, Transport, client::Error};
use serde_json::{Value, json};

use super::{SECRET, one_server};
use crate::auth::Secret;

/// Mallory connects as Alice: to a server without a secret, and to one with a secret.
///
/// # Errors
/// When the server does not start.
pub async fn somebody_else(stage: &mut Stage) -> Result<()> {
    let url = one_server(stage, &[]).await?;
    let mallory = stage.client("mallory", &url);
    let alices_name = json!({ "user": "alice" });
    let connected = connect(&mallory, &alices_name).await;
    stage.claim_failure(
        "without a secret, Mallory is admitted as Alice",
        "",
        connected.is_ok(),
    );

    let url = one_server(stage, &[("CHAT_SECRET", SECRET)]).await?;
    let secret = Secret::new(SECRET)?;
    let token = |user| secret.token(user).context("there is a secret");
    let mallory = stage.client("mallory", &url);
    let mallorys_token = json!({ "user": "alice", "token": token("mallory")? });
    for (what, auth) in [
        ("Alice's name alone", alices_name),
        ("Alice's name and her own token", mallorys_token),
    ] {
        let refusal = connect(&mallory, &auth).await.err();
        let refusal = refusal.map_or_else(String::new, |error| error.to_string());
        let is_refused = refusal.starts_with("not admitted");
        stage.claim_seen(
            format!("with a secret, Mallory is refused: {what}"),
            refusal,
            is_refused,
        );
    }
    let auth = json!({ "user": "alice", "token": token("alice")? });
    let alice = connect(&stage.client("alice", &url), &auth).await;
    stage.claim("Alice is admitted with her token", alice.is_ok());
    Ok(())
}

async fn connect(client: &Client, auth: &Value) -> Result<Socket, Error> {
    Socket::connect(client, Transport::WebSocket, Some(auth)).await
}
