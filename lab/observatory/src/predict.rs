//! Runs the experiment behind a question of the page, on the real stage.

use anyhow::{Context, Result, bail};
use lab::Transport;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

use crate::{
    clients::LOST_AFTER,
    director::Director,
    seat::{Addresses, Ledger, Seat, Status},
    trial::{COUNT, Outcome, Trial, WRITERS, of_clients, of_requests},
};

/// How long a trial waits until its clients are connected or refused.
const PATIENCE: Duration = Duration::from_secs(5);

impl Director<'_> {
    pub(crate) async fn predict(&mut self, question: usize, answer: usize) -> Result<Value> {
        let question = self
            .scene
            .questions
            .get(question)
            .context("the page has no question with this number")?;
        self.none_is_served_by_hand(&self.letters()).await?;
        self.clients.remove_all().await;
        let outcome = match question.trial {
            Trial::Requests { method, without } => self.requests(method, without).await?,
            Trial::Connect {
                method,
                transport,
                addresses,
            } => self.connect(method, transport, addresses).await?,
            Trial::Write { choice } => self.write(choice).await?,
        };
        Ok(json!({
            "answer": answer,
            "right": outcome.answer,
            "seen": outcome.seen,
            "why": question.why,
        }))
    }

    async fn requests(&mut self, method: &str, without: Option<char>) -> Result<Outcome> {
        self.start_all().await?;
        self.choose(method).await?;
        if let Some(letter) = without {
            self.stage.servers.kill(letter).await?;
        }
        let door = self.door()?;
        let answered = self.clients.request(COUNT, Addresses::One, &door).await?;
        Ok(of_requests(&answered, |server| self.letter(server)))
    }

    async fn connect(
        &mut self,
        method: &str,
        transport: Transport,
        addresses: Addresses,
    ) -> Result<Outcome> {
        self.start_all().await?;
        if let Some(switch) = &self.scene.switch
            && self.choice != Some(switch.chosen)
        {
            self.switch(switch.chosen).await?;
        }
        self.choose(method).await?;
        let door = self.door()?;
        // One after the other. If many connect at the same time, some succeed by chance.
        let mut seats = Vec::new();
        for _ in 0..COUNT {
            self.clients.add(1, transport, addresses, &door)?;
            let last_is_settled = |seats: &[Seat]| {
                seats
                    .last()
                    .is_some_and(|seat| seat.status != Status::Connecting)
            };
            seats = self.until(last_is_settled).await;
        }
        Ok(of_clients(&seats, |server| self.letter(server)))
    }

    async fn write(&mut self, choice: &str) -> Result<Outcome> {
        self.start_all().await?;
        if let Some(first) = self.scene.methods.first() {
            self.choose(first.name).await?;
        }
        if self.choice != Some(choice) {
            self.switch(choice).await?;
        }
        let door = self.door()?;
        self.clients
            .add(WRITERS, Transport::WebSocket, Addresses::ManySubnets, &door)?;
        let seats = self
            .until(|seats| seats.iter().all(|seat| seat.status == Status::Connected))
            .await;
        let near = seats.first().context("no client has connected")?;
        let Some(far) = seats.iter().find(|seat| seat.server != near.server) else {
            bail!("all clients are on one server, and the question needs two servers");
        };
        let before = self.clients.ledger();
        self.clients.say(&near.name, &far.name, "hi")?;
        let deadline = Instant::now() + LOST_AFTER * 2;
        let settled =
            |ledger: Ledger| ledger.delivered + ledger.lost > before.delivered + before.lost;
        while !settled(self.clients.ledger())
            && timeout_at(deadline, self.clients.changed()).await.is_ok()
        {
            self.tell_state();
        }
        let arrived = self.clients.ledger().delivered > before.delivered;
        let [from, to] = [near, far].map(|seat| match seat.server {
            Some(server) => format!("{} on {}", seat.name, self.letter(server)),
            None => seat.name.clone(),
        });
        Ok(Outcome {
            answer: usize::from(!arrived),
            seen: if arrived {
                format!("what {from} wrote reached {to}")
            } else {
                format!("what {from} wrote did not reach {to}")
            },
        })
    }

    /// Starts the servers that do not run: a trial needs all of them.
    async fn start_all(&mut self) -> Result<()> {
        for letter in self.letters() {
            if self.stage.servers.pid(letter).is_none() {
                self.stage.servers.start_one(letter).await?;
            }
        }
        Ok(())
    }

    /// Waits until the clients' states are as wished, but no longer than [`PATIENCE`].
    async fn until(&self, wished: impl Fn(&[Seat]) -> bool) -> Vec<Seat> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.tell_state();
            let seats = self.clients.seats();
            if wished(&seats) || timeout_at(deadline, self.clients.changed()).await.is_err() {
                return seats;
            }
        }
    }
}
