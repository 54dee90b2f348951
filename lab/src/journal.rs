//! The one list of what was observed, shown on the terminal as it grows.

use std::{
    io::Write,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::{
    event::{Event, Part},
    view::{self, Cast},
};

/// Records events in order and renders each once. Cloned handles share one list.
#[derive(Clone, Default)]
pub(crate) struct Journal {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    grown: Notify,
    // A `std::sync::Mutex` and not Tokio's: it is never held across an `.await`, and
    // one lock around list and terminal keeps both in the same order.
    inner: Mutex<Inner>,
    reader_gone: Notify,
}

#[derive(Default)]
struct Inner {
    events: Vec<Event>,
    claims: Vec<Event>,
    cast: Cast,
    /// Since when everything is shown.
    shows_all: Option<Instant>,
    muted: bool,
}

/// How many events are kept: a stage may stay up for days.
const KEPT: usize = 100_000;

impl Journal {
    /// A list that nobody sees grow.
    pub(crate) fn silent() -> Self {
        let journal = Self::default();
        journal.lock().muted = true;
        journal
    }

    /// Adds what was observed to the list and shows it.
    pub(crate) fn record(&self, event: Event) {
        let mut inner = self.lock();
        let is_shown = match inner.shows_all {
            None => !is_background(&event),
            Some(since) => !began_before(&event, since),
        };
        if is_shown {
            self.print(&mut inner, &event);
        }
        if matches!(event, Event::Claim { .. }) {
            inner.claims.push(event.clone());
        }
        if inner.events.len() == KEPT {
            inner.events.drain(..KEPT / 2);
        }
        inner.events.push(event);
        self.shared.grown.notify_waiters();
    }

    /// Shows an event that is on the list already.
    pub(crate) fn show(&self, event: &Event) {
        self.print(&mut self.lock(), event);
    }

    fn print(&self, inner: &mut Inner, event: &Event) {
        if inner.muted {
            return;
        }
        let text = view::render(event, &inner.cast);
        if writeln!(anstream::stdout(), "{text}").is_err() {
            // Nobody reads any more (`| head`): the stage ends, rather than panics.
            inner.muted = true;
            self.shared.reader_gone.notify_one();
        }
    }

    /// Waits for an event, or finds it on the list.
    pub(crate) async fn find(&self, wanted: impl Fn(&Event) -> bool) -> Event {
        loop {
            let grown = self.shared.grown.notified();
            tokio::pin!(grown);
            // Before the look at the list, so that nothing falls in between.
            grown.as_mut().enable();
            if let Some(event) = self.lock().events.iter().find(|event| wanted(event)) {
                return event.clone();
            }
            grown.await;
        }
    }

    /// From now on, the server at `address` is called `letter`.
    pub(crate) fn introduce(&self, letter: char, address: SocketAddr) {
        self.lock().cast.is(letter, address);
    }

    /// From now on, everything is shown: what begins now comes from outside.
    pub(crate) fn show_all(&self) {
        self.lock().shows_all = Some(Instant::now());
    }

    /// All claims so far.
    pub(crate) fn claims(&self) -> Vec<Event> {
        self.lock().claims.clone()
    }

    /// Waits until nobody reads the terminal's output any more.
    pub(crate) async fn reader_gone(&self) {
        self.shared.reader_gone.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere leaves a list that is still whole.
        self.shared
            .inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is not shown while a lesson runs: its clients tell what they see, and consoles
/// and logs would tell it twice, in an order that changes from run to run.
fn is_background(event: &Event) -> bool {
    matches!(
        event,
        Event::Forwarded(_)
            | Event::Said {
                part: Part::Server(_),
                ..
            }
    )
}

/// Whether nginx finished a request just now that it was asked before `since`: a
/// lesson's own connections end a moment after the lesson.
fn began_before(event: &Event, since: Instant) -> bool {
    matches!(event, Event::Forwarded(forwarded)
        if since.elapsed() < Duration::from_secs_f64(forwarded.seconds.max(0.0)))
}
