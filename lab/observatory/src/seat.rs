//! The state of each client of the page, and the totals of all of them.

use std::net::{Ipv4Addr, SocketAddr};

use lab::Transport;
use serde::{Deserialize, Serialize};

/// The addresses that the page's clients come from.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Addresses {
    /// All clients share one address.
    One,
    /// All clients are in one /24.
    OneSubnet,
    /// Each client is in another /24.
    ManySubnets,
}

impl Addresses {
    /// The address of the client with that number.
    ///
    /// No client of an experiment and no client of a learner has one of these addresses.
    pub(crate) fn address(self, number: usize) -> Ipv4Addr {
        let number = u8::try_from(number).unwrap_or(u8::MAX);
        match self {
            Self::One => Ipv4Addr::new(10, 1, 0, 1),
            Self::OneSubnet => Ipv4Addr::new(10, 1, 0, number),
            Self::ManySubnets => Ipv4Addr::new(10, 1, number, 1),
        }
    }
}

/// The address to which a client sends its requests.
#[derive(Clone)]
pub(crate) enum Door {
    /// nginx, by its URL. It chooses a server.
    Nginx(String),
    /// The servers themselves. The clients take them in turn.
    Servers(Vec<SocketAddr>),
}

/// A client, as the page shows it.
#[derive(Clone)]
pub(crate) struct Seat {
    pub(crate) name: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) transport: Transport,
    pub(crate) server: Option<SocketAddr>,
    pub(crate) status: Status,
    pub(crate) attempts: u32,
    pub(crate) why: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Connecting,
    Connected,
    Refused,
}

/// How many requests and messages were sent, and how they ended.
#[derive(Clone, Copy, Default, Serialize)]
pub(crate) struct Ledger {
    pub(crate) requests: u64,
    pub(crate) answered: u64,
    pub(crate) refused: u64,
    /// Messages, counted once for each receiver.
    pub(crate) sent: u64,
    pub(crate) delivered: u64,
    pub(crate) lost: u64,
}

/// A message that a receiver has not got yet.
pub(crate) struct UnderWay {
    pub(crate) number: u64,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) text: String,
}
