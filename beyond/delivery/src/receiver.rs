//! The receiver's program: it takes messages, and reconnects when its connection breaks.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ch05_redis_pubsub::link::Private;
use drills::reconnection_delay;
use lab::{
    Client, Socket, Transport,
    client::{Error, Received},
};
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep},
};

use crate::{
    Way,
    kept::{BEGINNING, Entry, NOTIFICATION},
    retried::Taken,
};

/// How long a client that follows its history waits for a notification before it asks by itself.
const QUIET: Duration = Duration::from_secs(1);

/// The messages that a receiver's application got, and when. Clones are the same record.
#[derive(Clone, Default)]
pub(super) struct Record(Arc<Mutex<Vec<(u64, Instant)>>>);

impl Record {
    pub(super) fn entries(&self) -> MutexGuard<'_, Vec<(u64, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Receiver {
    client: Client,
    way: Way,
    record: Record,
    taken: Taken,
    /// The last message of its history that it has seen.
    seen: String,
}

impl Receiver {
    pub(super) fn new(client: Client, way: Way, record: Record) -> Self {
        Self {
            client,
            way,
            record,
            taken: Taken::default(),
            seen: BEGINNING.to_owned(),
        }
    }

    /// Receives until `cuts` is closed. Each time in it cuts the connection, for that long.
    /// `connected` is told of the first connection.
    pub(super) async fn run(
        mut self,
        mut cuts: mpsc::UnboundedReceiver<Duration>,
        connected: oneshot::Sender<()>,
    ) {
        let mut connected = Some(connected);
        let mut attempts = 0;
        loop {
            match self.connect().await {
                Ok(mut socket) => {
                    attempts = 0;
                    if let Some(connected) = connected.take() {
                        // If this fails, nobody waits for it.
                        let _unheard = connected.send(());
                    }
                    tokio::select! {
                        () = self.listen(&mut socket) => {}
                        time = cuts.recv() => {
                            drop(socket);
                            let Some(time) = time else { return };
                            sleep(time).await;
                            continue;
                        }
                    }
                }
                Err(_) if cuts.is_closed() => return,
                Err(_) => {}
            }
            // Without the official client's random part, which is for many clients.
            sleep(reconnection_delay(attempts, 0.5)).await;
            attempts += 1;
        }
    }

    async fn connect(&self) -> Result<Socket, Error> {
        let mut auth = json!({ "user": self.client.name() });
        if self.way == Way::Kept {
            auth["seen"] = json!(self.seen);
        }
        Socket::connect(&self.client, Transport::WebSocket, Some(&auth)).await
    }

    /// Takes messages until the connection breaks.
    async fn listen(&mut self, socket: &mut Socket) {
        loop {
            let quiet = sleep(QUIET);
            tokio::select! {
                heard = socket.next_received() => match heard {
                    Some(heard) => self.hear(socket, heard).await,
                    None => return,
                },
                () = quiet, if self.way == Way::Kept => self.catch_up(socket).await,
            }
        }
    }

    async fn hear(&mut self, socket: &Socket, heard: Received) {
        match heard.event.as_str() {
            "message" => {
                if let Some(number) = number_in(&heard.argument) {
                    self.take(number);
                }
                // Only now: an acknowledged message has been taken. If this fails, the connection
                // is broken, and the sender is not sure.
                let _sent = socket.acknowledge(&heard, &json!(true));
            }
            "missed" => {
                self.take_entries(heard.argument);
                // There may be more messages than one answer contains.
                self.catch_up(socket).await;
            }
            NOTIFICATION if heard.argument.as_str() != Some(&self.seen) => {
                self.catch_up(socket).await;
            }
            _ => {}
        }
    }

    /// Asks for the messages after the last one that it has seen, until there are no more.
    async fn catch_up(&mut self, socket: &Socket) {
        while let Ok(entries) = socket.ask("since", &json!(self.seen)).await {
            if !self.take_entries(entries) {
                return;
            }
        }
    }

    /// Takes messages from the history. Returns whether there were any.
    fn take_entries(&mut self, entries: Value) -> bool {
        let entries: Vec<Entry> = serde_json::from_value(entries).unwrap_or_default();
        for entry in &entries {
            self.seen.clone_from(&entry.id);
            if let Ok(number) = entry.message.text.parse() {
                self.take(number);
            }
        }
        !entries.is_empty()
    }

    /// Gives a message to the application. A message that may be repeated is given only once.
    fn take(&mut self, number: u64) {
        if !self.way.repeats() || self.taken.is_new(number) {
            self.record.entries().push((number, Instant::now()));
        }
    }
}

fn number_in(message: &Value) -> Option<u64> {
    let message: Private = serde_json::from_value(message.clone()).ok()?;
    message.text.parse().ok()
}
