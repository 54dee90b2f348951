//! Rung 2: the receiver's program says that it has the message.
//!
//! The acknowledgement comes back the whole way, through the adapter. No answer means one
//! of two things, and the sender cannot tell which: the message was lost, or the answer.

use std::{
    future::{Ready, ready},
    pin::pin,
    time::Duration,
};

use ch05_redis_pubsub::{chat::Say, link::Private};
use futures_util::StreamExt;
use serde::{Serialize, de::IgnoredAny};
use socketioxide::{
    ack::AckStream,
    adapter::Adapter,
    extract::{AckSender, Data, SocketRef},
    operators::BroadcastOperators,
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
            let receivers = socket.to(tell.to.clone()).timeout(PATIENCE);
            let message = private(&user, tell.to, tell.text);
            ask_in_turn(&lane, ack, receivers, message, is_acknowledged)
        },
    );
}

/// Has `receivers` acknowledge a message, after what its sender asked for before. The sender
/// is answered with what `outcome` makes of it, or with `false` if it was not sent.
pub(super) fn ask_in_turn<A, T, F>(
    lane: &Lane,
    ack: AckSender<A>,
    receivers: BroadcastOperators<A>,
    message: Private,
    outcome: impl FnOnce(AckStream<IgnoredAny, A>) -> F + Send + 'static,
) -> Ready<()>
where
    A: Adapter,
    T: Serialize,
    F: Future<Output = T> + Send + 'static,
{
    if lane.is_full() {
        acknowledge(ack, &false);
        return ready(());
    }
    lane.enter(async move {
        match receivers.emit_with_ack("message", &message).await {
            // The next message need not wait for this one's receivers.
            Ok(answers) => {
                let outcome = outcome(answers);
                tokio::spawn(async move { acknowledge(ack, &outcome.await) });
            }
            Err(_) => acknowledge(ack, &false),
        }
    });
    ready(())
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
