//! A question, and the trial that answers it: a small experiment on the real stage.

use std::{collections::BTreeMap, net::SocketAddr};

use lab::Transport;

use crate::seat::{Addresses, Seat, Status};

/// A question about an experiment. The learner answers it before the experiment runs.
pub struct Question {
    /// The question. It says what the experiment does.
    pub ask: &'static str,
    /// The experiment.
    pub trial: Trial,
    /// The explanation of the result.
    pub why: &'static str,
}

/// An experiment that answers a question.
#[derive(Clone, Copy)]
pub enum Trial {
    /// Nine requests with a balancing method.
    Requests {
        /// The method's name.
        method: &'static str,
        /// The server that is killed before the requests, if there is one.
        without: Option<char>,
    },
    /// Nine clients connect with a balancing method.
    Connect {
        /// The method's name.
        method: &'static str,
        /// Their transport.
        transport: Transport,
        /// Their addresses.
        addresses: Addresses,
    },
    /// A user on one server writes to a user on another server.
    Write {
        /// The value of the servers' setting.
        choice: &'static str,
    },
}

/// How many requests or clients a trial has.
pub(crate) const COUNT: usize = 9;

/// How many users connect for [`Trial::Write`]. With this many, they are not all on one server.
pub(crate) const WRITERS: usize = 3;

impl Trial {
    /// The possible answers. [`Outcome::answer`] is an index into this list.
    pub(crate) fn answers(self) -> &'static [&'static str] {
        match self {
            Self::Requests { .. } => &[
                "all running servers answer the same number of requests",
                "one server answers all requests",
                "some servers answer more requests than others",
                "some requests fail",
            ],
            Self::Connect { .. } => &[
                "nobody connects",
                "some connect",
                "all connect, to one server",
                "all connect, spread over the servers",
            ],
            Self::Write { .. } => &["the message arrives", "the message is lost"],
        }
    }
}

/// The result of a trial: the number of the right answer, and the figures.
pub(crate) struct Outcome {
    pub(crate) answer: usize,
    pub(crate) seen: String,
}

/// The result of requests, from the servers that answered them.
pub(crate) fn of_requests(
    answered: &[Option<SocketAddr>],
    name: impl Fn(SocketAddr) -> char,
) -> Outcome {
    let mut counts = BTreeMap::new();
    for server in answered.iter().flatten() {
        *counts.entry(name(*server)).or_insert(0) += 1;
    }
    let failed = answered.iter().filter(|server| server.is_none()).count();
    let (least, most) = (counts.values().min(), counts.values().max());
    let answer = match counts.len() {
        _ if failed > 0 => 3,
        0 | 1 => 1,
        // Nine requests for two servers are five and four.
        _ if most
            .zip(least)
            .is_some_and(|(most, least)| most - least <= 1) =>
        {
            0
        }
        _ => 2,
    };
    let failed = if failed > 0 {
        format!(", {failed} failed")
    } else {
        String::new()
    };
    Outcome {
        answer,
        seen: format!("{}{failed}", listed(&counts)),
    }
}

/// The result of clients that tried to connect.
pub(crate) fn of_clients(seats: &[Seat], name: impl Fn(SocketAddr) -> char) -> Outcome {
    let mut counts = BTreeMap::new();
    let connected = seats
        .iter()
        .filter(|seat| seat.status == Status::Connected)
        .inspect(|seat| {
            if let Some(server) = seat.server {
                *counts.entry(name(server)).or_insert(0) += 1;
            }
        })
        .count();
    let answer = match counts.len() {
        _ if connected == 0 => 0,
        _ if connected < seats.len() => 1,
        0 | 1 => 2,
        _ => 3,
    };
    let spread = if connected == 0 {
        String::new()
    } else {
        format!(": {}", listed(&counts))
    };
    Outcome {
        answer,
        seen: format!("{connected} of {} connected{spread}", seats.len()),
    }
}

/// `A 3, B 3, C 3`.
fn listed(counts: &BTreeMap<char, usize>) -> String {
    let counts: Vec<_> = counts
        .iter()
        .map(|(letter, count)| format!("{letter} {count}"))
        .collect();
    counts.join(", ")
}
