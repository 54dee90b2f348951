//! Chapter 2: several servers behind one address.
//!
//! The server is chapter 1's, not a line changed. New is who asks it: these
//! experiments take a URL, ask as `curl` would, and say who answered. [`drill`] counts
//! what is lost when something dies, and [`orders`] makes a request mean something.

pub mod drill;
pub mod orders;

use std::{collections::BTreeMap, io, net::Ipv4Addr, net::SocketAddr, time::Duration};

use lab::{Client, Event, client::Answer};
use tokio::{
    net::{TcpListener, TcpSocket},
    time::{Instant, interval},
};

/// What was seen when somebody asked several times.
#[derive(Debug, Default)]
pub struct Asked {
    /// The answers, in order.
    pub answers: Vec<Answer>,
    /// How many requests had no answer, or one that was an error.
    pub failed: usize,
    /// Everything, as it happened.
    pub seen: Vec<Event>,
}

/// `GET /`, `times` times, one after the other, each over a connection of its own.
pub async fn ask(url: &str, times: usize) -> Asked {
    let client = Client::new("you", url);
    let mut asked = Asked::default();
    for _ in 0..times {
        asked.add(client.get_once("/").await);
    }
    asked.seen = client.take_seen();
    asked
}

/// Asks five times a second until `server` answers, for as long as `patience` lasts.
///
/// Returns what was seen, and after how long the server answered.
pub async fn ask_until_answered_by(
    url: &str,
    server: SocketAddr,
    patience: Duration,
) -> (Asked, Option<Duration>) {
    let client = Client::new("you", url);
    let mut asked = Asked::default();
    let started = Instant::now();
    let mut turns = interval(Duration::from_millis(200));
    let mut after = None;
    while after.is_none() && started.elapsed() < patience {
        turns.tick().await;
        asked.add(client.get_once("/").await);
        after = asked
            .answers
            .last()
            .filter(|answer| answer.server() == Some(server))
            .map(|_| started.elapsed());
    }
    asked.seen = client.take_seen();
    (asked, after)
}

impl Asked {
    fn add(&mut self, outcome: Result<Answer, lab::client::Error>) {
        match outcome {
            Ok(answer) if answer.status == 200 => self.answers.push(answer),
            Ok(_) | Err(_) => self.failed += 1,
        }
    }

    /// The PIDs that answered, in order.
    pub fn pids(&self) -> Vec<u32> {
        let pid = |answer: &Answer| answer.body.strip_prefix("Hi, PID: ")?.parse().ok();
        self.answers.iter().filter_map(pid).collect()
    }

    /// How often each PID answered.
    pub fn spread(&self) -> BTreeMap<u32, usize> {
        let mut spread = BTreeMap::new();
        for pid in self.pids() {
            *spread.entry(pid).or_default() += 1;
        }
        spread
    }

    /// Whether the PIDs come in turn: `a b c a b c …`, all of them different.
    pub fn in_strict_order(&self, servers: usize) -> bool {
        let pids = self.pids();
        self.failed == 0
            && pids.len() > servers
            && self.spread().len() == servers
            && pids.iter().zip(&pids[servers..]).all(|(a, b)| a == b)
    }
}

/// Listens on a port that other processes listen on too (`SO_REUSEPORT`).
///
/// What Node's cluster module would be: no balancer, the kernel deals out connections.
///
/// # Errors
/// When the port is refused, or taken by a process that does not share it.
pub fn listen_shared(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind((Ipv4Addr::LOCALHOST, port).into())?;
    socket.listen(1024)
}
