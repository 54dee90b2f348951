//! SocketCluster's design, small: workers hold sockets, and brokers hold channels.
//!
//! Each user is a channel. A channel belongs to one of the brokers, which a hash of its name
//! chooses, so that brokers share the work. A worker subscribes to the channels of the users
//! that it has, and to no other: a message goes to the workers that want it, and not to
//! everybody. When a broker dies, its channels move to those that live, and back once it
//! returns. What is published in between is gone, as with Redis.
//!
//! [`broker`] is the program in the middle; this is the worker's side, one task that alone
//! knows who is where.

pub mod broker;
pub mod experiment;

use std::{
    collections::{HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use ch01_express_pid::log;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpStream, tcp::OwnedWriteHalf},
    sync::{mpsc, oneshot},
    time::sleep,
};

use crate::link::Private;
use broker::{FromBroker, ToBroker};

/// How long a worker waits before it tries a broker again that is not there.
const AGAIN: Duration = Duration::from_millis(100);

/// A worker's way to its brokers.
#[derive(Clone)]
pub struct Brokers {
    asked: mpsc::UnboundedSender<Asked>,
}

/// What the task is asked for.
enum Asked {
    Join(String),
    Leave(String),
    Publish(Private, oneshot::Sender<usize>),
    /// A broker is there, and takes lines.
    Up(usize, OwnedWriteHalf),
    /// So many have heard what was published there first, of what is not answered yet.
    Heard(usize, usize),
    Down(usize),
}

impl Brokers {
    /// Connects to brokers, and goes on trying those that are not there. `deliver` gets each
    /// message for a user that this worker has.
    pub fn connect(
        addresses: &[SocketAddr],
        deliver: impl Fn(&Private) -> bool + Send + Sync + 'static,
    ) -> Self {
        let (asked, to_do) = mpsc::unbounded_channel();
        let deliver = Arc::new(deliver);
        for (broker, address) in addresses.iter().enumerate() {
            let (asked, deliver, address) = (asked.clone(), Arc::clone(&deliver), *address);
            tokio::spawn(async move {
                while !asked.is_closed() {
                    // Why it ended is nothing to tell: it is tried again.
                    let _ended = hear(broker, address, &asked, &*deliver).await;
                    sleep(AGAIN).await;
                }
            });
        }
        let worker = Worker {
            brokers: addresses.iter().map(|_| None).collect(),
            users: HashMap::new(),
        };
        tokio::spawn(worker.run(to_do));
        Self { asked }
    }

    /// A user has connected to this worker, perhaps with another device.
    pub fn join(&self, user: &str) {
        self.ask(Asked::Join(user.to_owned()));
    }

    /// One of a user's connections is gone.
    pub fn leave(&self, user: &str) {
        self.ask(Asked::Leave(user.to_owned()));
    }

    /// Publishes a message on its user's channel. Returns how many workers have heard it.
    ///
    /// # Errors
    /// When no broker is there, or it went before it answered.
    pub async fn publish(&self, message: &Private) -> Result<usize> {
        let (heard, is_heard) = oneshot::channel();
        self.ask(Asked::Publish(message.clone(), heard));
        is_heard.await.context("no broker has taken the message")
    }

    fn ask(&self, what: Asked) {
        // The task ends with the process.
        let _ended = self.asked.send(what);
    }
}

/// Hears one broker, until the connection ends.
async fn hear(
    broker: usize,
    address: SocketAddr,
    asked: &mpsc::UnboundedSender<Asked>,
    deliver: &impl Fn(&Private) -> bool,
) -> Result<()> {
    let (incoming, outgoing) = TcpStream::connect(address).await?.into_split();
    asked.send(Asked::Up(broker, outgoing))?;
    let mut lines = BufReader::new(incoming).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str(&line) {
            Ok(FromBroker::Message(message)) => {
                deliver(&message);
            }
            Ok(FromBroker::Heard(count)) => asked.send(Asked::Heard(broker, count))?,
            // No broker speaks like that.
            Err(_) => break,
        }
    }
    asked.send(Asked::Down(broker))?;
    Ok(())
}

/// What the task knows.
struct Worker {
    /// The brokers that are there.
    brokers: Vec<Option<Connected>>,
    /// The users of this worker, with how many connections each has.
    users: HashMap<String, usize>,
}

struct Connected {
    outgoing: OwnedWriteHalf,
    /// Who waits for the answer to what was published, in that order.
    waiting: VecDeque<oneshot::Sender<usize>>,
}

impl Worker {
    async fn run(mut self, mut to_do: mpsc::UnboundedReceiver<Asked>) {
        while let Some(asked) = to_do.recv().await {
            match asked {
                Asked::Join(user) => {
                    let connections = self.users.entry(user.clone()).or_default();
                    *connections += 1;
                    if *connections == 1 {
                        self.tell_owner(&user, ToBroker::Subscribe(user.clone()))
                            .await;
                    }
                }
                Asked::Leave(user) => self.leave(user).await,
                Asked::Publish(message, heard) => {
                    if let Some(broker) = self.owner(&message.to) {
                        self.tell(broker, &ToBroker::Publish(message)).await;
                        if let Some(connected) = &mut self.brokers[broker] {
                            connected.waiting.push_back(heard);
                        }
                    }
                }
                Asked::Heard(broker, count) => {
                    let connected = self.brokers[broker].as_mut();
                    if let Some(waiting) = connected.and_then(|there| there.waiting.pop_front()) {
                        let _gave_up = waiting.send(count);
                    }
                }
                Asked::Up(broker, outgoing) => {
                    let waiting = VecDeque::new();
                    let there = Connected { outgoing, waiting };
                    let moved = self.change(broker, Some(there)).await;
                    log(match moved {
                        0 => format!("broker {broker} is there"),
                        _ => format!("broker {broker} is there, and has {}", channels(moved)),
                    });
                }
                Asked::Down(broker) => {
                    let moved = self.change(broker, None).await;
                    log(format!(
                        "broker {broker} is gone, which had {}",
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

    /// A broker has come or gone: channels whose owner is another one now are subscribed to
    /// there. Returns how many of this worker's they are.
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
        let there = self.brokers.iter().enumerate();
        let living = there.filter_map(|(broker, there)| there.is_some().then_some(broker));
        owner(channel, living)
    }

    async fn tell_owner(&mut self, channel: &str, line: ToBroker) {
        if let Some(broker) = self.owner(channel) {
            self.tell(broker, &line).await;
        }
    }

    async fn tell(&mut self, broker: usize, line: &ToBroker) {
        let Some(there) = &mut self.brokers[broker] else {
            return;
        };
        if let Ok(mut line) = serde_json::to_vec(line) {
            line.push(b'\n');
            // That a broker is gone, its other half says.
            let _gone = there.outgoing.write_all(&line).await;
        }
    }
}

/// Which of the brokers has a channel: the one whose hash with the channel's name is highest.
/// If one goes, only its own channels move (rendezvous hashing; Thaler and Ravishankar, 1998).
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
