//! The ports that a stage uses.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process,
    sync::{
        Mutex,
        atomic::{AtomicU16, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Result, bail};
use front_end::Which;

use crate::client::lock;

/// The ports of the article, or free ones in their place.
#[derive(Debug)]
pub(crate) enum Ports {
    /// 8000, 8001, … for servers, 3000 for nginx, 6379 for Redis.
    Article,
    /// A block of ports that no other stage uses.
    Auto(Block),
}

/// A block of ports, taken by listening on its first port for as long as the stage lives.
///
/// The blocks are below the range for outgoing connections. So no outgoing connection can take the
/// port of a killed server before the server starts again.
#[derive(Debug)]
pub(crate) struct Block {
    lock: TcpListener,
    taken: AtomicU16,
    /// The port in place of each of the article's ports.
    known: Mutex<HashMap<u16, u16>>,
}

const FIRST: u16 = 10_000;
const BLOCK: u16 = 20;
const BLOCKS: u16 = 1_000;

impl Block {
    /// Takes the first block that is free, looking from one that depends on the PID.
    fn take() -> Result<Self> {
        let start = u16::try_from(process::id() % u32::from(BLOCKS)).unwrap_or(0);
        for step in 0..BLOCKS {
            let base = FIRST + (start + step) % BLOCKS * BLOCK;
            if let Ok(lock) = TcpListener::bind(loopback(base)) {
                return Ok(Self {
                    lock,
                    taken: AtomicU16::new(0),
                    known: Mutex::default(),
                });
            }
        }
        bail!("all ports from {FIRST} on are in use: stop the programs that use them")
    }

    /// The port in place of the article's. If another program has taken it meanwhile, it is a new
    /// one.
    fn instead_of(&self, port: u16) -> Result<u16> {
        let known = lock(&self.known).get(&port).copied();
        if let Some(known) = known.filter(|known| is_free(*known)) {
            return Ok(known);
        }
        let next = self.next()?;
        lock(&self.known).insert(port, next);
        Ok(next)
    }

    fn next(&self) -> Result<u16> {
        let base = self.lock.local_addr()?.port();
        loop {
            let taken = self.taken.fetch_add(1, Relaxed) + 1;
            if taken >= BLOCK {
                break;
            }
            let port = base + taken;
            if is_free(port) {
                return Ok(port);
            }
        }
        bail!("a stage can use at most {} ports", BLOCK - 1)
    }
}

impl TryFrom<Which> for Ports {
    type Error = anyhow::Error;

    /// # Errors
    /// When there are no free ports.
    fn try_from(which: Which) -> Result<Self> {
        match which {
            Which::Article => Ok(Self::Article),
            Which::Auto => Self::auto(),
        }
    }
}

impl Ports {
    pub(crate) fn auto() -> Result<Self> {
        Block::take().map(Self::Auto)
    }

    /// The address to use where the article uses `port` of localhost.
    ///
    /// # Errors
    /// One sentence, if a program listens there already.
    pub(crate) fn instead_of(&self, port: u16) -> Result<SocketAddr> {
        match self {
            Self::Article if is_free(port) => Ok(loopback(port)),
            Self::Article => bail!(
                "port {port} is in use, perhaps by another stage: stop the program that listens there, \
                 or use free ports with `-- --ports auto`"
            ),
            Self::Auto(block) => block.instead_of(port).map(loopback),
        }
    }
}

pub(crate) fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Whether a server could listen on `port` of 127.0.0.1 now.
///
/// The connection attempt is for macOS. There, a program can bind 127.0.0.1 while another one
/// listens on 0.0.0.0.
fn is_free(port: u16) -> bool {
    let at_once = Duration::from_millis(200);
    TcpStream::connect_timeout(&loopback(port), at_once).is_err()
        && TcpListener::bind(loopback(port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::Ports;

    #[test]
    fn two_stages_never_share_a_port() {
        let (one, other) = (Ports::auto().unwrap(), Ports::auto().unwrap());
        let taken = |ports: &Ports| -> Vec<_> {
            (0..5)
                .map(|_| ports.instead_of(8000).unwrap().port())
                .collect()
        };
        let (one, other) = (taken(&one), taken(&other));
        assert!(
            one.iter().all(|port| !other.contains(port)),
            "{one:?} {other:?}"
        );
    }
}
