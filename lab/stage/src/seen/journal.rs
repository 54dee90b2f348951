//! The list of observed events. The terminal shows each event as it comes.

use std::{
    collections::{HashSet, VecDeque},
    io::Write,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::{
    seen::event::Event,
    seen::view::{self, Cast},
};

/// An event, with its number and its time.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The first event has number 1.
    pub number: usize,
    /// The time since the start of the stage.
    pub at: Duration,
    /// The event.
    pub event: Event,
}

/// Reads the list of observed events, from its beginning, and then each new event.
#[derive(Clone)]
pub struct Observer {
    journal: Journal,
    read: usize,
    since: Duration,
}

impl Observer {
    pub(crate) fn new(journal: Journal) -> Self {
        Self {
            journal,
            read: 0,
            since: Duration::ZERO,
        }
    }

    /// The same, but from the next event on. Requests that nginx got before are left out.
    #[must_use]
    pub fn from_now(mut self) -> Self {
        let inner = self.journal.lock();
        self.read = inner.forgotten + inner.events.len();
        drop(inner);
        self.since = self.journal.now();
        self
    }

    /// The events on the list that were not read yet.
    pub fn so_far(&mut self) -> Vec<Observed> {
        let inner = self.journal.lock();
        let unread = self.read.saturating_sub(inner.forgotten);
        let fresh: Vec<_> = inner.events.iter().skip(unread).cloned().collect();
        drop(inner);
        self.read = fresh.last().map_or(self.read, |last| last.number);
        fresh
    }

    /// Waits for new events, and returns at most the last `most` of them. If some are left out, there
    /// is a gap in the numbers.
    pub async fn next(&mut self, most: usize) -> Vec<Observed> {
        let fresh = self.journal.after(self.read, most).await;
        self.read = fresh.last().map_or(self.read, |last| last.number);
        let since = self.since;
        fresh
            .into_iter()
            .filter(|observed| !began_before(&observed.event, observed.at, since))
            .collect()
    }
}

/// Adds events to the list that the terminal does not show.
#[derive(Clone)]
pub struct Recorder {
    journal: Journal,
}

impl Recorder {
    pub(crate) fn new(journal: Journal) -> Self {
        Self { journal }
    }

    /// The client with this address reports its own requests. So lines of nginx's log about it are
    /// ignored.
    pub fn self_told(&self, address: Ipv4Addr) {
        self.journal.lock().self_told.insert(address.to_string());
    }

    /// Adds one event.
    pub fn record(&self, event: Event) {
        self.journal.record_unshown(event);
    }
}

/// Records events in order, and prints each one once. Cloned handles share one list.
#[derive(Clone, Default)]
pub struct Journal {
    shared: Arc<Shared>,
}

struct Shared {
    began: Instant,
    grown: Notify,
    // A `std::sync::Mutex` and not Tokio's: it is never held across an `.await`. One lock for both
    // the list and the terminal keeps them in the same order.
    inner: Mutex<Inner>,
    reader_gone: Notify,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            grown: Notify::default(),
            inner: Mutex::default(),
            reader_gone: Notify::default(),
        }
    }
}

#[derive(Default)]
struct Inner {
    events: VecDeque<Observed>,
    /// How many older events were dropped.
    forgotten: usize,
    claims: Vec<Event>,
    cast: Cast,
    /// Addresses of clients that report their own requests.
    self_told: HashSet<String>,
    /// The time from which everything is shown.
    shows_all: Option<Duration>,
    muted: bool,
}

/// How many events are kept: a stage may stay up for days.
const KEPT: usize = 100_000;

impl Journal {
    /// A list that is not printed.
    pub(crate) fn silent() -> Self {
        let journal = Self::default();
        journal.lock().muted = true;
        journal
    }

    /// From now on, prints events or not.
    pub(crate) fn mute(&self, is_muted: bool) {
        self.lock().muted = is_muted;
    }

    /// Adds an event to the list without printing it: only the page shows it.
    pub fn record_unshown(&self, event: Event) {
        self.keep(&mut self.lock(), event);
    }

