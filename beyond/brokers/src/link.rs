//! The link between a server and its brokers. One task knows which broker has which channel.

use std::{
    collections::{HashMap, VecDeque},
    env,
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use ch05_redis_pubsub::link::{Between, Effort, Private, addresses};
use lab_server::log;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpStream, tcp::OwnedWriteHalf},
    sync::{Mutex, mpsc, oneshot},
    time::sleep,
};

use crate::broker::{FromBroker, ToBroker};

/// How long a server waits before it tries again to reach a broker.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// A server's link to its brokers.
pub struct Brokers {
    addresses: Vec<SocketAddr>,
    events: mpsc::UnboundedSender<Event>,
    /// Taken once, by [`Between::listen`].
    to_handle: Mutex<Option<mpsc::UnboundedReceiver<Event>>>,
}

/// What the task has to handle.
enum Event {
    Joined(String),
    Left(String),
    /// A message to publish. The sender learns how many servers got it.
    Publish(Private, oneshot::Sender<usize>),
    /// The broker with that number accepts lines.
    Up(usize, OwnedWriteHalf),
    /// The broker's answer to the oldest message that it has not answered.
    HeardBy(usize, usize),
    Down(usize),
}

impl Brokers {
    /// The brokers that `BROKERS` names, such as `127.0.0.1:9000,127.0.0.1:9001`.
    pub fn from_env() -> Result<Self> {
        let Ok(brokers) = env::var("BROKERS") else {
            bail!("a server needs BROKERS, such as BROKERS=127.0.0.1:9000,127.0.0.1:9001");
        };
        let (events, to_handle) = mpsc::unbounded_channel();
        Ok(Self {
            addresses: addresses("BROKERS", &brokers)?,
            events,
            to_handle: Mutex::new(Some(to_handle)),
        })
    }

    fn tell(&self, event: Event) {
        // The task ends with the process.
        let _ended = self.events.send(event);
    }
}

impl Between for Brokers {
    /// Connects to the brokers. A broker that is not there is tried again and again.
    async fn listen(
        &self,
        deliver: impl Fn(&Private) -> bool + Send + Sync + 'static,
    ) -> Result<()> {
        let to_handle = self.to_handle.lock().await.take();
        let to_handle = to_handle.context("the server listens already")?;
        let deliver = Arc::new(deliver);
        for (broker, address) in self.addresses.iter().enumerate() {
            let (events, deliver, address) = (self.events.clone(), Arc::clone(&deliver), *address);
            tokio::spawn(async move {
                while !events.is_closed() {
                    // Whatever the reason was, the answer is to try again.
                    let _ended = hear(broker, address, &events, &*deliver).await;
                    sleep(RETRY_AFTER).await;
                }
            });
        }
        let worker = Worker {
            brokers: self.addresses.iter().map(|_| None).collect(),
            users: HashMap::new(),
        };
        tokio::spawn(worker.run(to_handle));
        Ok(())
    }

    /// Publishes a message on its receiver's channel.
    async fn pass_on(&self, message: &Private) -> Result<Effort> {
        let (sender, heard_by) = oneshot::channel();
        self.tell(Event::Publish(message.clone(), sender));
        Ok(Effort {
            published: 1,
            heard_by: heard_by.await.context("no broker has taken the message")?,
            ..Effort::default()
        })
    }

    fn joined(&self, user: &str) {
        self.tell(Event::Joined(user.to_owned()));
    }

    fn left(&self, user: &str) {
        self.tell(Event::Left(user.to_owned()));
    }
}

/// Hears one broker until the connection ends.
async fn hear(
    broker: usize,
    address: SocketAddr,
    events: &mpsc::UnboundedSender<Event>,
    deliver: &impl Fn(&Private) -> bool,
) -> Result<()> {
    let (incoming, outgoing) = TcpStream::connect(address).await?.into_split();
    events.send(Event::Up(broker, outgoing))?;
    let mut lines = BufReader::new(incoming).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str(&line) {
            Ok(FromBroker::Message(message)) => {
                deliver(&message);
            }
            Ok(FromBroker::HeardBy(count)) => events.send(Event::HeardBy(broker, count))?,
            // A broker sends nothing else to a server.
            Ok(FromBroker::Channels(_)) | Err(_) => break,
        }
    }
    events.send(Event::Down(broker))?;
    Ok(())
}

/// What the task knows.
struct Worker {
    /// The brokers, as far as they are connected.
    brokers: Vec<Option<Connected>>,
    /// The users of this server, and how many connections each has.
    users: HashMap<String, usize>,
}

struct Connected {
    outgoing: OwnedWriteHalf,
    /// The senders of published messages, which wait for the broker's answers, in order.
    waiting: VecDeque<oneshot::Sender<usize>>,
}

