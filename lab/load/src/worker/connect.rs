//! Where clients come from and go to.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};

/// How long anything may take that is to be answered at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The servers, or nginx.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Targets(Vec<SocketAddr>);

impl Targets {
    /// # Panics
    /// When there is none.
    pub(crate) fn new(addresses: Vec<SocketAddr>) -> Self {
        assert!(!addresses.is_empty(), "there is something to connect to");
        Self(addresses)
    }

    /// Where the client with that number goes: each to the next.
    pub(crate) fn of(&self, client: u32) -> SocketAddr {
        self.0[client as usize % self.0.len()]
    }
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// There is one, and it says no.
    Refused,
    /// The connection cannot be had, is gone, or says what is no answer.
    Failed,
}

impl From<io::Error> for Trouble {
    fn from(_: io::Error) -> Self {
        Self::Failed
    }
}

/// The address of a client: each of 256 in a /24 of its own, for `ip_hash` and to have
/// ports enough.
pub(crate) fn source(client: u32) -> Ipv4Addr {
    let [.., subnet] = client.to_be_bytes();
    Ipv4Addr::new(127, 0, subnet, 1)
}

/// Connects the client with that number.
pub(crate) async fn connect(targets: &Targets, client: u32) -> Result<TcpStream, Trouble> {
    let socket = TcpSocket::new_v4()?;
    // Elsewhere the loopback device has 127.0.0.1 alone; nginx is told in a header as well.
    #[cfg(target_os = "linux")]
    bind(&socket, source(client))?;
    let connecting = socket.connect(targets.of(client));
    let stream = timeout(PATIENCE, connecting)
        .await
        .map_err(|_too_slow| Trouble::Failed)??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Takes the address now, and a port when it connects.
///
/// A port that `bind` takes is one that no `connect` of this machine is given, to whichever
/// address: with many clients bound so, half of all ports are lost to nginx's connections to
/// the servers. Source: ip(7), `IP_BIND_ADDRESS_NO_PORT`.
#[cfg(target_os = "linux")]
fn bind(socket: &TcpSocket, address: Ipv4Addr) -> io::Result<()> {
    nix::sys::socket::setsockopt(
        socket,
        nix::sys::socket::sockopt::IpBindAddressNoPort,
        &true,
    )?;
    socket.bind((address, 0).into())
}
