//! The base of every server here: it listens on `PORT`, serves, and ends without losing requests.
//!
//! [`bounds`] limits the memory and the time that one client can use.

pub mod bounds;
mod caches;
mod console;
mod frames;
mod handshakes;
pub mod health;
mod lingering;
pub mod origins;
mod requests;
mod too_long;
mod versions;

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process,
    time::Duration,
};

use axum::{Router, middleware::from_fn};
use bounds::Connection;
pub use console::log;
use frames::Measured;
use origins::Origins;
use tokio::{
    net::{TcpListener, TcpStream},
    signal::unix::{Signal, SignalKind, signal},
    time::timeout,
};
pub use too_long::MAX_PAYLOAD;

/// Listens on the port in the environment variable `PORT`, or on 8000. The address is the one in
/// `LISTEN`, or 127.0.0.1, which only this machine can reach. In a container, `LISTEN` is 0.0.0.0:
/// all addresses of the container.
pub async fn listen() -> Result<TcpListener, PortError> {
    let address = match std::env::var_os("LISTEN") {
        Some(address) => parse_address(&address.to_string_lossy())?,
        None => Ipv4Addr::LOCALHOST.into(),
    };
    bind(SocketAddr::new(address, port()?)).await
}

/// The same for a server that is not safe on a network. `LISTEN` may only be an address that no
/// other machine can reach: one of 127.0.0.0/8, or ::1.
pub async fn listen_locally() -> Result<TcpListener, PortError> {
    if let Some(address) = std::env::var_os("LISTEN") {
        let address = parse_address(&address.to_string_lossy())?;
        if !address.is_loopback() {
            return Err(PortError::ForStrangers(address));
        }
    }
    listen().await
}

/// The port in `PORT`, or 8000 if `PORT` is not set.
pub fn port() -> Result<u16, PortError> {
    port_or(8000)
}

/// The same for a program with another default port.
pub fn port_or(default: u16) -> Result<u16, PortError> {
    match std::env::var_os("PORT") {
        Some(port) => parse_port(&port.to_string_lossy()),
        None => Ok(default),
    }
}

/// Listens on `port` of 127.0.0.1. 0 means any free port.
pub async fn listen_on(port: u16) -> Result<TcpListener, PortError> {
    bind((Ipv4Addr::LOCALHOST, port).into()).await
}

async fn bind(address: SocketAddr) -> Result<TcpListener, PortError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| PortError::Bind { address, source })
}

/// How long a server may take to end after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(4);

/// Serves `app` until SIGTERM or Ctrl-C, then lets open requests finish.
///
/// Prints `<name> running on <PORT> port, PID: <pid>` when it accepts connections, and
/// `<name> on <PORT> port has ended, PID: <pid>` at its end. After the signal it accepts no more
/// connections. Then `drain` runs, which closes connections that would otherwise stay open. After a
/// second signal, or after four seconds, the server ends in any case.
///
/// With `ALLOWED_ORIGIN` set, pages of these origins may connect, and no others ([`origins`]).
pub async fn serve(
    name: &str,
    listener: TcpListener,
    app: Router,
    drain: impl Future<Output = ()>,
) -> io::Result<()> {
    let app = match Origins::named_in_env()? {
        Some(origins) => origins.guard(app),
        None => app,
    };
    serve_guarded(name, listener, |stream, _client| stream, app, drain).await
}

/// The same for any page, and `guard` may wrap each connection. It gets the client's address too.
pub async fn serve_guarded<C: Connection>(
    name: &str,
    listener: TcpListener,
    guard: impl Fn(TcpStream, SocketAddr) -> C,
    app: Router,
    drain: impl Future<Output = ()>,
) -> io::Result<()> {
    let app = app
        .layer(from_fn(too_long::say_why))
        .layer(from_fn(handshakes::refuse_broken))
        .layer(from_fn(versions::name_refused))
        .layer(from_fn(caches::forbid));
    let guard = |stream, client| Measured::new(guard(stream, client));
    let (asked, insisted) = (Signals::new()?, Signals::new()?);
    let port = listener.local_addr()?.port();
    log(format!(
        "{name} running on {port} port, PID: {}",
        process::id()
    ));

    let end = async {
        asked.first().await;
    };
    tokio::select! {
        () = bounds::serve_guarded(listener, guard, app, end, drain) => {}
        () = insisted.second_or_too_late() => {}
    }
    log(format!(
        "{name} on {port} port has ended, PID: {}",
        process::id()
    ));
    Ok(())
}

