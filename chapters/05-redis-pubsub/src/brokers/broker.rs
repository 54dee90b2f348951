//! A broker: it passes what is published on a channel to whoever has subscribed to it.
//!
//! A line of JSON is a message, in both directions.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Result;
use ch01_express_pid::{listen_on, log, port_or};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    sync::mpsc,
};

use crate::link::Private;

/// Where it listens, unless `PORT` says otherwise.
const PORT: u16 = 9000;

/// What a worker says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToBroker {
    /// It wants what is published on a channel.
    Subscribe(String),
    /// It does not any more.
    Unsubscribe(String),
    /// For the channel of the message's receiver.
    Publish(Private),
}

/// What a broker says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromBroker {
    /// It was published on a channel that the worker subscribes to.
    Message(Private),
    /// To what the worker has published: so many have heard it.
    Heard(usize),
}

/// Who has subscribed to which channel: workers, by their addresses.
#[derive(Default)]
struct Channels {
    subscribers: HashMap<String, HashSet<SocketAddr>>,
    workers: HashMap<SocketAddr, mpsc::UnboundedSender<FromBroker>>,
}

/// Serves workers on the port that `PORT` names, or 9000, until it is ended.
///
/// # Errors
/// When the port cannot be had.
pub async fn run() -> Result<()> {
    let listener = listen_on(port_or(PORT)?).await?;
    let port = listener.local_addr()?.port();
    log(format!("Broker running on {port} port"));
    let channels = Arc::new(Mutex::new(Channels::default()));
    loop {
        let (stream, worker) = listener.accept().await?;
        let channels = Arc::clone(&channels);
        tokio::spawn(async move {
            // How it ended is the worker's to notice.
            let _ended = serve(stream, worker, &channels).await;
            lock(&channels).forget(worker);
        });
    }
}

async fn serve(stream: TcpStream, worker: SocketAddr, channels: &Mutex<Channels>) -> Result<()> {
    let (incoming, mut outgoing) = stream.into_split();
    let (to_say, mut said) = mpsc::unbounded_channel::<FromBroker>();
    lock(channels).workers.insert(worker, to_say);
    tokio::spawn(async move {
        while let Some(message) = said.recv().await {
            let mut line = serde_json::to_vec(&message)?;
            line.push(b'\n');
            outgoing.write_all(&line).await?;
        }
        Ok::<_, anyhow::Error>(())
    });
    let mut lines = BufReader::new(incoming).lines();
    while let Some(line) = lines.next_line().await? {
        let line = serde_json::from_str(&line)?;
        lock(channels).hear(worker, line);
    }
    Ok(())
}

impl Channels {
    fn hear(&mut self, worker: SocketAddr, line: ToBroker) {
        match line {
            ToBroker::Subscribe(channel) => {
                log(format!("{channel} is subscribed to"));
                self.subscribers.entry(channel).or_default().insert(worker);
            }
            ToBroker::Unsubscribe(channel) => {
                if let Some(subscribers) = self.subscribers.get_mut(&channel) {
                    subscribers.remove(&worker);
                    if subscribers.is_empty() {
                        self.subscribers.remove(&channel);
                    }
                }
            }
            ToBroker::Publish(message) => {
                let subscribers = self.subscribers.get(&message.to);
                let heard = subscribers.into_iter().flatten().filter(|subscriber| {
                    self.say(subscriber, FromBroker::Message(message.clone()))
                });
                let heard = heard.count();
                self.say(&worker, FromBroker::Heard(heard));
            }
        }
    }

    fn say(&self, worker: &SocketAddr, message: FromBroker) -> bool {
        let worker = self.workers.get(worker);
        worker.is_some_and(|worker| worker.send(message).is_ok())
    }

    fn forget(&mut self, worker: SocketAddr) {
        self.workers.remove(&worker);
        self.subscribers.retain(|_, subscribers| {
            subscribers.remove(&worker);
            !subscribers.is_empty()
        });
    }
}

fn lock(channels: &Mutex<Channels>) -> MutexGuard<'_, Channels> {
    channels.lock().unwrap_or_else(PoisonError::into_inner)
}
