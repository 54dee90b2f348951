//! A message to everybody that each receiver's program acknowledges.
//!
//! If there is no room for a packet, it is rejected on the server where its receiver is connected.
//! The sender's server does not hear of that, unless the message asks for an acknowledgement. Then
//! the adapter returns the rejection like any other answer.

use std::{
    future::{Ready, ready},
    pin::pin,
    time::Duration,
};

use ch05_redis_pubsub::link::Private;
use ch06_full_stack::chat::{acknowledge, private};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::{Value, json};
use socketioxide::{
    ack::AckStream,
    adapter::Adapter,
    extract::{AckSender, Data, SocketRef},
    operators::BroadcastOperators,
};
use tokio::time::timeout;

use crate::in_order::InOrder;

/// How long a receiver may take to acknowledge.
const PATIENCE: Duration = Duration::from_secs(2);

/// How much longer the answer of the receiver's server may take.
const RETURN: Duration = Duration::from_secs(1);

/// How many clients have received a message to everybody.
#[derive(Debug, Deserialize, Serialize)]
pub struct Reached {
    /// How many clients have acknowledged it.
    pub heard: usize,
    /// How many clients have not: there was no room for it, they have disconnected, or they were
    /// too slow.
    pub missed: usize,
}

/// Listens to `announce`: passes a message on to everybody. The answer is [`Reached`], or `false`
/// if a server did not answer.
pub(crate) fn hear_announce<A: Adapter>(socket: &SocketRef<A>, user: String, in_order: InOrder) {
    socket.on(
        "announce",
        move |socket: SocketRef<A>, Data(text): Data<String>, ack: AckSender<A>| {
            let everybody = socket.broadcast().timeout(PATIENCE);
            let message = private(&user, "all".to_owned(), text);
            ask_in_turn(&in_order, ack, everybody, message, reached)
        },
    );
}

/// [`Reached`] as JSON, or `false`.
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

/// Sends a message that its receivers acknowledge, after the work that its sender asked for before.
/// The sender gets the `outcome` as its answer, or `false` if the message was not sent.
pub fn ask_in_turn<A, T, F>(
    in_order: &InOrder,
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
    if in_order.is_full() {
        acknowledge(ack, &false);
        return ready(());
    }
    in_order.add(async move {
        match receivers.emit_with_ack("message", &message).await {
            // The next message does not wait for the receivers of this one.
            Ok(answers) => {
                let outcome = outcome(answers);
                tokio::spawn(async move { acknowledge(ack, &outcome.await) });
            }
            Err(_) => acknowledge(ack, &false),
        }
    });
    ready(())
}
