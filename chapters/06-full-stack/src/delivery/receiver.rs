//! The receiver's program: it comes back when its connection breaks, and takes messages.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ch05_redis_pubsub::link::Private;
use lab::{
    Client, Socket, Transport,
    client::{Error, Received},
    reconnection_delay,
};
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep},
};

use super::{
    Rung,
    kept::{BEGINNING, Entry},
    retried::Taken,
};

/// How long a client that follows its history waits for a ring before it asks by itself.
const QUIET: Duration = Duration::from_secs(1);

/// What a receiver's application was given, and when. Clones are the same record.
#[derive(Clone, Default)]
pub(super) struct Record(Arc<Mutex<Vec<(u64, Instant)>>>);

impl Record {
    pub(super) fn entries(&self) -> MutexGuard<'_, Vec<(u64, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Receiver {
    client: Client,
    rung: Rung,
    record: Record,
    taken: Taken,
    /// The last message of its history that it has seen.
    seen: String,
}

impl Receiver {
    pub(super) fn new(client: Client, rung: Rung, record: Record) -> Self {
        Self {
            client,
            rung,
            record,
            taken: Taken::default(),
            seen: BEGINNING.to_owned(),
        }
    }

    /// Receives until `away` is closed. A time in it cuts the connection, for that long.
    /// `connected` hears of the first connection.
    pub(super) async fn run(
        mut self,
        mut away: mpsc::UnboundedReceiver<Duration>,
        connected: oneshot::Sender<()>,
    ) {
        let mut connected = Some(connected);
        let mut attempts = 0;
        loop {
            match self.connect().await {
                Ok(mut socket) => {
                    attempts = 0;
                    if let Some(connected) = connected.take() {
                        // Nobody may be waiting for it.
                        let _unheard = connected.send(());
                    }
                    tokio::select! {
                        () = self.listen(&mut socket) => {}
                        time = away.recv() => {
                            drop(socket);
                            let Some(time) = time else { return };
                            sleep(time).await;
                            continue;
                        }
                    }
                }
                Err(_) if away.is_closed() => return,
                Err(_) => {}
            }
            // Without the official client's randomness, which is for crowds.
            sleep(reconnection_delay(attempts, 0.5)).await;
            attempts += 1;
        }
    }

    async fn connect(&self) -> Result<Socket, Error> {
        let mut auth = json!({ "user": self.client.name() });
        if self.rung == Rung::Kept {
            auth["seen"] = json!(self.seen);
        }
        Socket::connect(&self.client, Transport::WebSocket, Some(&auth)).await
    }

    /// Takes what comes, until the connection is gone.
    async fn listen(&mut self, socket: &mut Socket) {
        loop {
            let quiet = sleep(QUIET);
            tokio::select! {
                heard = socket.next_received() => match heard {
                    Some(heard) => self.hear(socket, heard).await,
                    None => return,
                },
                () = quiet, if self.rung == Rung::Kept => self.catch_up(socket).await,
            }
        }
    }

    async fn hear(&mut self, socket: &Socket, heard: Received) {
        match heard.event.as_str() {
            "message" => {
                if let Some(number) = number_in(&heard.argument) {
                    self.take(number);
                }
                // Only now: what is acknowledged has been taken. If the connection is
                // gone, the sender will not know.
                let _sent = socket.acknowledge(&heard, &json!(true));
            }
            "missed" => {
                self.take_entries(heard.argument);
                // There may be more than one answer holds.
                self.catch_up(socket).await;
            }
            "ring" if heard.argument.as_str() != Some(&self.seen) => self.catch_up(socket).await,
            _ => {}
        }
    }

    /// Asks for what came after the last message seen, until there is no more.
    async fn catch_up(&mut self, socket: &Socket) {
        while let Ok(entries) = socket.ask("since", &json!(self.seen)).await {
            if !self.take_entries(entries) {
                return;
            }
        }
    }

    /// Takes messages of the history. Returns whether there were any.
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

    /// Gives a message to the application; from the third rung on, once.
    fn take(&mut self, number: u64) {
        if !self.rung.repeats() || self.taken.is_new(number) {
            self.record.entries().push((number, Instant::now()));
        }
    }
}

fn number_in(message: &Value) -> Option<u64> {
    let message: Private = serde_json::from_value(message.clone()).ok()?;
    message.text.parse().ok()
}
