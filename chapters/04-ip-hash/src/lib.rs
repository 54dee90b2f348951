//! Chapter 4: the same client, the same server.
//!
//! The server is chapter 3's, unchanged. nginx gets one more line. New in this chapter are
//! the arithmetic of that line, and clients at many addresses to measure it with.

pub mod methods;

use std::{collections::BTreeMap, net::Ipv4Addr, net::SocketAddr};

use ch03_socket_polling::experiments::{Twice, is_session_unknown};
use lab::{
    Client, Socket, Stage, Transport,
    client::{Error, Polling},
};

/// The index of the server that `ip_hash` chooses, of `servers` with equal weights.
///
/// Only the first three octets count. The numbers are those of nginx's
/// `ngx_http_upstream_ip_hash_module`: it starts from 89. For each octet it multiplies
/// by 113, adds the octet, and takes the remainder by 6271.
pub fn ip_hash(address: Ipv4Addr, servers: usize) -> usize {
    let [octets @ .., _last] = address.octets();
    let hash = octets
        .iter()
        .fold(89, |hash, octet| (hash * 113 + usize::from(*octet)) % 6271);
    hash % servers
}

/// The addresses that a group of clients comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// All clients share one address: a company or a mobile network behind one NAT.
    One,
    /// All clients are in one /24: their addresses differ only in the last octet.
    OneSubnet,
    /// Each client is in a /24 of its own.
    ManySubnets,
}

impl Addresses {
    /// The address of the client with that number.
    pub fn address(self, number: u8) -> Ipv4Addr {
        match self {
            Self::One => Ipv4Addr::new(10, 0, 0, 1),
            Self::OneSubnet => Ipv4Addr::new(10, 0, 0, number),
            Self::ManySubnets => Ipv4Addr::new(10, 0, number, 1),
        }
    }
}

/// A connected client.
pub struct Connected {
    /// The address that it comes from.
    pub address: Ipv4Addr,
    /// Its connection.
    pub socket: Socket,
}

/// Connects `count` clients, one after the other. Those that succeed stay connected.
///
/// Returns them, and how many others failed.
pub async fn connect_from(
    addresses: Addresses,
    url: &str,
    count: u8,
    transport: Transport,
    keep_cookies: bool,
) -> (Vec<Connected>, usize) {
    let (mut connected, mut failed) = (Vec::new(), 0);
    for number in 1..=count {
        let address = addresses.address(number);
        let mut client = Client::at(format!("client {number}"), url, address);
        if keep_cookies {
            client = client.keeping_cookies();
        }
        match Socket::connect(&client, transport, None).await {
            Ok(socket) => connected.push(Connected { address, socket }),
            Err(_) => failed += 1,
        }
    }
    (connected, failed)
}

/// How many of these clients each server has.
pub fn per_server(clients: &[Connected]) -> BTreeMap<SocketAddr, usize> {
    let mut counts = BTreeMap::new();
    for server in clients.iter().filter_map(|client| client.socket.owner) {
        *counts.entry(server).or_default() += 1;
    }
    counts
}

/// Which server each of `count` addresses gets. Each client sends a handshake and no more.
pub async fn servers_of(
    addresses: Addresses,
    url: &str,
    count: u8,
) -> Result<Vec<(Ipv4Addr, Option<SocketAddr>)>, Error> {
    let mut servers = Vec::new();
    for number in 1..=count {
        let address = addresses.address(number);
        let client = Client::at(format!("client {number}"), url, address);
        let polling = Polling::open(&client).await?;
        servers.push((address, polling.owner));
    }
    Ok(servers)
}

/// Claims that a client's second request is refused; `claim` says which client's.
pub fn second_is_refused(stage: &Stage, twice: &Twice, claim: &str) {
    let refused = twice.refusal.as_ref().is_some_and(is_session_unknown);
    stage.claim_failure(claim, "", refused);
}

/// Claims that one server has answered both requests of a client.
pub fn both_are_answered(stage: &Stage, twice: &Twice) {
    let accepted = twice.refusal.is_none();
    stage.claim_seen(
        "both requests reach the same server, and both are answered",
        stage.servers.name_of(twice.owner),
        accepted && twice.owner == twice.asked,
    );
}
