//! A Socket.IO client that comes back: what the official one does by itself.
//!
//! Source: the official client's options `reconnectionDelay`, `reconnectionDelayMax` and
//! `randomizationFactor`, <https://socket.io/docs/v4/client-options/#reconnection>.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use serde_json::Value;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use crate::client::{Client, Socket, Transport};

/// `reconnectionDelay`, which doubles with each attempt …
const DELAY: Duration = Duration::from_secs(1);
/// … up to `reconnectionDelayMax`.
const DELAY_MAX: Duration = Duration::from_secs(5);
/// `randomizationFactor`: the delay is so much shorter or longer, by chance.
const RANDOMIZATION: f64 = 0.5;

/// A client that connects, and connects again whenever its connection is gone. Dropping
/// it ends it.
pub struct Returning {
    name: String,
    transport: Transport,
    record: Arc<watch::Sender<Record>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Record {
    visits: Vec<Visit>,
    heard: Vec<Heard>,
    refusals: Vec<String>,
}

/// One session, from its beginning to its end.
#[derive(Clone, Debug, PartialEq)]
pub struct Visit {
    /// `socket.id`: another session has another one.
    pub id: String,
    /// The server that holds it, where nginx says which one it is.
    pub server: Option<SocketAddr>,
    /// When it began.
    pub from: Instant,
    /// When the client noticed that it had ended; none while it lasts.
    pub until: Option<Instant>,
}

/// An event that a client heard.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// In which of its sessions; the first is 0.
    pub visit: usize,
    /// Its name.
    pub event: String,
    /// Its first argument.
    pub argument: Value,
}

impl Returning {
    /// A client that comes and stays; `auth` is the handshake's payload.
    pub fn start(client: Client, transport: Transport, auth: Option<Value>) -> Self {
        // Nobody looks at a record of its packets, which would grow for ever.
        let client = client.telling(|_| {});
        let record = Arc::new(watch::Sender::default());
        Self {
            name: client.name().to_owned(),
            transport,
            record: Arc::clone(&record),
            task: tokio::spawn(come_again_and_again(client, transport, auth, record)),
        }
    }

    /// The client's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it connects.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// All its sessions so far.
    pub fn visits(&self) -> Vec<Visit> {
        self.record.borrow().visits.clone()
    }

    /// All that it has heard since this was last asked.
    pub fn take_heard(&self) -> Vec<Heard> {
        let mut heard = Vec::new();
        self.record
            .send_modify(|record| heard = std::mem::take(&mut record.heard));
        heard
    }

    /// Why attempts to connect have failed.
    pub fn refusals(&self) -> Vec<String> {
        self.record.borrow().refusals.clone()
    }

    /// Waits until it has had `visits` sessions, and is in the last. Returns whether that
    /// came within the given time.
    pub async fn is_there(&self, visits: usize, within: Duration) -> bool {
        let mut changes = self.record.subscribe();
        let there = changes.wait_for(|record| {
            record.visits.len() >= visits
                && record
                    .visits
                    .last()
                    .is_some_and(|visit| visit.until.is_none())
        });
        timeout(within, there)
            .await
            .is_ok_and(|there| there.is_ok())
    }

    /// Waits until it has heard an event for which `wanted` says so. Returns whether that
    /// came within the given time.
    pub async fn has_heard(&self, wanted: impl Fn(&Heard) -> bool, within: Duration) -> bool {
        let mut changes = self.record.subscribe();
        let heard = changes.wait_for(|record| record.heard.iter().any(&wanted));
        timeout(within, heard)
            .await
            .is_ok_and(|heard| heard.is_ok())
    }
}

impl Drop for Returning {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn come_again_and_again(
    client: Client,
    transport: Transport,
    auth: Option<Value>,
    record: Arc<watch::Sender<Record>>,
) {
    let mut attempts = 0;
    loop {
        match Socket::connect(&client, transport, auth.as_ref()).await {
            Ok(socket) => {
                attempts = 0;
                stay(socket, &record).await;
            }
            Err(error) => {
                // Only a session that was open can be unknown. To the official client it
                // was a success, after which its delay begins anew.
                if error.refusal().is_some_and(|answer| answer.status == 400) {
                    attempts = 0;
                }
                record.send_modify(|record| record.refusals.push(error.to_string()));
            }
        }
        sleep(reconnection_delay(attempts, fastrand::f64())).await;
        attempts += 1;
    }
}

/// Listens until the session has ended.
async fn stay(mut socket: Socket, record: &watch::Sender<Record>) {
    record.send_modify(|record| {
        record.visits.push(Visit {
            id: socket.id.clone(),
            server: socket.owner,
            from: Instant::now(),
            until: None,
        });
    });
    while let Some((event, argument)) = socket.next_event().await {
        record.send_modify(|record| {
            record.heard.push(Heard {
                visit: record.visits.len() - 1,
                event,
                argument,
            });
        });
    }
    record.send_modify(|record| {
        if let Some(visit) = record.visits.last_mut() {
            visit.until = Some(Instant::now());
        }
    });
}

/// How long the official client waits before it tries again, after so many attempts in
/// vain. `chance` is from 0 to 1.
pub fn reconnection_delay(attempts: u32, chance: f64) -> Duration {
    let delay = DELAY * 2_u32.saturating_pow(attempts.min(8));
    let factor = 1.0 + RANDOMIZATION * (2.0 * chance - 1.0);
    delay.mul_f64(factor).min(DELAY_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_is_that_of_the_official_client() {
        let delays = |attempts| {
            [0.0, 0.5, 1.0].map(|chance| reconnection_delay(attempts, chance).as_millis())
        };
        assert_eq!(delays(0), [500, 1000, 1500]);
        assert_eq!(delays(1), [1000, 2000, 3000]);
        assert_eq!(delays(3), [4000, 5000, 5000]);
        assert_eq!(reconnection_delay(1000, 0.0), DELAY_MAX);
    }
}