impl Worker {
    async fn run(mut self, mut to_handle: mpsc::UnboundedReceiver<Event>) {
        while let Some(event) = to_handle.recv().await {
            match event {
                Event::Joined(user) => {
                    let connections = self.users.entry(user.clone()).or_default();
                    *connections += 1;
                    if *connections == 1 {
                        self.tell_owner(&user, ToBroker::Subscribe(user.clone()))
                            .await;
                    }
                }
                Event::Left(user) => self.leave(user).await,
                Event::Publish(message, sender) => {
                    if let Some(broker) = self.owner(&message.to) {
                        self.tell(broker, &ToBroker::Publish(message)).await;
                        if let Some(connected) = &mut self.brokers[broker] {
                            connected.waiting.push_back(sender);
                        }
                    }
                }
                Event::HeardBy(broker, count) => {
                    let connected = self.brokers[broker].as_mut();
                    if let Some(sender) = connected.and_then(|broker| broker.waiting.pop_front()) {
                        let _gave_up = sender.send(count);
                    }
                }
                Event::Up(broker, outgoing) => {
                    let connected = Connected {
                        outgoing,
                        waiting: VecDeque::new(),
                    };
                    let moved = self.change(broker, Some(connected)).await;
                    if moved > 0 {
                        log(format!(
                            "broker {broker} is back, it gets {}",
                            channels(moved)
                        ));
                    } else if self.brokers.iter().all(Option::is_some) {
                        log("connected to all brokers");
                    }
                }
                Event::Down(broker) => {
                    let moved = self.change(broker, None).await;
                    log(format!(
                        "broker {broker} is gone, it had {}",
                        channels(moved)
                    ));
                }
            }
        }
    }

    async fn leave(&mut self, user: String) {
        let Some(connections) = self.users.get_mut(&user) else {
            return;
        };
        *connections -= 1;
        if *connections == 0 {
            self.users.remove(&user);
            self.tell_owner(&user, ToBroker::Unsubscribe(user.clone()))
                .await;
        }
    }

    /// A broker has come or gone. Some channels have another owner now, and are subscribed to
    /// there. Returns how many of this server's channels moved.
    async fn change(&mut self, broker: usize, now: Option<Connected>) -> usize {
        let users: Vec<String> = self.users.keys().cloned().collect();
        let before: Vec<_> = users.iter().map(|user| self.owner(user)).collect();
        self.brokers[broker] = now;
        let mut moved = 0;
        for (user, before) in users.into_iter().zip(before) {
            if self.owner(&user) != before {
                moved += 1;
                if let Some(before) = before {
                    self.tell(before, &ToBroker::Unsubscribe(user.clone()))
                        .await;
                }
                self.tell_owner(&user, ToBroker::Subscribe(user.clone()))
                    .await;
            }
        }
        moved
    }

    fn owner(&self, channel: &str) -> Option<usize> {
        let brokers = self.brokers.iter().enumerate();
        let living = brokers.filter_map(|(number, broker)| broker.is_some().then_some(number));
        owner(channel, living)
    }

    async fn tell_owner(&mut self, channel: &str, line: ToBroker) {
        if let Some(broker) = self.owner(channel) {
            self.tell(broker, &line).await;
        }
    }

    async fn tell(&mut self, broker: usize, line: &ToBroker) {
        let Some(connected) = &mut self.brokers[broker] else {
            return;
        };
        if let Ok(mut line) = serde_json::to_vec(line) {
            line.push(b'\n');
            // The reading half of the connection notices if the broker is gone.
            let _gone = connected.outgoing.write_all(&line).await;
        }
    }
}

/// The broker that has a channel. Its number, hashed with the channel's name, gives the highest
/// value. If a broker dies, only its own channels move (rendezvous hashing; Thaler and
/// Ravishankar, 1998).
pub fn owner(channel: &str, living: impl Iterator<Item = usize>) -> Option<usize> {
    living.max_by_key(|broker| {
        let mut hasher = DefaultHasher::new();
        (channel, broker).hash(&mut hasher);
        hasher.finish()
    })
}

fn channels(count: usize) -> String {
    match count {
        1 => "1 channel".to_owned(),
        _ => format!("{count} channels"),
    }
}

#[cfg(test)]
mod tests {
    use super::owner;

    #[test]
    fn channels_are_spread_and_only_those_of_a_dead_broker_move() {
        let channels: Vec<String> = (0..1000).map(|number| format!("user {number}")).collect();
        let with = |living: &[usize]| -> Vec<usize> {
            let owners = channels
                .iter()
                .map(|channel| owner(channel, living.iter().copied()));
            owners.map(Option::unwrap).collect()
        };
        let before = with(&[0, 1, 2]);
        for broker in 0..3 {
            let share = before.iter().filter(|owner| **owner == broker).count();
            assert!((250..420).contains(&share), "{share}");
        }
        let after = with(&[0, 2]);
        for (before, after) in before.iter().zip(after) {
            assert!(*before == 1 || *before == after);
        }
        assert_eq!(owner("anybody", [].into_iter()), None);
    }
}
