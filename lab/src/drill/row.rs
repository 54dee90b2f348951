//! What one drill found with one config or setting.

use std::{cmp::Ordering, time::Duration};

use super::table::COLUMNS;
use crate::event::Event;

/// What was lost when something happened under traffic, with one config or setting.
#[derive(Clone, Debug)]
pub struct Row {
    /// What happened.
    pub event: String,
    /// With which config or setting.
    pub config: String,
    /// How many of `what` were sent while it happened.
    pub sent: usize,
    /// Requests, messages, sockets, …
    pub what: &'static str,
    /// How many of them got no good answer, or never arrived.
    pub lost: usize,
    /// How many arrived, or were executed, more than once; where it matters.
    pub twice: Option<usize>,
    /// How many arrived after a later one; where it matters.
    pub late: Option<usize>,
    /// Of how many the sender does not know that they arrived; where it matters.
    pub unknown: Option<usize>,
    /// How many of the lost the sender takes for delivered; where it matters.
    pub untold: Option<usize>,
    /// How long it took until all was well again; none if nobody noticed anything.
    pub back: Option<Duration>,
    promise: Promise,
    may_repeat: bool,
    within: Option<Duration>,
    conditions: Vec<(String, bool)>,
}

/// What may be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Promise {
    Nothing,
    AtMost(usize),
    /// Something must be: this is the config whose failure is shown.
    Something,
    /// It is counted, and nothing is said about it beforehand.
    Counted,
}

impl Row {
    /// A row that promises to keep everything, until it is told otherwise.
    pub fn new(event: impl Into<String>, config: impl Into<String>) -> Self {
        Self {
            event: event.into(),
            config: config.into(),
            sent: 0,
            what: "requests",
            lost: 0,
            twice: None,
            late: None,
            unknown: None,
            untold: None,
            back: None,
            promise: Promise::Nothing,
            may_repeat: false,
            within: None,
            conditions: Vec::new(),
        }
    }

    /// So many `what` were sent, and so many of them were lost.
    #[must_use]
    pub fn counted(mut self, sent: usize, what: &'static str, lost: usize) -> Self {
        (self.sent, self.what, self.lost) = (sent, what, lost);
        self
    }

    /// So many arrived, or were executed, more than once.
    #[must_use]
    pub fn twice(mut self, twice: usize) -> Self {
        self.twice = Some(twice);
        self
    }

    /// So many arrived after a later one.
    #[must_use]
    pub fn late(mut self, late: usize) -> Self {
        self.late = Some(late);
        self
    }

    /// Of so many the sender does not know that they arrived.
    #[must_use]
    pub fn unknown(mut self, unknown: usize) -> Self {
        self.unknown = Some(unknown);
        self
    }

    /// So many of the lost the sender takes for delivered.
    #[must_use]
    pub fn untold(mut self, untold: usize) -> Self {
        self.untold = Some(untold);
        self
    }

    /// All was well again after so long; none if nobody noticed anything.
    #[must_use]
    pub fn back_after(mut self, back: Option<Duration>) -> Self {
        self.back = back;
        self
    }

    /// Allows that some arrive, or are executed, more than once.
    #[must_use]
    pub fn may_repeat(mut self) -> Self {
        self.may_repeat = true;
        self
    }

    /// Promises that something is lost or arrives twice: the failure that is shown before its fix.
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

    /// Promises nothing about how many are lost.
    #[must_use]
    pub fn loses_some(mut self) -> Self {
        self.promise = Promise::Counted;
        self
    }

