//! What one drill found with one config or setting.

use std::{cmp::Ordering, time::Duration};

use lab::event::{Event, Expected};

/// What was lost when something happened under traffic, with one config or setting.
///
/// A count that is `None` does not apply to this row.
#[derive(Clone, Debug)]
pub struct Row {
    /// What happened.
    pub event: String,
    /// The config or setting.
    pub config: String,
    /// How many were sent while it happened.
    pub sent: usize,
    /// What was sent: requests, messages, sockets, …
    pub what: &'static str,
    /// How many of them got no good answer, or never arrived.
    pub lost: usize,
    /// How many arrived, or were executed, more than once.
    pub duplicates: Option<usize>,
    /// How many arrived after a later one.
    pub out_of_order: Option<usize>,
    /// For how many the sender got no confirmation.
    pub sender_not_sure: Option<usize>,
    /// How many were lost although the sender was told that they had arrived.
    pub lost_told_ok: Option<usize>,
    /// How long it took until everything worked again. `None` if nothing failed, or if it never
    /// worked again.
    pub recovered_after: Option<Duration>,
    promise: Promise,
    may_repeat: bool,
    conditions: Vec<(String, bool)>,
}

/// What may be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Promise {
    Nothing,
    AtMost(usize),
    /// Something must be lost, or arrive twice: the row shows a failure.
    Something,
    /// Losses are counted, and any number is accepted.
    Counted,
}

/// How a row compares with what it promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It keeps its promise, and nothing was lost.
    Works,
    /// It keeps its promise, and the promise was that something is lost.
    FailsAsPredicted,
    /// It breaks its promise.
    Broken,
}

impl Verdict {
    /// The worse of the two: of several rounds, the table shows the worst.
    pub(super) fn or_worse(self, other: Self) -> Self {
        match (self, other) {
            (Self::Broken, _) | (_, Self::Broken) => Self::Broken,
            (Self::FailsAsPredicted, _) | (_, Self::FailsAsPredicted) => Self::FailsAsPredicted,
            (Self::Works, Self::Works) => Self::Works,
        }
    }
}

impl Row {
    /// A row that promises that nothing is lost, unless a method below says otherwise.
    pub fn new(event: impl Into<String>, config: impl Into<String>) -> Self {
        Self {
            event: event.into(),
            config: config.into(),
            sent: 0,
            what: "requests",
            lost: 0,
            duplicates: None,
            out_of_order: None,
            sender_not_sure: None,
            lost_told_ok: None,
            recovered_after: None,
            promise: Promise::Nothing,
            may_repeat: false,
            conditions: Vec::new(),
        }
    }

    /// Sets how many `what` were sent, and how many of them were lost.
    #[must_use]
    pub fn counted(mut self, sent: usize, what: &'static str, lost: usize) -> Self {
        (self.sent, self.what, self.lost) = (sent, what, lost);
        self
    }

    /// Sets [`Row::duplicates`].
    #[must_use]
    pub fn duplicates(mut self, duplicates: usize) -> Self {
        self.duplicates = Some(duplicates);
        self
    }

    /// Sets [`Row::out_of_order`].
    #[must_use]
    pub fn out_of_order(mut self, out_of_order: usize) -> Self {
        self.out_of_order = Some(out_of_order);
        self
    }

    /// Sets [`Row::sender_not_sure`].
    #[must_use]
    pub fn sender_not_sure(mut self, not_sure: usize) -> Self {
        self.sender_not_sure = Some(not_sure);
        self
    }

    /// Sets [`Row::lost_told_ok`].
    #[must_use]
    pub fn lost_told_ok(mut self, lost: usize) -> Self {
        self.lost_told_ok = Some(lost);
        self
    }

    /// Sets [`Row::recovered_after`].
    #[must_use]
    pub fn recovered_after(mut self, time: Option<Duration>) -> Self {
        self.recovered_after = time;
        self
    }

    /// Allows duplicates.
    #[must_use]
    pub fn may_repeat(mut self) -> Self {
        self.may_repeat = true;
        self
    }