/// SIGTERM and SIGINT (Ctrl-C), from the moment that this is made.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    async fn first(mut self) {
        self.next().await;
    }

    async fn second_or_too_late(mut self) {
        self.next().await;
        // The second signal or the time limit.
        let _too_late = timeout(PATIENCE, self.next()).await;
    }
}

fn parse_port(text: &str) -> Result<u16, PortError> {
    text.parse()
        .map_err(|_| PortError::NotAPort(text.to_owned()))
}

fn parse_address(text: &str) -> Result<IpAddr, PortError> {
    text.parse()
        .map_err(|_| PortError::NotAnAddress(text.to_owned()))
}

/// Why a server cannot listen on its port.
#[derive(Debug)]
pub enum PortError {
    /// `LISTEN` is no IP address.
    NotAnAddress(String),
    /// With this `LISTEN`, other machines could reach a server that is not safe on a network.
    ForStrangers(IpAddr),
    /// `PORT` is no number from 0 to 65535.
    NotAPort(String),
    /// The operating system refuses the port.
    Bind {
        /// The address and port that were asked for.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
}

impl fmt::Display for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnAddress(text) => write!(
                f,
                "LISTEN={text} is no IP address: give one of this machine's, such as LISTEN=127.0.0.1, or LISTEN=0.0.0.0 for all of them"
            ),
            Self::ForStrangers(address) => write!(
                f,
                "LISTEN={address} lets other machines reach this server, and it accepts every client: \
                 unset LISTEN, or use the hardened server (cargo run -p hardened-chat)"
            ),
            Self::NotAPort(text) => write!(
                f,
                "PORT={text} is no port: give a number from 0 (any free one) to 65535, such as PORT=8000"
            ),
            Self::Bind { address, source } => match source.kind() {
                io::ErrorKind::AddrNotAvailable => write!(
                    f,
                    "LISTEN={} is no address of this machine: give one that it has, such as LISTEN=127.0.0.1, or LISTEN=0.0.0.0 for all of them",
                    address.ip()
                ),
                io::ErrorKind::AddrInUse => write!(
                    f,
                    "port {} is in use: stop the program that listens there, or choose another port",
                    address.port()
                ),
                io::ErrorKind::PermissionDenied => write!(
                    f,
                    "only root may use port {}, like most ports below 1024: choose a higher one, such as 8000",
                    address.port()
                ),
                _ => write!(
                    f,
                    "the server cannot listen on port {}: {source}",
                    address.port()
                ),
            },
        }
    }
}

impl std::error::Error for PortError {}

#[cfg(test)]
mod tests {
    use super::{parse_address, parse_port};

    #[test]
    fn listen_must_be_an_ip_address() {
        assert_eq!(parse_address("0.0.0.0").unwrap().to_string(), "0.0.0.0");
        for bad in ["localhost", "0.0.0.0:8000", "", "::1 "] {
            let said = parse_address(bad).unwrap_err().to_string();
            assert!(
                said.starts_with(&format!("LISTEN={bad} is no IP address")),
                "{said}"
            );
        }
    }

    #[test]
    fn a_port_is_a_number_up_to_65535() {
        assert_eq!(parse_port("8000").unwrap(), 8000);
        for bad in ["abc", "99999", "-1", "", "80 "] {
            let said = parse_port(bad).unwrap_err().to_string();
            assert!(
                said.starts_with(&format!("PORT={bad} is no port")),
                "{said}"
            );
        }
    }
}
