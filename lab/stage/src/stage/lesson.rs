//! What the lesson says.

use super::Stage;
use crate::{
    client::Client,
    seen::event::{Event, Expected},
};

impl Stage {
    /// Turns to the next experiment.
    pub fn step(&self, title: &str) {
        self.ground.journal.record(Event::Step {
            title: title.to_owned(),
        });
    }

    /// Says how to read what was seen.
    pub fn note(&self, text: impl Into<String>) {
        self.ground
            .journal
            .record(Event::Note { text: text.into() });
    }

    /// Claims something, and says whether what was seen agrees.
    pub fn claim(&self, text: impl Into<String>, held: bool) {
        self.claim_seen(text, "", held);
    }

    /// The same, and says what was seen: a figure, a name.
    pub fn claim_seen(&self, text: impl Into<String>, seen: impl Into<String>, held: bool) {
        self.ground.journal.record(Event::Claim {
            text: text.into(),
            seen: seen.into(),
            expects: Expected::Success,
            held,
        });
    }

    /// Claims that something fails, as the lesson has said it would.
    pub fn claim_failure(&self, text: impl Into<String>, seen: impl Into<String>, failed: bool) {
        self.ground.journal.record(Event::Claim {
            text: text.into(),
            seen: seen.into(),
            expects: Expected::Failure,
            held: failed,
        });
    }

    /// Adds something else to what was observed, and shows it.
    pub fn record(&self, event: Event) {
        self.ground.journal.record(event);
    }

    /// Whether from now on nothing is shown; it is recorded all the same.
    pub fn mute(&self, is_muted: bool) {
        self.ground.journal.mute(is_muted);
    }

    /// A client of this stage: what it sends and receives is shown.
    pub fn client(&self, name: impl Into<String>, url: &str) -> Client {
        self.shown(Client::new(name, url))
    }

    /// The same client, and from now on what it sends and receives is shown.
    #[must_use]
    pub fn shown(&self, client: Client) -> Client {
        let journal = self.ground.journal.clone();
        client.telling(move |event| journal.record(event))
    }

    /// Sums up: how many claims held, and which did not. Returns whether all did.
    pub(crate) fn conclude(&self) -> bool {
        let claims = self.ground.journal.claims();
        let failed: Vec<_> = claims
            .iter()
            .filter(|claim| matches!(claim, Event::Claim { held: false, .. }))
            .collect();
        let (held, claims) = (claims.len() - failed.len(), claims.len());
        self.note(format!("\n{held} of {claims} claims held"));
        for claim in &failed {
            self.ground.journal.show(claim);
        }
        held == claims
    }

    /// From now on, each request and each line of a server is shown as it comes.
    pub fn show_all(&self) {
        self.note("\nEach request, and what the servers write, shows up here:");
        self.ground.journal.show_all();
    }
}
