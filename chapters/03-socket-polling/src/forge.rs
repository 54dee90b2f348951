//! What somebody can do who has read another client's `socket.id`.
//!
//! Over polling the session's ID is all that a request is known by: it is a password. The
//! server here, [`naive`], makes a mistake that many do: it tells others who has spoken by
//! `socket.id`.

use axum::Router;
use ch01_express_pid::listen;
use lab::{
    Client, Event, Socket, Transport,
    client::{Error, PATIENCE, Packet, Polling, WebSocket},
};
use serde_json::{Value, json};
use socketioxide::{
    SocketIo,
    extract::{Data, SocketRef},
};

use crate::{bounds::bounded, enter};

/// A server that passes a `message` on with the `socket.id` of whoever sent it.
pub fn naive() -> (Router, SocketIo) {
    let (layer, io) = bounded().build_layer();
    io.ns("/", async |socket: SocketRef| {
        socket.on(
            "message",
            async |socket: SocketRef, Data(text): Data<String>| {
                let message = json!({ "from": socket.id, "text": text });
                // Who is gone hears nothing.
                let _unheard = socket.broadcast().emit("message", &message).await;
            },
        );
    });
    (Router::new().layer(layer), io)
}

/// Serves [`naive`] on the port that `PORT` names, until SIGTERM.
///
/// # Errors
/// When the port cannot be had.
pub async fn serve() -> lab::Result<()> {
    let (app, io) = naive();
    let drain = async move { io.close().await };
    Ok(ch01_express_pid::serve("Naive Server", listen().await?, app, drain).await?)
}

/// What Mallory tried, and what came of it.
pub struct Forged {
    /// What Bob heard, as from whom: `{"from", "text"}`.
    pub bob_heard: Option<Value>,
    /// Alice's `socket.id`, as only she should know it.
    pub alice: String,
    /// What Mallory's poll brought: packets that were for Alice.
    pub stolen: Vec<Packet>,
    /// What Alice's own next poll brought.
    pub left: Vec<Packet>,
    /// Mallory's forged request.
    pub seen: Vec<Event>,
}

/// Alice speaks, over polling; Mallory reads her ID in what everybody hears, speaks with it,
/// and reads what Bob then answers her.
///
/// # Errors
/// When somebody cannot connect, or Mallory's request is refused.
pub async fn forge(url: &str, words: &str) -> Result<Forged, Error> {
    let mut bob = Socket::connect(&Client::new("bob", url), Transport::WebSocket, None).await?;
    let mut mallory =
        Socket::connect(&Client::new("mallory", url), Transport::WebSocket, None).await?;
    let alice = Polling::open(&Client::new("alice", url)).await?;
    enter(&alice).await?;
    alice.send(&message("hi, I am Alice")).await?;
    let heard = mallory.hear("message", PATIENCE).await;
    bob.hear("message", PATIENCE).await.ok_or(Error::TooSlow)?;

    let stolen = heard.as_ref().and_then(|heard| heard["from"].as_str());
    let stolen = stolen.ok_or_else(|| Error::Unexpected("no ID is shown".to_owned()))?;
    let client = Client::new("mallory", url);
    let as_alice = Polling::with_id(&client, stolen);
    as_alice.send(&message(words)).await?;
    // The poll that follows is not shown: it brings the IDs of others.
    let seen = client.take_seen();
    let bob_heard = bob.hear("message", PATIENCE).await;

    // Alice is between two polls, as each polling client is again and again.
    bob.emit("message", &json!("Alice, the code is 1234"))?;
    mallory.hear("message", PATIENCE).await;
    let stolen = as_alice.poll().await?;
    bob.emit("message", &json!("Alice?"))?;
    let left = alice.poll().await?;
    Ok(Forged {
        bob_heard,
        alice: alice.open.sid.clone(),
        stolen,
        left,
        seen,
    })
}

/// What becomes of a request with the ID of a client that uses a WebSocket.
///
/// # Errors
/// When Alice cannot connect.
pub async fn forge_websocket(url: &str) -> Result<Result<(), Error>, Error> {
    let mut alice = WebSocket::open(&Client::new("alice", url), None).await?;
    let Packet::Open(open) = alice.receive().await? else {
        return Err(Error::Unexpected("no open packet".to_owned()));
    };
    alice.send(&Packet::Message("0".to_owned())).await?;
    let as_alice = Polling::with_id(&Client::new("mallory", url), &open.sid);
    Ok(as_alice.send(&message("forged")).await)
}

/// Sends a secret in the query string, and then another one in the handshake's `auth`.
///
/// # Errors
/// When the server does not answer.
pub async fn send_secrets(url: &str, in_query: &str, in_auth: &str) -> Result<(), Error> {
    let client = Client::new("alice", url);
    let target = format!("/socket.io/?EIO=4&transport=polling&token={in_query}");
    client.get_once(&target).await?;
    let auth = json!({ "token": in_auth });
    Socket::connect(&client, Transport::WebSocket, Some(&auth)).await?;
    Ok(())
}

fn message(text: &str) -> Packet {
    Packet::Message(format!("2{}", json!(["message", text])))
}
