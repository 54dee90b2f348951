//! Counts numbered messages at one receiver.

use std::{collections::HashSet, ops::Range};

/// Counts the numbered messages that one receiver gets: lost, duplicated, out of order.
///
/// A receiver that reconnects has several sessions. Messages between two sessions are lost, but
/// within a session the numbers follow each other.
#[derive(Clone, Debug, Default)]
pub struct LossCounter {
    numbers: HashSet<u64>,
    latest: Option<u64>,
    latest_session: Option<usize>,
    received: usize,
    out_of_order: usize,
}

impl LossCounter {
    /// Counts a message of a receiver that has one session.
    pub fn receive(&mut self, number: u64) {
        let _gap = self.receive_in(0, number);
    }

    /// Counts a message that came in that session. Returns the numbers before it that are
    /// missing within the session.
    pub fn receive_in(&mut self, session: usize, number: u64) -> Range<u64> {
        self.received += 1;
        self.numbers.insert(number);
        self.out_of_order += usize::from(self.latest.is_some_and(|latest| number < latest));
        let gap = match (self.latest, self.latest_session) {
            (Some(latest), Some(same)) if same == session && number > latest => latest + 1..number,
            _ => 0..0,
        };
        self.latest = self.latest.max(Some(number));
        self.latest_session = Some(session);
        gap
    }

    /// How many messages came, duplicates included.
    pub fn received(&self) -> usize {
        self.received
    }

    /// Whether a message came.
    pub fn has(&self, number: u64) -> bool {
        self.numbers.contains(&number)
    }

    /// The greatest number that came.
    pub fn latest(&self) -> Option<u64> {
        self.latest
    }

    /// How many messages came that had come before.
    pub fn duplicates(&self) -> usize {
        self.received - self.numbers.len()
    }

    /// How many messages came after a later one, duplicates included.
    pub fn out_of_order(&self) -> usize {
        self.out_of_order
    }

    /// How many of the messages that were sent never came.
    pub fn lost(&self, sent: Range<u64>) -> usize {
        sent.filter(|number| !self.has(*number)).count()
    }
}

impl FromIterator<u64> for LossCounter {
    fn from_iter<I: IntoIterator<Item = u64>>(numbers: I) -> Self {
        let mut counter = Self::default();
        for number in numbers {
            counter.receive(number);
        }
        counter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_never_came_is_lost() {
        let counter: LossCounter = [0, 1, 4].into_iter().collect();
        assert_eq!(counter.lost(0..5), 2, "2 and 3");
        assert_eq!(counter.lost(0..7), 4, "5 and 6 too");
        assert_eq!(counter.lost(0..0), 0);
        assert_eq!((counter.duplicates(), counter.out_of_order()), (0, 0));
    }

    #[test]
    fn without_a_message_all_are_lost() {
        let counter = LossCounter::default();
        assert_eq!((counter.lost(0..3), counter.latest()), (3, None));
    }

    #[test]
    fn a_message_that_came_before_is_a_duplicate() {
        let counter: LossCounter = [0, 0, 1, 1, 1].into_iter().collect();
        assert_eq!(counter.duplicates(), 3);
        assert_eq!(counter.out_of_order(), 0);
        assert_eq!(counter.received(), 5);
        assert_eq!(counter.lost(0..2), 0);
    }

    #[test]
    fn a_message_after_a_later_one_is_out_of_order() {
        let counter: LossCounter = [0, 3, 1, 2, 4].into_iter().collect();
        assert_eq!(counter.out_of_order(), 2, "1 and 2");
        assert_eq!(counter.duplicates(), 0);
        assert_eq!(counter.latest(), Some(4));
    }

    #[test]
    fn a_duplicate_after_a_later_message_is_out_of_order_too() {
        let counter: LossCounter = [0, 2, 1, 1].into_iter().collect();
        assert_eq!((counter.duplicates(), counter.out_of_order()), (1, 2));
    }

    #[test]
    fn a_gap_is_reported_within_a_session_and_not_between_two() {
        let mut counter = LossCounter::default();
        let mut missing = Vec::new();
        for (session, number) in [(0, 4), (0, 5), (0, 8), (1, 12), (1, 13), (1, 15)] {
            missing.extend(counter.receive_in(session, number));
        }
        assert_eq!(missing, [6, 7, 14]);
        assert_eq!(counter.lost(4..16), 6, "6, 7, 9, 10, 11 and 14");
    }

    #[test]
    fn a_message_out_of_order_opens_no_gap() {
        let mut counter = LossCounter::default();
        for (session, number) in [(0, 5), (1, 3), (1, 6)] {
            let gap = counter.receive_in(session, number);
            assert!(gap.is_empty(), "{number}: {gap:?}");
        }
        assert_eq!(counter.out_of_order(), 1);
    }
}
