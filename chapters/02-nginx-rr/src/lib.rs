//! Chapter 2: several servers behind one address.
//!
//! The server is chapter 1's, without a change. This crate adds a client that sends several
//! requests, as `curl` would, and counts which server answered.

use std::{collections::BTreeMap, io, net::Ipv4Addr, net::SocketAddr, time::Duration};

use lab::{
    Client,
    client::{Answer, Error},
};
use tokio::{
    net::{TcpListener, TcpSocket},
    time::{Instant, interval},
};

/// The answers to several requests.
#[derive(Debug, Default)]
pub struct Answers {
    /// The answers with status 200, in order.
    pub ok: Vec<Answer>,
    /// How many requests got no answer, or an error.
    pub failed: usize,
}

/// Sends `GET /` several times, one after the other, each over a new connection.
pub async fn ask(client: &Client, times: usize) -> Answers {
    let mut answers = Answers::default();
    for _ in 0..times {
        answers.add(client.get_once("/").await);
    }
    answers
}

/// Sends `GET /` every 200 ms until `server` answers, or until `limit` is over.
///
/// Returns all answers, and how long it took until `server` answered.
pub async fn ask_until_answered_by(
    client: &Client,
    server: SocketAddr,
    limit: Duration,
) -> (Answers, Option<Duration>) {
    let mut answers = Answers::default();
    let started = Instant::now();
    let mut turns = interval(Duration::from_millis(200));
    while started.elapsed() < limit {
        turns.tick().await;
        answers.add(client.get_once("/").await);
        let last = answers.ok.last().and_then(Answer::server);
        if last == Some(server) {
            return (answers, Some(started.elapsed()));
        }
    }
    (answers, None)
}

impl Answers {
    fn add(&mut self, outcome: Result<Answer, Error>) {
        match outcome {
            Ok(answer) if answer.status == 200 => self.ok.push(answer),
            Ok(_) | Err(_) => self.failed += 1,
        }
    }

    /// The PIDs in the answers, in order.
    pub fn pids(&self) -> Vec<u32> {
        let pid = |answer: &Answer| answer.body.strip_prefix("Hi, PID: ")?.parse().ok();
        self.ok.iter().filter_map(pid).collect()
    }

    /// How many answers each PID gave.
    pub fn per_pid(&self) -> BTreeMap<u32, usize> {
        let mut counts = BTreeMap::new();
        for pid in self.pids() {
            *counts.entry(pid).or_default() += 1;
        }
        counts
    }

    /// How many requests nginx tried to send to `server`.
    pub fn tried(&self, server: SocketAddr) -> usize {
        let tried = self.ok.iter();
        tried
            .filter(|answer| answer.tried.contains(&server))
            .count()
    }

    /// Whether the PIDs come in turn: `a b c a b c …`, with as many PIDs as servers.
    pub fn in_strict_order(&self, servers: usize) -> bool {
        let pids = self.pids();
        self.failed == 0
            && pids.len() > servers
            && self.per_pid().len() == servers
            && pids.iter().zip(&pids[servers..]).all(|(a, b)| a == b)
    }
}

/// Listens on a port on which other processes listen too (`SO_REUSEPORT`).
///
/// Node's cluster module has the same effect: several processes, one port, no balancer. Here
/// the kernel chooses a process for each connection.
pub fn listen_shared(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind((Ipv4Addr::LOCALHOST, port).into())?;
    socket.listen(1024)
}
