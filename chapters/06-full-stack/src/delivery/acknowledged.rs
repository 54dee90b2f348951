//! Rung 2: the receiver's program says that it has the message.
//!
//! The acknowledgement comes back the whole way, through the adapter. No answer means one
//! of two things, and the sender cannot tell which: the message was lost, or the answer.

use std::{future::ready, pin::pin, time::Duration};

use ch05_redis_pubsub::chat::Say;
use futures_util::StreamExt;
use serde::de::IgnoredAny;
use socketioxide::{
    ack::AckStream,
    adapter::Adapter,
    extract::{AckSender, Data, SocketRef},
};
use tokio::time::timeout;

use crate::{
    chat::{acknowledge, private},
    lane::Lane,
};

/// How long a receiver may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// The server's part: passes a message on, and answers whether one of the receiver's
/// devices has acknowledged it.
pub(crate) fn hear_tell<A: Adapter>(socket: &SocketRef<A>, user: String, lane: Lane) {
    socket.on(
        "tell",
        move |socket: SocketRef<A>, Data(tell): Data<Say>, ack: AckSender<A>| {
            if lane.is_full() {
                acknowledge(ack, &false);
                return ready(());
            }
            let room = tell.to.clone();
            let message = private(&user, tell.to, tell.text);
            lane.enter(async move {
                let told = socket.to(room).timeout(PATIENCE);
                match told.emit_with_ack("message", &message).await {
                    // The next message need not wait for this one's receiver.
                    Ok(answers) => drop(tokio::spawn(async move {
                        acknowledge(ack, &is_acknowledged(answers).await);
                    })),
                    Err(_) => acknowledge(ack, &false),
                }
            });
            ready(())
        },
    );
}

async fn is_acknowledged<A: Adapter>(answers: AckStream<IgnoredAny, A>) -> bool {
    let mut answers = pin!(answers);
    let first = async {
        while let Some((_device, answer)) = answers.next().await {
            if answer.is_ok() {
                return true;
            }
        }
        false
    };
    timeout(PATIENCE, first).await.unwrap_or(false)
}
