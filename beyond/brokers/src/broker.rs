//! A broker: it passes a message that is published on a channel to the channel's subscribers.
//!
//! In both directions, a message is a line of JSON.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Result;
use ch05_redis_pubsub::link::Private;
use lab_server::{listen_on, log, port_or};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    sync::mpsc,
};

/// The port if `PORT` is not set.
const PORT: u16 = 9000;

/// What a client, such as a server of the chat, sends to a broker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToBroker {
    /// From now on, the client gets the messages on this channel.
    Subscribe(String),
    /// From now on, it does not.
    Unsubscribe(String),
    /// A message for the channel of its receiver.
    Publish(Private),
    /// From now on, the client learns how many channels have subscribers.
    Watch,
}

/// What a broker sends to a client.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromBroker {
    /// A message on a channel to which the client has subscribed.
    Message(Private),
    /// How many subscribers got the message that the client has published.
    HeardBy(usize),
    /// How many channels have subscribers, for a client that watches.
    Channels(usize),
}

/// The clients, by their addresses, and their subscriptions.
#[derive(Default)]
struct Channels {
    subscribers: HashMap<String, HashSet<SocketAddr>>,
    clients: HashMap<SocketAddr, mpsc::UnboundedSender<FromBroker>>,
    watchers: HashSet<SocketAddr>,
}

/// Serves on the port that `PORT` names, or on 9000, until it is stopped.
pub async fn run() -> Result<()> {
    let listener = listen_on(port_or(PORT)?).await?;
    let port = listener.local_addr()?.port();
    log(format!("Broker running on {port} port"));
    let channels = Arc::new(Mutex::new(Channels::default()));
    loop {
        let (stream, client) = listener.accept().await?;
        let channels = Arc::clone(&channels);
        tokio::spawn(async move {
            // The client notices by itself that the connection has ended.
            let _ended = serve(stream, client, &channels).await;
            lock(&channels).forget(client);
        });
    }
}

async fn serve(stream: TcpStream, client: SocketAddr, channels: &Mutex<Channels>) -> Result<()> {
    let (incoming, mut outgoing) = stream.into_split();
    let (sender, mut to_send) = mpsc::unbounded_channel::<FromBroker>();
    lock(channels).clients.insert(client, sender);
    tokio::spawn(async move {
        while let Some(message) = to_send.recv().await {
            let mut line = serde_json::to_vec(&message)?;
            line.push(b'\n');
            outgoing.write_all(&line).await?;
        }
        Ok::<_, anyhow::Error>(())
    });
    let mut lines = BufReader::new(incoming).lines();
    while let Some(line) = lines.next_line().await? {
        let line = serde_json::from_str(&line)?;
        lock(channels).handle(client, line);
    }
    Ok(())
}

impl Channels {
    fn handle(&mut self, client: SocketAddr, line: ToBroker) {
        match line {
            ToBroker::Subscribe(channel) => {
                self.subscribers.entry(channel).or_default().insert(client);
                self.tell_watchers();
            }
            ToBroker::Unsubscribe(channel) => {
                if let Some(subscribers) = self.subscribers.get_mut(&channel) {
                    subscribers.remove(&client);
                    if subscribers.is_empty() {
                        self.subscribers.remove(&channel);
                    }
                }
                self.tell_watchers();
            }
            ToBroker::Publish(message) => {
                let subscribers = self.subscribers.get(&message.to);
                let heard_by = subscribers.into_iter().flatten().filter(|subscriber| {
                    self.send(subscriber, FromBroker::Message(message.clone()))
                });
                let heard_by = heard_by.count();
                self.send(&client, FromBroker::HeardBy(heard_by));
            }
            ToBroker::Watch => {
                self.watchers.insert(client);
                self.tell_watchers();
            }
        }
    }

    fn tell_watchers(&self) {
        for watcher in &self.watchers {
            self.send(watcher, FromBroker::Channels(self.subscribers.len()));
        }
    }

    fn send(&self, client: &SocketAddr, message: FromBroker) -> bool {
        let client = self.clients.get(client);
        client.is_some_and(|client| client.send(message).is_ok())
    }

    fn forget(&mut self, client: SocketAddr) {
        self.clients.remove(&client);
        self.watchers.remove(&client);
        self.subscribers.retain(|_, subscribers| {
            subscribers.remove(&client);
            !subscribers.is_empty()
        });
        self.tell_watchers();
    }
}

// This is a `std::sync::Mutex` and not a Tokio mutex: it is never held across an `.await`.
fn lock(channels: &Mutex<Channels>) -> MutexGuard<'_, Channels> {
    channels.lock().unwrap_or_else(PoisonError::into_inner)
}