    /// Predicts a failure: something is lost, or arrives twice.
    #[must_use]
    pub fn loses_something(mut self) -> Self {
        self.promise = Promise::Something;
        self
    }

    /// Promises that no more than `most` are lost.
    #[must_use]
    pub fn loses_at_most(mut self, most: usize) -> Self {
        self.promise = Promise::AtMost(most);
        self
    }

    /// Allows any number of losses. They are counted.
    #[must_use]
    pub fn may_lose(mut self) -> Self {
        self.promise = Promise::Counted;
        self
    }

    /// Adds another promise, a sentence such as `no message came out of order`.
    #[must_use]
    pub fn and(mut self, promise: impl Into<String>, held: bool) -> Self {
        self.conditions.push((promise.into(), held));
        self
    }

    /// Whether the row keeps its promises.
    pub fn holds(&self) -> bool {
        self.broken().is_empty()
    }

    pub(super) fn verdict(&self) -> Verdict {
        if !self.holds() {
            return Verdict::Broken;
        }
        match self.promise {
            Promise::Something => Verdict::FailsAsPredicted,
            Promise::Counted if self.lost > 0 => Verdict::FailsAsPredicted,
            _ => Verdict::Works,
        }
    }

    /// The promises that it breaks.
    fn broken(&self) -> Vec<String> {
        let duplicates = self.duplicates.unwrap_or_default();
        let kept = match self.promise {
            Promise::Nothing => self.lost == 0,
            Promise::AtMost(most) => self.lost <= most,
            Promise::Something => self.lost > 0 || duplicates > 0,
            Promise::Counted => true,
        };
        let once = self.may_repeat || self.promise == Promise::Something || duplicates == 0;
        let in_order =
            self.promise == Promise::Something || self.out_of_order.unwrap_or_default() == 0;
        // A drill in which nothing was sent shows nothing.
        let mut broken = Vec::new();
        for (promise, held) in [
            ("something was sent".to_owned(), self.sent > 0),
            (self.promise(), kept),
            ("there are no duplicates".to_owned(), once),
            ("all arrive in order".to_owned(), in_order),
        ]
        .into_iter()
        .chain(self.conditions.iter().cloned())
        {
            if !held {
                broken.push(promise);
            }
        }
        broken
    }

    fn promise(&self) -> String {
        match self.promise {
            Promise::Nothing if self.may_repeat => "nothing is lost, some may run twice".to_owned(),
            Promise::Nothing => "nothing is lost".to_owned(),
            Promise::AtMost(most) => format!("at most {most} are lost"),
            Promise::Something if self.lost == 0 && self.duplicates > Some(0) => {
                "some arrive twice".to_owned()
            }
            Promise::Something => "some are lost".to_owned(),
            Promise::Counted if self.lost > 0 => "some are lost".to_owned(),
            Promise::Counted => "some may be lost".to_owned(),
        }
    }

    /// The claim that this row keeps its promises, with its counts.
    pub(super) fn claim(&self) -> Event {
        let text = format!("{}, {}: {}", self.event, self.config, self.promise());
        let mut seen = format!("{} {}, {} lost", self.sent, self.what, self.lost);
        for (count, name) in [
            (self.duplicates, "duplicates"),
            (self.out_of_order, "out of order"),
            (self.sender_not_sure, "sender not sure"),
            (self.lost_told_ok, "lost, sender told OK"),
        ] {
            if let Some(count) = count {
                seen = format!("{seen}, {count} {name}");
            }
        }
        if let Some(recovered) = self.recovered_after {
            seen = format!("{seen}, recovered after {}", time(recovered));
        }
        let broken = self.broken();
        if !broken.is_empty() {
            seen = format!("{seen}; broken: {}", broken.join("; "));
        }
        let is_failure =
            self.promise == Promise::Something || self.promise == Promise::Counted && self.lost > 0;
        Event::Claim {
            text,
            seen,
            expects: if is_failure {
                Expected::Failure
            } else {
                Expected::Success
            },
            held: broken.is_empty(),
        }
    }

