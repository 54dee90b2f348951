//! Requests at a given rate, whether or not their answers come in time.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// When a client's next request is due.
pub(crate) struct Schedule {
    due: Instant,
    pace: Duration,
}

impl Schedule {
    /// The first is due then, each other a pace later.
    pub(crate) fn new(due: Instant, pace: Duration) -> Self {
        Self { due, pace }
    }

    /// Waits for the client's turn. Returns since when its answer is waited for: since it
    /// was due, where an answer before it came too late for that. What was held up so is
    /// counted as held up (coordinated omission).
    pub(crate) async fn turn(&mut self) -> Instant {
        let due = self.due;
        self.due += self.pace;
        if due <= Instant::now() {
            return due;
        }
        sleep_until(due).await;
        Instant::now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_that_was_held_up_is_timed_from_when_it_was_due() {
        let pace = Duration::from_millis(10);
        let due = Instant::now().checked_sub(pace * 5).unwrap();
        let mut schedule = Schedule::new(due, pace);
        assert_eq!(schedule.turn().await, due);
        assert_eq!(schedule.turn().await, due + pace);
    }

    #[tokio::test]
    async fn a_request_in_time_is_timed_from_when_it_is_sent() {
        let pace = Duration::from_millis(2);
        let due = Instant::now() + pace;
        let mut schedule = Schedule::new(due, pace);
        assert!(schedule.turn().await >= due);
    }
}
