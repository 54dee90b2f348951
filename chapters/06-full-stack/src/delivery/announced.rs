//! Rung 2 for a message to everybody: each receiver's program says that it has it.
//!
//! A packet for which there is no room is refused where its receiver is connected, on
//! whichever server that is. Nobody asks there how it went, unless the message wants an
//! acknowledgement: then the adapter brings the refusal back like any other answer.

use std::{pin::pin, time::Duration};

use futures_util::StreamExt;
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::{Value, json};
use socketioxide::{
    ack::AckStream,
    adapter::Adapter,
    extract::{AckSender, Data, SocketRef},
};
use tokio::time::timeout;

use super::acknowledged::ask_in_turn;
use crate::{chat::private, lane::Lane};

/// How long a receiver may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// How much longer its server's answer may be on its way.
const RETURN: Duration = Duration::from_secs(1);

/// What became of a message to everybody.
#[derive(Debug, Deserialize, Serialize)]
pub struct Reached {
    /// How many clients have acknowledged it.
    pub heard: usize,
    /// How many have not: there was no room for it, they are gone, or they were too slow.
    pub missed: usize,
}

/// The server's part: passes a message on to everybody, and answers with what became of it
/// ([`Reached`]), or with `false` if a server did not say.
pub(crate) fn hear_announce<A: Adapter>(socket: &SocketRef<A>, user: String, lane: Lane) {
    socket.on(
        "announce",
        move |socket: SocketRef<A>, Data(text): Data<String>, ack: AckSender<A>| {
            let everybody = socket.broadcast().timeout(PATIENCE);
            let message = private(&user, "all".to_owned(), text);
            ask_in_turn(&lane, ack, everybody, message, reached)
        },
    );
}

/// [`Reached`], or `false`.
async fn reached<A: Adapter>(answers: AckStream<IgnoredAny, A>) -> Value {
    let reached = timeout(PATIENCE + RETURN, count(answers)).await;
    reached.map_or(json!(false), |reached| json!(reached))
}

async fn count<A: Adapter>(answers: AckStream<IgnoredAny, A>) -> Reached {
    let mut answers = pin!(answers);
    let (mut heard, mut missed) = (0, 0);
    while let Some((_client, answer)) = answers.next().await {
        match answer {
            Ok(_) => heard += 1,
            Err(_) => missed += 1,
        }
    }
    Reached { heard, missed }
}