    /// Takes over the counts that were worse in another round.
    pub(super) fn worsen(&mut self, other: &Self) {
        // `sent` belongs to `lost`. If both rounds lost as many, the smaller `sent` is worse.
        (self.lost, self.sent) = match self.lost.cmp(&other.lost) {
            Ordering::Less => (other.lost, other.sent),
            Ordering::Equal => (self.lost, self.sent.min(other.sent)),
            Ordering::Greater => (self.lost, self.sent),
        };
        self.duplicates = self.duplicates.max(other.duplicates);
        self.out_of_order = self.out_of_order.max(other.out_of_order);
        self.sender_not_sure = self.sender_not_sure.max(other.sender_not_sure);
        self.lost_told_ok = self.lost_told_ok.max(other.lost_told_ok);
        self.recovered_after = self.recovered_after.max(other.recovered_after);
    }

    /// The cells of its line in the table.
    pub(super) fn cells(&self) -> [String; COLUMNS] {
        [
            self.event.clone(),
            self.config.clone(),
            format!("{} {}", self.sent, self.what),
            self.lost.to_string(),
            count(self.duplicates),
            count(self.out_of_order),
            count(self.sender_not_sure),
            count(self.lost_told_ok),
            self.recovered_after.map_or(NONE.to_owned(), time),
        ]
    }
}

/// How many cells a row has.
pub(super) const COLUMNS: usize = 9;

/// An empty cell.
pub(super) const NONE: &str = "–";

fn count(count: Option<usize>) -> String {
    count.map_or(NONE.to_owned(), |count| count.to_string())
}

/// A time such as `12 ms`, `0.73 s`, `10.2 s`.
fn time(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds < 0.1 => format!("{:.0} ms", seconds * 1000.0),
        seconds if seconds < 10.0 => format!("{seconds:.2} s"),
        seconds => format!("{seconds:.1} s"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A row of more than a hundred requests, some of them lost.
    pub(in super::super) fn row(lost: usize, recovered_after_ms: u64) -> Row {
        Row::new("B dies", "default")
            .counted(100 + lost, "requests", lost)
            .recovered_after(Some(Duration::from_millis(recovered_after_ms)))
    }

    #[test]
    fn a_row_holds_if_it_keeps_its_promises() {
        assert!(row(0, 10).holds());
        assert!(!row(1, 10).holds());
        assert!(!row(0, 10).duplicates(1).holds());
        assert!(row(0, 10).duplicates(1).may_repeat().holds());
        assert!(!row(1, 10).duplicates(1).may_repeat().holds());
        assert!(row(1, 10).loses_something().holds());
        assert!(!row(0, 10).loses_something().holds());
        assert!(row(2, 10).loses_at_most(2).holds());
        assert!(!row(3, 10).loses_at_most(2).holds());
        assert!(!row(0, 10).and("in order", false).holds());
        assert!(
            !Row::new("B dies", "default").holds(),
            "nothing was sent, so nothing was shown"
        );
    }

    #[test]
    fn out_of_order_breaks_a_promise_except_in_a_predicted_failure() {
        assert!(!row(0, 10).out_of_order(1).holds());
        assert!(row(1, 10).out_of_order(1).loses_something().holds());
    }

    #[test]
    fn a_loss_is_never_called_a_success() {
        for (row, expected) in [
            (row(0, 10), Expected::Success),
            (row(1, 10).loses_something(), Expected::Failure),
            (row(1, 10).may_lose(), Expected::Failure),
            (row(0, 10).may_lose(), Expected::Success),
        ] {
            let Event::Claim { expects, held, .. } = row.claim() else {
                panic!("a claim");
            };
            assert_eq!((expects, held), (expected, true), "{row:?}");
        }
    }

    #[test]
    fn the_claim_of_a_predicted_failure_names_it() {
        let Event::Claim { text, seen, .. } = row(3, 900).loses_something().claim() else {
            panic!("a claim");
        };
        assert_eq!(text, "B dies, default: some are lost");
        assert_eq!(seen, "103 requests, 3 lost, recovered after 0.90 s");
    }
}