    /// Adds an event to the list and prints it.
    pub fn record(&self, event: Event) {
        let mut inner = self.lock();
        if let Event::Forwarded(forwarded) = &event
            && inner.self_told.contains(&forwarded.client)
        {
            return;
        }
        let is_shown = match inner.shows_all {
            None => !event.is_background(),
            Some(since) => !began_before(&event, self.now(), since),
        };
        if is_shown {
            self.print(&mut inner, &event);
        }
        if matches!(event, Event::Claim { .. }) {
            inner.claims.push(event.clone());
        }
        self.keep(&mut inner, event);
    }

    fn keep(&self, inner: &mut Inner, event: Event) {
        if inner.events.len() == KEPT {
            inner.events.pop_front();
            inner.forgotten += 1;
        }
        inner.events.push_back(Observed {
            number: inner.forgotten + inner.events.len() + 1,
            at: self.now(),
            event,
        });
        self.shared.grown.notify_waiters();
    }

    /// Waits for events after that number, and returns at most the last `most` of them.
    async fn after(&self, number: usize, most: usize) -> Vec<Observed> {
        loop {
            let grown = self.shared.grown.notified();
            tokio::pin!(grown);
            grown.as_mut().enable();
            {
                let inner = self.lock();
                let known = inner.forgotten + inner.events.len();
                if number < known {
                    let fresh = (known - number).min(most).min(inner.events.len());
                    let first = inner.events.len() - fresh;
                    return inner.events.range(first..).cloned().collect();
                }
            }
            grown.await;
        }
    }

    /// Prints an event that is on the list already.
    pub(crate) fn show(&self, event: &Event) {
        self.print(&mut self.lock(), event);
    }

    fn print(&self, inner: &mut Inner, event: &Event) {
        if inner.muted {
            return;
        }
        let text = view::render(event, &inner.cast);
        if writeln!(anstream::stdout(), "{text}").is_err() {
            // The output is closed (`| head`): the stage ends and does not panic.
            inner.muted = true;
            self.shared.reader_gone.notify_one();
        }
    }

    /// The number of the last event.
    pub(crate) fn last(&self) -> usize {
        let inner = self.lock();
        inner.forgotten + inner.events.len()
    }

    /// Finds an event after that number on the list, or waits for it.
    pub(crate) async fn find_after(&self, number: usize, wanted: impl Fn(&Event) -> bool) -> Event {
        loop {
            let grown = self.shared.grown.notified();
            tokio::pin!(grown);
            // Enabled before the search, so that no new event is missed.
            grown.as_mut().enable();
            let is_wanted = |seen: &&Observed| seen.number > number && wanted(&seen.event);
            if let Some(seen) = self.lock().events.iter().find(is_wanted) {
                return seen.event.clone();
            }
            grown.await;
        }
    }

    /// From now on, the server at `address` is called `letter`.
    pub(crate) fn introduce(&self, letter: char, address: SocketAddr) {
        self.lock().cast.is(letter, address);
    }

    /// From now on, everything is shown. Requests now come from a learner.
    pub(crate) fn show_all(&self) {
        self.lock().shows_all = Some(self.now());
    }

    /// All claims so far.
    pub(crate) fn claims(&self) -> Vec<Event> {
        self.lock().claims.clone()
    }

    /// Waits until the output is closed.
    pub(crate) async fn reader_gone(&self) {
        self.shared.reader_gone.notified().await;
    }

    /// The time since the start of the stage.
    fn now(&self) -> Duration {
        self.shared.began.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere does not leave the list half changed.
        self.shared
            .inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether nginx got this request before `since`. `at` is the time at which nginx finished it. The
/// connections of an experiment end a moment after the experiment.
fn began_before(event: &Event, at: Duration, since: Duration) -> bool {
    matches!(event, Event::Forwarded(forwarded)
        if at.saturating_sub(since) < Duration::from_secs_f64(forwarded.seconds.max(0.0)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn an_event_before_a_number_is_not_found_after_it() {
        let journal = Journal::silent();
        let note = |text: &str| Event::Note { text: text.into() };
        journal.record(note("the first"));
        let last = journal.last();
        let found = journal.find_after(last, |_| true);
        assert!(timeout(Duration::ZERO, found).await.is_err());
        journal.record(note("the second"));
        let found = journal.find_after(last, |_| true).await;
        assert!(matches!(found, Event::Note { text } if text == "the second"));
    }
}
