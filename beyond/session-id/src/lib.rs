//! What can somebody do who has read another client's `socket.id`?
//!
//! Over polling, the server knows a request by its session ID and nothing else. So the ID works
//! like a password. With socketioxide, `socket.id` is that ID. The server here, [`naive`], makes a
//! common mistake: each message that it passes on contains the sender's `socket.id`.

use axum::Router;
use ch03_socket_polling::{bounded, experiments::enter};
use lab::{
    Client, Socket, Transport,
    client::{Error, PATIENCE, Packet, Polling, WebSocket},
};
use lab_server::listen;
use serde_json::{Value, json};
use socketioxide::{
    SocketIo,
    extract::{Data, SocketRef},
};

/// A server that passes a `message` on together with the sender's `socket.id`.
pub fn naive() -> (Router, SocketIo) {
    let (layer, io) = bounded().build_layer();
    io.ns("/", async |socket: SocketRef| {
        socket.on(
            "message",
            async |socket: SocketRef, Data(text): Data<String>| {
                let message = json!({ "from": socket.id, "text": text });
                // A client that has gone receives nothing.
                let _gone = socket.broadcast().emit("message", &message).await;
            },
        );
    });
    (Router::new().layer(layer), io)
}

/// Serves [`naive`] on the port that `PORT` names, until SIGTERM.
pub async fn serve() -> lab::Result<()> {
    let (app, io) = naive();
    let drain = async move { io.close().await };
    Ok(lab_server::serve("Naive Server", listen().await?, app, drain).await?)
}

/// What Mallory tried, and the result.
pub struct Forged {
    /// The message that Bob received: `{"from", "text"}`.
    pub bob_heard: Option<Value>,
    /// Alice's `socket.id`.
    pub alice: String,
    /// The packets that Mallory's poll brought. They were for Alice.
    pub stolen: Vec<Packet>,
    /// The packets that Alice's own next poll brought.
    pub left: Vec<Packet>,
}

/// Alice sends a message over polling. Mallory receives it and reads Alice's ID in it. With this
/// ID, Mallory sends `words` and reads what Bob answers Alice.
///
/// `mallory` sends the forged request.
pub async fn forge(url: &str, mallory: &Client, words: &str) -> Result<Forged, Error> {
    let mut bob = Socket::connect(&Client::new("bob", url), Transport::WebSocket, None).await?;
    let unshown = Client::new("mallory", url);
    let mut listens = Socket::connect(&unshown, Transport::WebSocket, None).await?;
    let alice = Polling::open(&Client::new("alice", url)).await?;
    enter(&alice).await?;
    alice.send(&message("hi, I am Alice")).await?;
    let heard = listens.hear("message", PATIENCE).await;
    bob.hear("message", PATIENCE)
        .await
        .ok_or(Error::TooSlow(PATIENCE))?;

    let sid = heard.as_ref().and_then(|heard| heard["from"].as_str());
    let sid = sid.ok_or_else(|| Error::Unexpected("no ID is shown".to_owned()))?;
    Polling::with_id(mallory, sid).send(&message(words)).await?;
    let bob_heard = bob.hear("message", PATIENCE).await;

    // Alice is between two polls at this moment, as every polling client is again and again.
    bob.emit("message", &json!("Alice, the code is 1234"))?;
    listens.hear("message", PATIENCE).await;
    // This poll is not shown, because its answer contains Bob's ID.
    let stolen = Polling::with_id(&unshown, sid).poll().await?;
    bob.emit("message", &json!("Alice?"))?;
    let left = alice.poll().await?;
    Ok(Forged {
        bob_heard,
        alice: alice.open.sid.clone(),
        stolen,
        left,
    })
}

/// `mallory` sends a request with the ID of a client that uses a WebSocket. Returns the result of
/// that request.
///
/// # Errors
/// When Alice cannot connect.
pub async fn forge_websocket(url: &str, mallory: &Client) -> Result<Result<(), Error>, Error> {
    let mut alice = WebSocket::open(&Client::new("alice", url), None).await?;
    let Packet::Open(open) = alice.receive().await? else {
        return Err(Error::Unexpected("no open packet".to_owned()));
    };
    alice.send(&Packet::Message("0".to_owned())).await?;
    let as_alice = Polling::with_id(mallory, &open.sid);
    Ok(as_alice.send(&message("forged")).await)
}

/// Connects twice: with a secret in the query string, then with another one in the handshake's
/// `auth`.
pub async fn send_secrets(url: &str, in_query: &str, in_auth: &str) -> Result<(), Error> {
    let client = Client::new("alice", url).with_query(&format!("token={in_query}"));
    Socket::connect(&client, Transport::Polling, None).await?;
    let auth = json!({ "token": in_auth });
    let client = Client::new("alice", url);
    Socket::connect(&client, Transport::WebSocket, Some(&auth)).await?;
    Ok(())
}

fn message(text: &str) -> Packet {
    Packet::Message(format!("2{}", json!(["message", text])))
}
