//! A client that stops reading, and those around it.

use std::time::Duration;

use futures_util::future::{join, join_all};
use lab::{
    Client,
    client::{Error, PATIENCE, Packet, WebSocket},
};
use serde_json::json;
use tokio::time::{Instant, interval};

use super::User;

/// What those around it saw.
#[derive(Debug, Default)]
pub struct Around {
    /// Bytes of text that were written to the client that does not read.
    pub bytes: usize,
    /// How many messages a bystander should have heard meanwhile.
    pub expected: usize,
    /// How many of them it heard.
    pub heard: usize,
    /// The longest that one of them took.
    pub slowest: Duration,
}

/// The length of a message to the client that does not read.
const LENGTH: usize = 16 * 1024;

/// How many of them are on their way at the same time.
const AT_ONCE: usize = 8;

/// Between two messages to the bystander.
const BEAT: Duration = Duration::from_millis(50);

/// Connects a user over a WebSocket from which nothing is read any more.
///
/// # Errors
/// When the connection is refused.
pub async fn connect_and_read_nothing(client: &Client) -> Result<WebSocket, Error> {
    let mut socket = WebSocket::open(client, None).await?;
    let hello = format!("0{}", json!({ "user": client.name() }));
    socket.send(&Packet::Message(hello)).await?;
    // Until it is connected: the answer begins with `40`.
    loop {
        if matches!(socket.receive().await?, Packet::Message(message) if message.starts_with('0')) {
            return Ok(socket);
        }
    }
}

/// Writes to the user `deaf` as much as the servers take, and meanwhile twenty times a
/// second to a bystander, until `enough` is ready.
///
/// # Errors
/// When one of the others cannot connect, or its connection breaks.
pub async fn write_to_it(
    [sender, writer, bystander]: [&Client; 3],
    deaf: &str,
    enough: impl Future<Output = ()>,
) -> Result<Around, Error> {
    let transport = lab::Transport::WebSocket;
    let sender = User::connect_with(sender, transport).await?;
    let writer = User::connect_with(writer, transport).await?;
    let mut bystander = User::connect_with(bystander, transport).await?;

    let mut around = Around::default();
    let mut bytes = 0;
    let text = "x".repeat(LENGTH);
    let flood = async {
        loop {
            for sent in join_all((0..AT_ONCE).map(|_| sender.say(deaf, &text))).await {
                sent?;
                bytes += LENGTH;
            }
        }
    };
    let beats = async {
        let mut turns = interval(BEAT);
        loop {
            turns.tick().await;
            let begun = Instant::now();
            let (said, heard) = join(
                writer.say(&bystander.name.clone(), "still there?"),
                bystander.socket.hear("message", PATIENCE),
            )
            .await;
            said?;
            around.expected += 1;
            around.heard += usize::from(heard.is_some());
            around.slowest = around.slowest.max(begun.elapsed());
        }
    };
    let failed: Result<(), Error> = tokio::select! {
        failed = flood => failed,
        failed = beats => failed,
        () = enough => Ok(()),
    };
    failed?;
    around.bytes = bytes;
    Ok(around)
}
