//! A Socket.IO client that reconnects, as the official client does by itself.
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

use lab::{Client, Socket, Transport};

/// `reconnectionDelay`, which doubles with each attempt …
const DELAY: Duration = Duration::from_secs(1);
/// … up to `reconnectionDelayMax`.
const DELAY_MAX: Duration = Duration::from_secs(5);
/// `randomizationFactor`: the delay is up to this share shorter or longer, at random.
const RANDOMIZATION: f64 = 0.5;

/// `timeout`: how long an attempt to connect may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A client that connects again whenever its connection breaks. Dropping it ends it.
pub struct ReconnectingClient {
    name: String,
    transport: Transport,
    record: Arc<watch::Sender<Record>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Record {
    sessions: Vec<Session>,
    heard: Vec<Heard>,
    refusals: Vec<String>,
}

/// One session, from its beginning to its end.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    /// `socket.id`: each session has a new one.
    pub id: String,
    /// The server that holds the session, if nginx names it in a header.
    pub server: Option<SocketAddr>,
    /// How many attempts it took to open it. The client was told how long to wait before each.
    pub attempts: u32,
    /// When it began.
    pub from: Instant,
    /// When the client noticed that it had ended; `None` while it lasts.
    pub until: Option<Instant>,
}

/// An event that a client received.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// The number of its session; the first is 0.
    pub session: usize,
    /// The event's name.
    pub event: String,
    /// The event's first argument.
    pub argument: Value,
}

impl ReconnectingClient {
    /// Connects, and stays connected. `auth` is the payload of the handshake.
    pub fn start(client: Client, transport: Transport, auth: Option<Value>) -> Self {
        // Nobody reads the packets, and a record of them would grow without end.
        let client = client.with_patience(TIMEOUT).telling(|_| {});
        let record = Arc::new(watch::Sender::default());
        Self {
            name: client.name().to_owned(),
            transport,
            record: Arc::clone(&record),
            task: tokio::spawn(connect_again_and_again(client, transport, auth, record)),
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
    pub fn sessions(&self) -> Vec<Session> {
        self.record.borrow().sessions.clone()
    }

    /// The events that it received since the last call.
    pub fn take_heard(&self) -> Vec<Heard> {
        let mut heard = Vec::new();
        self.record
            .send_modify(|record| heard = std::mem::take(&mut record.heard));
        heard
    }

    /// Why attempts to connect failed.
    pub fn refusals(&self) -> Vec<String> {
        self.record.borrow().refusals.clone()
    }

    /// Waits until it has had that many sessions, and is connected. Returns whether that
    /// happened within the time.
    pub async fn is_connected(&self, sessions: usize, within: Duration) -> bool {
        let mut changes = self.record.subscribe();
        let connected = changes.wait_for(|record| {
            record.sessions.len() >= sessions
                && record
                    .sessions
                    .last()
                    .is_some_and(|session| session.until.is_none())
        });
        timeout(within, connected)
            .await
            .is_ok_and(|connected| connected.is_ok())
    }

    /// Waits until it has received an event that is `wanted`. Returns whether that happened
    /// within the time.
    pub async fn has_heard(&self, wanted: impl Fn(&Heard) -> bool, within: Duration) -> bool {
        let mut changes = self.record.subscribe();
        let heard = changes.wait_for(|record| record.heard.iter().any(&wanted));
        timeout(within, heard)
            .await
            .is_ok_and(|heard| heard.is_ok())
    }
}

impl Drop for ReconnectingClient {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connect_again_and_again(
    client: Client,
    transport: Transport,
    auth: Option<Value>,
    record: Arc<watch::Sender<Record>>,
) {
    // `attempts` sets the delay. `tried` counts the attempts to open one session.
    let (mut attempts, mut tried) = (0, 0);
    loop {
        tried += 1;
        match Socket::connect(&client, transport, auth.as_ref()).await {
            Ok(socket) => {
                attempts = 0;
                receive_all(socket, tried, &record).await;
                tried = 0;
            }
            Err(error) => {
                // 400: the session was open, and then another server did not know it. The
                // official client counts that as a success, so its delay starts again.
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

/// Receives events until the session ends.
async fn receive_all(mut socket: Socket, attempts: u32, record: &watch::Sender<Record>) {
    record.send_modify(|record| {
        record.sessions.push(Session {
            id: socket.id.clone(),
            server: socket.owner,
            attempts,
            from: Instant::now(),
            until: None,
        });
    });
    while let Some((event, argument)) = socket.next_event().await {
        record.send_modify(|record| {
            record.heard.push(Heard {
                session: record.sessions.len() - 1,
                event,
                argument,
            });
        });
    }
    record.send_modify(|record| {
        if let Some(session) = record.sessions.last_mut() {
            session.until = Some(Instant::now());
        }
    });
}

/// How long the official client waits before its next attempt, after that many failed ones.
/// `chance` is a random number from 0 to 1.
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
