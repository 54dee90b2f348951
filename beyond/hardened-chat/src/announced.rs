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
use redis_driver::{Receipt, watch};
use serde::{Deserialize, Serialize, de::IgnoredAny};
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
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Reached {
    /// How many clients have acknowledged it.
    pub heard: usize,
    /// How many clients have not: there was no room for it, they have disconnected, or they were
    /// too slow.
    pub missed: usize,
    /// Whether there may be others, of whom nothing is known: a server did not answer in time, or
    /// Redis did not pass the message on.
    pub unknown: bool,
}

/// Listens to `announce`: passes a message on to everybody. The answer is [`Reached`], or `false`
/// if the message was not sent.
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

async fn reached<A: Adapter>(answers: AckStream<IgnoredAny, A>, receipt: Receipt) -> Reached {
    let mut reached = Reached::default();
    let counted = timeout(PATIENCE + RETURN, count(answers, &mut reached)).await;
    reached.unknown = counted.is_err() || !receipt.succeeds().await;
    reached
}

/// Counts until all servers have answered, which may be never.
async fn count<A: Adapter>(answers: AckStream<IgnoredAny, A>, reached: &mut Reached) {
    let mut answers = pin!(answers);
    while let Some((_client, answer)) = answers.next().await {
        match answer {
            Ok(_) => reached.heard += 1,
            Err(_) => reached.missed += 1,
        }
    }
}

/// Sends a message that its receivers acknowledge, after the work that its sender asked for before.
/// The sender gets the `outcome` as its answer, or `false` if the message was not sent. The receipt
/// tells whether Redis accepted the message.
pub fn ask_in_turn<A, T, F>(
    in_order: &InOrder,
    ack: AckSender<A>,
    receivers: BroadcastOperators<A>,
    message: Private,
    outcome: impl FnOnce(AckStream<IgnoredAny, A>, Receipt) -> F + Send + 'static,
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
        let (sent, receipt) = watch(receivers.emit_with_ack("message", &message)).await;
        match sent {
            // The next message does not wait for the receivers of this one.
            Ok(answers) => {
                let outcome = outcome(answers, receipt);
                tokio::spawn(async move { acknowledge(ack, &outcome.await) });
            }
            Err(_) => acknowledge(ack, &false),
        }
    });
    ready(())
}
