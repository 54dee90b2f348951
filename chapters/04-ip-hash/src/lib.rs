//! Chapter 4: the same client, the same server.
//!
//! The server is chapter 3's, not a line changed; nginx gets one line more. New here
//! is the arithmetic of that line, and clients at many addresses to measure it with.

pub mod haproxy;
pub mod methods;
pub mod sticky;
pub mod wrong_fixes;

use std::{collections::BTreeMap, net::Ipv4Addr, net::SocketAddr};

use ch03_socket_polling::{Twice, is_session_unknown};
use lab::{
    Client, Socket, Stage, Transport,
    client::{Error, Polling},
};

/// The index of the server that `ip_hash` chooses, of `servers` with equal weights.
///
/// Only the first three octets count. The figures are those of nginx's
/// `ngx_http_upstream_ip_hash_module`: it starts from 89, and for each octet multiplies
/// by 113, adds, and takes the remainder by 6271.
pub fn ip_hash(address: Ipv4Addr, servers: usize) -> usize {
    let [octets @ .., _last] = address.octets();
    let hash = octets
        .iter()
        .fold(89, |hash, octet| (hash * 113 + usize::from(*octet)) % 6271);
    hash % servers
}

/// Where a crowd of clients comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crowd {
    /// All from one address: a company or a mobile network behind one NAT.
    OneAddress,
    /// All from one /24: addresses that differ in the last octet alone.
    OneSubnet,
    /// Each from a /24 of its own.
    Spread,
}

impl Crowd {
    /// The address of the client with that number.
    pub fn address(self, number: u8) -> Ipv4Addr {
        match self {
            Self::OneAddress => Ipv4Addr::new(10, 0, 0, 1),
            Self::OneSubnet => Ipv4Addr::new(10, 0, 0, number),
            Self::Spread => Ipv4Addr::new(10, 0, number, 1),
        }
    }
}

/// A client of a crowd that is connected.
pub struct Member {
    /// Where it comes from.
    pub address: Ipv4Addr,
    /// Its connection.
    pub socket: Socket,
}

/// Connects `count` clients of a crowd, one after the other; whoever gets in stays.
///
/// Returns the members, and how many others failed.
pub async fn gather(
    url: &str,
    crowd: Crowd,
    count: u8,
    transport: Transport,
    keep_cookies: bool,
) -> (Vec<Member>, usize) {
    let (mut members, mut failed) = (Vec::new(), 0);
    for number in 1..=count {
        let address = crowd.address(number);
        let mut client = Client::at(format!("client {number}"), url, address);
        if keep_cookies {
            client = client.keeping_cookies();
        }
        match Socket::connect(&client, transport, None).await {
            Ok(socket) => members.push(Member { address, socket }),
            Err(_) => failed += 1,
        }
    }
    (members, failed)
}

/// How many members each server has.
pub fn spread(members: &[Member]) -> BTreeMap<SocketAddr, usize> {
    let mut spread = BTreeMap::new();
    for server in members.iter().filter_map(|member| member.socket.owner) {
        *spread.entry(server).or_default() += 1;
    }
    spread
}

/// Asks which server each address of a crowd gets, by a handshake alone.
///
/// # Errors
/// When a handshake fails.
pub async fn servers_of(
    url: &str,
    crowd: Crowd,
    count: u8,
) -> Result<Vec<(Ipv4Addr, Option<SocketAddr>)>, Error> {
    let mut servers = Vec::new();
    for number in 1..=count {
        let address = crowd.address(number);
        let client = Client::at(format!("client {number}"), url, address);
        let polling = Polling::open(&client).await?;
        servers.push((address, polling.owner));
    }
    Ok(servers)
}

/// Shows the first two requests of a client, and claims that the second is refused.
pub fn second_is_refused(stage: &Stage, twice: Twice, claim: &str) {
    let refused = twice.refusal.as_ref().is_some_and(is_session_unknown);
    stage.show(twice.seen);
    stage.claim(claim, refused);
}

/// Shows them, and claims that one server has answered both.
pub fn both_are_answered(stage: &Stage, twice: Twice) {
    let accepted = twice.refusal.is_none();
    stage.show(twice.seen);
    stage.claim_seen(
        "both reach the same server, and both are answered",
        stage.name_of(twice.owner),
        accepted && twice.owner == twice.asked,
    );
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_of_one_24_share_a_server() {
        let servers: std::collections::BTreeSet<_> = (0..=255)
            .map(|last| ip_hash(Ipv4Addr::new(203, 0, 113, last), 3))
            .collect();
        assert_eq!(servers.len(), 1);
    }

    #[test]
    fn many_24s_are_spread_evenly() {
        let mut counts = [0; 3];
        for third in 0..=255 {
            counts[ip_hash(Ipv4Addr::new(10, 0, third, 1), 3)] += 1;
        }
        assert!(
            counts.iter().all(|count| (85..=86).contains(count)),
            "{counts:?}"
        );
    }

    proptest! {
        #[test]
        fn the_last_octet_never_counts(address: [u8; 4], last: u8, servers in 1usize..20) {
            let [a, b, c, _] = address;
            let (one, other) = (Ipv4Addr::from(address), Ipv4Addr::new(a, b, c, last));
            prop_assert_eq!(ip_hash(one, servers), ip_hash(other, servers));
            prop_assert!(ip_hash(one, servers) < servers);
        }
    }
}