    /// Promises that all is well again within that time.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.within = Some(limit);
        self
    }

    /// Promises something else, a sentence such as `no message came out of order`.
    #[must_use]
    pub fn and(mut self, promise: impl Into<String>, held: bool) -> Self {
        self.conditions.push((promise.into(), held));
        self
    }

    /// Whether the row kept what it promises.
    pub fn holds(&self) -> bool {
        self.broken().is_empty()
    }

    /// What it promised and did not keep.
    fn broken(&self) -> Vec<String> {
        let twice = self.twice.unwrap_or_default();
        let kept = match self.promise {
            Promise::Nothing => self.lost == 0,
            Promise::AtMost(most) => self.lost <= most,
            Promise::Something => self.lost > 0 || twice > 0,
            Promise::Counted => true,
        };
        let once = self.may_repeat || self.promise == Promise::Something || twice == 0;
        let in_order = self.promise == Promise::Something || self.late.unwrap_or_default() == 0;
        let in_time = self
            .within
            .is_none_or(|limit| self.back.is_none_or(|back| back <= limit));
        // A drill in which nothing was sent shows nothing.
        let mut broken = Vec::new();
        for (promise, held) in [
            ("something was sent".to_owned(), self.sent > 0),
            (self.promise(), kept),
            ("nothing arrives twice".to_owned(), once),
            ("nothing arrives late".to_owned(), in_order),
            (self.time_promised(), in_time),
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
            Promise::Something => "this fails".to_owned(),
            Promise::Counted => "the lost are counted".to_owned(),
        }
    }

    fn time_promised(&self) -> String {
        self.within.map_or_else(String::new, |limit| {
            format!("all is well within {}", time(limit))
        })
    }

    /// What the drill claims of this row, and what was seen.
    pub(super) fn claim(&self) -> Event {
        let mut text = format!("{}, {}: {}", self.event, self.config, self.promise());
        if self.within.is_some() {
            text = format!("{text}, {}", self.time_promised());
        }
        let mut seen = format!("{} {}, {} lost", self.sent, self.what, self.lost);
        if let Some(twice) = self.twice {
            seen = format!("{seen}, {twice} twice");
        }
        if let Some(late) = self.late {
            seen = format!("{seen}, {late} late");
        }
        if let Some(unknown) = self.unknown {
            seen = format!("{seen}, {unknown} unknown");
        }
        if let Some(untold) = self.untold {
            seen = format!("{seen}, {untold} untold");
        }
        if let Some(back) = self.back {
            seen = format!("{seen}, well after {}", time(back));
        }
        let broken = self.broken();
        if !broken.is_empty() {
            seen = format!("{seen}; not so: {}", broken.join("; "));
        }
        Event::Claim {
            text,
            seen,
            held: broken.is_empty(),
        }
    }

    /// Takes over what was worse in another round.
    pub(super) fn worsen(&mut self, other: &Self) {
        // What was sent belongs to what was lost of it; of equals, the fewest.
        (self.lost, self.sent) = match self.lost.cmp(&other.lost) {
            Ordering::Less => (other.lost, other.sent),
            Ordering::Equal => (self.lost, self.sent.min(other.sent)),
            Ordering::Greater => (self.lost, self.sent),
        };
        self.twice = self.twice.max(other.twice);
        self.late = self.late.max(other.late);
        self.unknown = self.unknown.max(other.unknown);
        self.untold = self.untold.max(other.untold);
        self.back = self.back.max(other.back);
    }

    /// What it says in each column of the table.
    pub(super) fn cells(&self) -> [String; COLUMNS] {
        [
            self.event.clone(),
            self.config.clone(),
            format!("{} {}", self.sent, self.what),
            self.lost.to_string(),
            count(self.twice),
            count(self.late),
            count(self.unknown),
            count(self.untold),
            self.back.map_or(NONE.to_owned(), time),
        ]
    }
}

/// Where a row has nothing to say.
pub(super) const NONE: &str = "–";

fn count(count: Option<usize>) -> String {
    count.map_or(NONE.to_owned(), |count| count.to_string())
}

/// A time as a person says it: `12 ms`, `0.73 s`, `10.2 s`.
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

    /// Some of a hundred requests and more were lost.
    pub(in super::super) fn row(lost: usize, back: u64) -> Row {
        Row::new("B dies", "default")
            .counted(100 + lost, "requests", lost)
            .back_after(Some(Duration::from_millis(back)))
    }

    #[test]
    fn a_row_holds_if_it_kept_what_it_promises() {
        assert!(row(0, 10).holds());
        assert!(!row(1, 10).holds());
        assert!(!row(0, 10).twice(1).holds());
        assert!(row(0, 10).twice(1).may_repeat().holds());
        assert!(!row(1, 10).twice(1).may_repeat().holds());
        assert!(row(1, 10).loses_something().holds());
        assert!(!row(0, 10).loses_something().holds());
        assert!(row(2, 10).loses_at_most(2).holds());
        assert!(!row(3, 10).loses_at_most(2).holds());
        assert!(!row(0, 2001).within(Duration::from_secs(2)).holds());
        assert!(!row(0, 10).and("in order", false).holds());
        assert!(
            !Row::new("B dies", "default").holds(),
            "nothing was sent, so nothing was seen"
        );
    }

    #[test]
    fn what_came_late_is_a_failure_but_where_one_is_to_be_shown() {
        assert!(!row(0, 10).late(1).holds());
        assert!(row(1, 10).late(1).loses_something().holds());
    }
}
