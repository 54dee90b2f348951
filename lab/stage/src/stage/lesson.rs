//! The lesson's titles, notes and claims.

use super::Stage;
use crate::{
    client::Client,
    seen::event::{Event, Expected},
};

impl Stage {
    /// Begins the next experiment.
    pub fn step(&self, title: &str) {
        self.ground.journal.record(Event::Step {
            title: title.to_owned(),
        });
    }

    /// Explains a result.
    pub fn note(&self, text: impl Into<String>) {
        self.ground
            .journal
            .record(Event::Note { text: text.into() });
    }

    /// Claims something. `held` says whether the result agrees.
    pub fn claim(&self, text: impl Into<String>, held: bool) {
        self.claim_seen(text, "", held);
    }

    /// The same, and shows the result: a figure or a name.
    pub fn claim_seen(&self, text: impl Into<String>, seen: impl Into<String>, held: bool) {
        self.ground.journal.record(Event::Claim {
            text: text.into(),
            seen: seen.into(),
            expects: Expected::Success,
            held,
        });
    }

    /// Claims that something fails. The lesson has predicted this failure.
    pub fn claim_failure(&self, text: impl Into<String>, seen: impl Into<String>, failed: bool) {
        self.ground.journal.record(Event::Claim {
            text: text.into(),
            seen: seen.into(),
            expects: Expected::Failure,
            held: failed,
        });
    }

    /// Adds another event to the list, and shows it.
    pub fn record(&self, event: Event) {
        self.ground.journal.record(event);
    }

    /// From now on, shows events or not. They are recorded in both cases.
    pub fn mute(&self, is_muted: bool) {
        self.ground.journal.mute(is_muted);
    }

    /// A client of this stage. Everything that it sends and receives is shown.
    pub fn client(&self, name: impl Into<String>, url: &str) -> Client {
        self.shown(Client::new(name, url))
    }

    /// The same client, but from now on everything that it sends and receives is shown.
    #[must_use]
    pub fn shown(&self, client: Client) -> Client {
        let journal = self.ground.journal.clone();
        client.telling(move |event| journal.record(event))
    }

    /// Prints how many claims held, and which did not. Returns whether all held.
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

    /// From now on, shows each request and each line of a server as it comes.
    pub fn show_all(&self) {
        self.note("\nEach request, and what the servers write, is shown here:");
        self.ground.journal.show_all();
    }
}
