//! A client that stops reading, and the other clients.

use std::time::Duration;

use futures_util::future::{join, join_all};
use lab::{
    Client,
    client::{Error, PATIENCE, Packet, WebSocket},
};
use serde_json::json;
use tokio::time::{Instant, interval};

use ch06_full_stack::experiment::User;

/// What the other clients saw.
#[derive(Debug, Default)]
pub struct Others {
    /// Bytes of text that were written to the client that does not read.
    pub bytes: usize,
    /// How many messages another client should have received meanwhile.
    pub expected: usize,
    /// How many of them it received.
    pub received: usize,
    /// The longest time that one of them took.
    pub slowest: Duration,
}

/// The length of a message to the client that does not read.
const LENGTH: usize = 16 * 1024;

/// How many of these messages are sent at the same time.
const AT_ONCE: usize = 8;

/// The time between two messages to another client.
const PAUSE: Duration = Duration::from_millis(50);

/// Connects a user over a WebSocket, and then reads nothing more from it.
///
/// # Errors
/// When the connection is refused.
pub async fn connect_and_read_nothing(client: &Client) -> Result<WebSocket, Error> {
    let mut socket = WebSocket::open(client, None).await?;
    let hello = format!("0{}", json!({ "user": client.name() }));
    socket.send(&Packet::Message(hello)).await?;
    // Until it has joined the namespace: that answer begins with `40`.
    loop {
        if matches!(socket.receive().await?, Packet::Message(message) if message.starts_with('0')) {
            return Ok(socket);
        }
    }
}

/// Sends as many messages to the user `slow` as the servers take. Meanwhile it sends 20 messages a
/// second to another client. Both stop when `enough` is ready.
///
/// # Errors
/// When one of the other clients cannot connect, or its connection breaks.
pub async fn write_to_it(
    [sender, writer, listener]: [&Client; 3],
    slow: &str,
    enough: impl Future<Output = ()>,
) -> Result<Others, Error> {
    let transport = lab::Transport::WebSocket;
    let sender = User::connect_with(sender, transport).await?;
    let writer = User::connect_with(writer, transport).await?;
    let mut listener = User::connect_with(listener, transport).await?;

    let mut others = Others::default();
    let mut bytes = 0;
    let text = "x".repeat(LENGTH);
    let flood = async {
        loop {
            for sent in join_all((0..AT_ONCE).map(|_| sender.say(slow, &text))).await {
                sent?;
                bytes += LENGTH;
            }
        }
    };
    let talk = async {
        let mut turns = interval(PAUSE);
        loop {
            turns.tick().await;
            let begun = Instant::now();
            let (said, heard) = join(
                writer.say(&listener.name.clone(), "still there?"),
                listener.socket.hear("message", PATIENCE),
            )
            .await;
            said?;
            others.expected += 1;
            others.received += usize::from(heard.is_some());
            others.slowest = others.slowest.max(begun.elapsed());
        }
    };
    let failed: Result<(), Error> = tokio::select! {
        failed = flood => failed,
        failed = talk => failed,
        () = enough => Ok(()),
    };
    failed?;
    others.bytes = bytes;
    Ok(others)
}
