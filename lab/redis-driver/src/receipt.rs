//! Whether Redis accepted a message.

use std::cell::RefCell;

use tokio::{sync::oneshot, task_local};

task_local! {
    /// Where [`begin`] puts the receipt for the [`watch`] around it. The adapter, which is
    /// between the two, knows nothing about it.
    static RECEIPT: RefCell<Receipt>;
}

/// Tells whether Redis accepted a message.
#[derive(Default)]
pub struct Receipt(Option<oneshot::Receiver<bool>>);

/// Runs `emit`, and returns its result and the receipt of the message that it published.
///
/// ```no_run
/// # async fn example<A: socketioxide::adapter::Adapter>(socket: socketioxide::extract::SocketRef<A>) {
/// let (emitted, receipt) = redis_driver::watch(socket.to("room").emit("message", "hi")).await;
/// // The sockets of this server have the message now. What about the other servers?
/// let is_published = emitted.is_ok() && receipt.succeeds().await;
/// # }
/// ```
///
/// `emit` must publish in this task: a task that it spawns is not watched. If it publishes several
/// messages, the receipt is that of the last one.
pub async fn watch<T>(emit: impl Future<Output = T>) -> (T, Receipt) {
    let watched = async {
        let emitted = emit.await;
        (emitted, RECEIPT.with(RefCell::take))
    };
    RECEIPT.scope(RefCell::default(), watched).await
}

/// Where the driver answers once it knows whether Redis accepted a message.
pub(crate) fn begin() -> oneshot::Sender<bool> {
    let (answer, receipt) = oneshot::channel();
    // Most emits are not watched.
    let _unwatched = RECEIPT.try_with(|watched| watched.replace(Receipt(Some(receipt))));
    answer
}

impl Receipt {
    /// Waits until it is known whether Redis accepted the message.
    ///
    /// `true` does not say that another server received it. `false` does not say that none did:
    /// the connection may break after Redis got the message and before it answered. If nothing
    /// was published through a [`crate::ResilientDriver`], the answer is `true`.
    pub async fn succeeds(self) -> bool {
        match self.0 {
            Some(answer) => answer.await.unwrap_or(false),
            None => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_message_gets_its_own_answer_even_a_late_one() {
        let (first, lost) = watch(async { begin() }).await;
        let (second, arrived) = watch(async { begin() }).await;
        second.send(true).unwrap();
        first.send(false).unwrap();
        assert!(arrived.succeeds().await);
        assert!(!lost.succeeds().await);
    }

    #[tokio::test]
    async fn without_a_message_the_receipt_succeeds_and_without_a_watch_nobody_is_answered() {
        let ((), nothing) = watch(async {}).await;
        assert!(nothing.succeeds().await);
        assert!(begin().send(true).is_err(), "not watched");
    }

    #[tokio::test]
    async fn the_receipt_of_a_dropped_driver_fails() {
        let ((), receipt) = watch(async { drop(begin()) }).await;
        assert!(!receipt.succeeds().await);
    }
}
