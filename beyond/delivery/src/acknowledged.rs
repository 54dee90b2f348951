//! The second way: the receiver's program confirms that it has the message.
//!
//! The acknowledgement travels back through the adapter. If none comes, either the message was lost
//! or the acknowledgement was. The sender cannot tell which.

use std::{pin::pin, time::Duration};

use ch05_redis_pubsub::chat::Say;
use ch06_full_stack::chat::private;
use futures_util::StreamExt;
use hardened_chat::{InOrder, ask_in_turn};
use redis_driver::Receipt;
use serde::de::IgnoredAny;
use socketioxide::{
    ack::AckStream,
    adapter::Adapter,
    extract::{AckSender, Data, SocketRef},
};
use tokio::time::timeout;

/// How long a receiver may take to acknowledge.
const PATIENCE: Duration = Duration::from_secs(1);

/// Listens to `tell`: passes a message on. The answer tells whether one of the receiver's devices
/// has acknowledged it.
pub(crate) fn hear_tell<A: Adapter>(socket: &SocketRef<A>, user: String, in_order: InOrder) {
    socket.on(
        "tell",
        move |socket: SocketRef<A>, Data(tell): Data<Say>, ack: AckSender<A>| {
            let receivers = socket.to(tell.to.clone()).timeout(PATIENCE);
            let message = private(&user, tell.to, tell.text);
            ask_in_turn(&in_order, ack, receivers, message, is_acknowledged)
        },
    );
}

async fn is_acknowledged<A: Adapter>(answers: AckStream<IgnoredAny, A>, _: Receipt) -> bool {
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
