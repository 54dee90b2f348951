//! A question, and the trial on the real stage that answers it.

use std::{collections::BTreeMap, net::SocketAddr};

use lab::Transport;

use crate::clients::{Crowd, Seat, Status};

/// What is asked before it is shown.
pub struct Question {
    /// The question; it names what is about to be tried.
    pub ask: &'static str,
    /// What is tried.
    pub trial: Trial,
    /// How to read what is seen.
    pub why: &'static str,
}

/// What is tried.
#[derive(Clone, Copy)]
pub enum Trial {
    /// Nine requests through a method; `without` a server that is killed first.
    Requests {
        /// The method's name.
        method: &'static str,
        /// The server to kill.
        without: Option<char>,
    },
    /// Six clients connect through a method.
    Connect {
        /// The method's name.
        method: &'static str,
        /// How they connect.
        transport: Transport,
        /// Where they come from.
        crowd: Crowd,
    },
    /// A user on one server writes to one on another, with the switch set so.
    Write {
        /// The switch's value.
        choice: &'static str,
    },
}

/// How many requests or clients a trial has.
pub(crate) const COUNT: usize = 9;

/// How many users a trial of writing has: enough that not all are on one server.
pub(crate) const WRITERS: usize = 3;

impl Trial {
    /// What may come of it. [`Outcome::answer`] is an index into it.
    pub(crate) fn answers(self) -> &'static [&'static str] {
        match self {
            Self::Requests { .. } => &[
                "each server that runs answers equally many",
                "one server answers all",
                "several answer, one more than another",
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

/// What came of a trial: which answer it was, and in figures.
pub(crate) struct Outcome {
    pub(crate) answer: usize,
    pub(crate) seen: String,
}

/// What came of requests, by the servers that answered.
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
        // Nine by two is five and four.
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

/// What came of clients that connected or did not.
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
