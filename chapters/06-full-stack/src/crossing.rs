//! Whether a message crosses to the other servers. That is known when Redis has answered,
//! and nobody waits for that answer but the sender who wants to know.

use std::cell::RefCell;

use tokio::{sync::oneshot, task_local};

task_local! {
    /// Where [`begin`] leaves word for the [`watch`] around it: between the two lies the
    /// adapter, which knows nothing of it.
    static CROSSING: RefCell<Crossing>;
}

/// A message on its way to the other servers.
#[derive(Default)]
pub(crate) struct Crossing(Option<oneshot::Receiver<bool>>);

/// Does `emit`, and gives what it gave, with the crossing of what it published.
pub(crate) async fn watch<T>(emit: impl Future<Output = T>) -> (T, Crossing) {
    let watched = async {
        let emitted = emit.await;
        (emitted, CROSSING.with(RefCell::take))
    };
    CROSSING.scope(RefCell::default(), watched).await
}

/// What the driver answers when it knows whether a message has reached Redis.
pub(crate) fn begin() -> oneshot::Sender<bool> {
    let (answer, crossed) = oneshot::channel();
    // Not every emit is watched: most senders do not ask.
    let _unwatched = CROSSING.try_with(|crossing| crossing.replace(Crossing(Some(crossed))));
    answer
}

impl Crossing {
    /// Whether the message has reached Redis, once that is known. What needs no driver of
    /// ours counts as gone across.
    pub(crate) async fn succeeds(self) -> bool {
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
    async fn the_answer_belongs_to_the_message_however_late_it_comes() {
        let (first, lost) = watch(async { begin() }).await;
        let (second, arrived) = watch(async { begin() }).await;
        second.send(true).unwrap();
        first.send(false).unwrap();
        assert!(arrived.succeeds().await);
        assert!(!lost.succeeds().await);
    }

    #[tokio::test]
    async fn what_publishes_nothing_needs_no_answer_and_an_answer_nobody() {
        let ((), nothing) = watch(async {}).await;
        assert!(nothing.succeeds().await);
        assert!(begin().send(true).is_err(), "nobody watches");
    }

    #[tokio::test]
    async fn a_driver_that_is_gone_has_not_answered() {
        let ((), crossing) = watch(async { drop(begin()) }).await;
        assert!(!crossing.succeeds().await);
    }
}
