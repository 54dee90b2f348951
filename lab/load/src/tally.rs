//! What was counted, and how long it took.

use std::{collections::BTreeMap, ops::AddAssign, time::Duration};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::metric::Metric;

/// What became of all that was tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Requests, messages, or connections that were begun.
    pub(crate) sent: u64,
    /// Answers, deliveries, or connections that came about.
    pub(crate) delivered: u64,
    /// Deliveries that never came, sockets that broke.
    pub(crate) lost: u64,
    /// Deliveries beyond the first.
    pub(crate) duplicated: u64,
    /// Deliveries after one that was sent later.
    pub(crate) reordered: u64,
    /// Answers with another status than was asked for.
    pub(crate) refused: u64,
    /// Connections that could not be had or broke, answers that were none.
    pub(crate) failed: u64,
}

impl Counts {
    /// What went wrong, in words, and how often; nothing if all went well.
    pub(crate) fn wrong(&self) -> Vec<(&'static str, u64)> {
        let mut wrong = vec![
            ("lost", self.lost),
            ("duplicated", self.duplicated),
            ("out of order", self.reordered),
            ("refused", self.refused),
            ("failed", self.failed),
        ];
        wrong.retain(|(_, count)| *count > 0);
        wrong
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.delivered += other.delivered;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.refused += other.refused;
        self.failed += other.failed;
    }
}

/// What one worker, or all of them, counted and timed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) counts: Counts,
    pub(crate) times: Times,
    /// When the last delivery came, by [`crate::clock`].
    pub(crate) last: u64,
}

impl AddAssign<&Self> for Tally {
    fn add_assign(&mut self, other: &Self) {
        self.counts += other.counts;
        self.times.add(&other.times);
        self.last = self.last.max(other.last);
    }
}

impl Tally {
    /// The tallies of several workers as one.
    pub(crate) fn of(tallies: &[Self]) -> Self {
        let mut sum = Self::default();
        for tally in tallies {
            sum += tally;
        }
        sum
    }
}

/// Times in microseconds, to three digits (HdrHistogram).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "Vec<(u64, u64)>", into = "Vec<(u64, u64)>")]
pub(crate) struct Times(Histogram<u64>);

/// Ten minutes; nothing here may take longer.
const LONGEST: u64 = 600_000_000;

impl Default for Times {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST, 3).expect("these bounds are good ones"))
    }
}

impl Times {
    pub(crate) fn record(&mut self, micros: u64) {
        self.0.saturating_record(micros.max(1));
    }

    fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    /// Quantiles and the longest, in milliseconds; none of nothing.
    pub(crate) fn figures(&self) -> BTreeMap<Metric, f64> {
        if self.0.is_empty() {
            return BTreeMap::new();
        }
        let quantile = |share| self.0.value_at_quantile(share) as f64 / 1_000.0;
        BTreeMap::from([
            (Metric::P50Ms, quantile(0.5)),
            (Metric::P99Ms, quantile(0.99)),
            (Metric::P999Ms, quantile(0.999)),
            (Metric::MaxMs, self.0.max() as f64 / 1_000.0),
        ])
    }
}

/// As [`Times`] take it.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Between processes, a histogram is its values and how often each was there.
impl From<Times> for Vec<(u64, u64)> {
    fn from(times: Times) -> Self {
        let recorded = times.0.iter_recorded();
        recorded
            .map(|value| (value.value_iterated_to(), value.count_at_value()))
            .collect()
    }
}

impl From<Vec<(u64, u64)>> for Times {
    fn from(recorded: Vec<(u64, u64)>) -> Self {
        let mut times = Self::default();
        for (value, count) in recorded {
            times.0.saturating_record_n(value, count);
        }
        times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_the_same_on_the_other_side_of_a_pipe() {
        let mut tally = Tally::default();
        for micros in 1..=1_000 {
            tally.times.record(micros * 10);
        }
        let sent = serde_json::to_string(&tally).unwrap();
        let received: Tally = serde_json::from_str(&sent).unwrap();
        let (here, there) = (tally.times.figures(), received.times.figures());
        assert_eq!(here, there);
        assert!((here[&Metric::P50Ms] - 5.0).abs() < 0.01, "{here:?}");
    }

    #[test]
    fn what_two_workers_counted_is_added() {
        let mut one = Tally::default();
        one.counts.sent = 2;
        one.times.record(1_000);
        one.last = 7;
        let mut other = Tally::default();
        other.counts.sent = 3;
        other.times.record(9_000);
        let sum = Tally::of(&[one, other]);
        assert_eq!((sum.counts.sent, sum.last), (5, 7));
        assert!((sum.times.figures()[&Metric::MaxMs] - 9.0).abs() < 0.01);
    }
}
