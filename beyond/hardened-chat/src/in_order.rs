//! The work of one client, done in the order in which the client asked for it.
//!
//! socketioxide calls the handlers in the order of a client's messages. But the future that a
//! handler returns becomes a task of its own, and tasks overtake each other: one waits for Redis,
//! and the next one does not. So a handler here returns nothing to wait for. It puts its work into
//! the client's queue, and one task does the work in the queue, one piece after the other.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// How many messages of one client may wait. If the queue is full, the next one is rejected, and
/// its sender is told so.
const CAPACITY: usize = 1024;

/// The queue of one client. Clones are the same queue.
#[derive(Clone, Default)]
pub struct InOrder {
    // A `std::sync::Mutex` and not Tokio's: it is never held across an `.await`.
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Default)]
struct Waiting {
    work: VecDeque<Work>,
    /// Whether a task does the work. A client without work has no task.
    has_task: bool,
}

/// A piece of work.
pub type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

impl InOrder {
    /// Whether the queue is full.
    pub fn is_full(&self) -> bool {
        self.waiting().work.len() >= CAPACITY
    }

    /// Adds work, which is done after all work before it.
    pub fn add(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut waiting = self.waiting();
        waiting.work.push_back(Box::pin(work));
        if !waiting.has_task {
            waiting.has_task = true;
            tokio::spawn(self.clone().do_all());
        }
    }

    async fn do_all(self) {
        while let Some(work) = self.next() {
            work.await;
        }
    }

    /// The next piece of work. If there is none, the task ends, and the next work needs a new one.
    fn next(&self) -> Option<Work> {
        let mut waiting = self.waiting();
        let next = waiting.work.pop_front();
        waiting.has_task = next.is_some();
        next
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        sync::{mpsc, oneshot},
        time::sleep,
    };

    use super::*;

    /// The order in which five pieces of work are done. The first one waits longest.
    async fn order_of(start: impl Fn(Work)) -> Vec<u64> {
        let (done, mut order) = mpsc::unbounded_channel();
        for number in 0..5 {
            let done = done.clone();
            start(Box::pin(async move {
                sleep(Duration::from_millis(50 - 10 * number)).await;
                done.send(number).unwrap();
            }));
        }
        drop(done);
        let mut seen = Vec::new();
        while let Some(number) = order.recv().await {
            seen.push(number);
        }
        seen
    }

    #[tokio::test]
    async fn tasks_overtake_each_other_and_work_in_a_queue_does_not() {
        let tasks = order_of(|work| drop(tokio::spawn(work))).await;
        assert_eq!(tasks, [4, 3, 2, 1, 0]);

        let in_order = InOrder::default();
        let in_a_queue = order_of(|work| in_order.add(work)).await;
        assert_eq!(in_a_queue, [0, 1, 2, 3, 4]);
    }

    #[tokio::test]
    async fn a_queue_is_full_until_its_work_is_done() {
        let in_order = InOrder::default();
        let (open, gate) = oneshot::channel::<()>();
        in_order.add(async { gate.await.unwrap() });
        for _ in 1..CAPACITY {
            assert!(!in_order.is_full());
            in_order.add(async {});
        }
        assert!(in_order.is_full());

        open.send(()).unwrap();
        let (done, finished) = oneshot::channel();
        in_order.add(async { done.send(()).unwrap() });
        finished.await.unwrap();
        assert!(!in_order.is_full());
    }
}
