//! A lane: what one client asks for is done in the order in which it asked.
//!
//! socketioxide calls a handler in the order of a client's messages, but each future that
//! a handler returns becomes a task of its own. A message that waits (for a Redis that
//! does not answer) is then overtaken by the next one, which already knows that Redis is
//! gone. So a handler does not return its work: it puts it into the client's lane, and one
//! task does what is in there, one after the other.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// How many messages of one client may wait. One more is refused, and its sender told.
const CAPACITY: usize = 1024;

/// One client's lane. Clones are the same lane.
#[derive(Clone, Default)]
pub(crate) struct Lane {
    // A `std::sync::Mutex` and not Tokio's: it is never held across an `.await`.
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Default)]
struct Waiting {
    work: VecDeque<Work>,
    /// Whether a task is there that does it. None is kept for a client that says nothing.
    is_attended: bool,
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Lane {
    /// Whether the client has asked for as much as may wait.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting().work.len() >= CAPACITY
    }

    /// Has `work` done after all that came before it.
    pub(crate) fn enter(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut waiting = self.waiting();
        waiting.work.push_back(Box::pin(work));
        if !waiting.is_attended {
            waiting.is_attended = true;
            tokio::spawn(self.clone().attend());
        }
    }

    async fn attend(self) {
        while let Some(work) = self.next() {
            work.await;
        }
    }

    /// The next piece of work; without one, whoever comes next needs a new task.
    fn next(&self) -> Option<Work> {
        let mut waiting = self.waiting();
        let next = waiting.work.pop_front();
        waiting.is_attended = next.is_some();
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

    /// The first waits longest, as for a Redis that does not answer.
    async fn order_of(begin: impl Fn(Work)) -> Vec<u64> {
        let (done, mut order) = mpsc::unbounded_channel();
        for number in 0..5 {
            let done = done.clone();
            begin(Box::pin(async move {
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
    async fn tasks_overtake_each_other_and_work_in_a_lane_does_not() {
        let tasks = order_of(|work| drop(tokio::spawn(work))).await;
        assert_eq!(tasks, [4, 3, 2, 1, 0]);

        let lane = Lane::default();
        let in_a_lane = order_of(|work| lane.enter(work)).await;
        assert_eq!(in_a_lane, [0, 1, 2, 3, 4]);
    }

    #[tokio::test]
    async fn a_lane_is_full_until_its_work_is_done() {
        let lane = Lane::default();
        let (open, gate) = oneshot::channel::<()>();
        lane.enter(async { gate.await.unwrap() });
        for _ in 1..CAPACITY {
            assert!(!lane.is_full());
            lane.enter(async {});
        }
        assert!(lane.is_full());

        open.send(()).unwrap();
        let (done, finished) = oneshot::channel();
        lane.enter(async { done.send(()).unwrap() });
        finished.await.unwrap();
        assert!(!lane.is_full());
    }
}
