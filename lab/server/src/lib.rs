//! The ground under every server here: listen on `PORT`, serve, end well.
//!
//! [`bounds`] limits what one client may take of a server.

pub mod bounds;
mod console;
pub mod health;

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process,
    time::Duration,
};

use axum::Router;
use bounds::Connection;
pub use console::log;
use tokio::{
    net::{TcpListener, TcpStream},
    signal::unix::{Signal, SignalKind, signal},
    time::timeout,
};

/// Takes the port that the environment variable `PORT` names, or 8000, of the address that
/// `LISTEN` names, or 127.0.0.1: only this machine reaches it there. In a container it is
/// 0.0.0.0, which is all addresses that the container has.
pub async fn listen() -> Result<TcpListener, PortError> {
    let address = match std::env::var_os("LISTEN") {
        Some(address) => parse_address(&address.to_string_lossy())?,
        None => Ipv4Addr::LOCALHOST.into(),
    };
    bind(SocketAddr::new(address, port()?)).await
}

/// The same for a server that is not made for strangers: `LISTEN` may name addresses of this
/// machine's own (127.0.0.0/8 and ::1) and no others.
pub async fn listen_locally() -> Result<TcpListener, PortError> {
    if let Some(address) = std::env::var_os("LISTEN") {
        let address = parse_address(&address.to_string_lossy())?;
        if !address.is_loopback() {
            return Err(PortError::ForStrangers(address));
        }
    }
    listen().await
}

/// The port that `PORT` names; 8000 if it names none.
pub fn port() -> Result<u16, PortError> {
    port_or(8000)
}

/// The same for a program that has another port of its own.
pub fn port_or(default: u16) -> Result<u16, PortError> {
    match std::env::var_os("PORT") {
        Some(port) => parse_port(&port.to_string_lossy()),
        None => Ok(default),
    }
}

/// Takes `port` of 127.0.0.1; 0 means any free one.
pub async fn listen_on(port: u16) -> Result<TcpListener, PortError> {
    bind((Ipv4Addr::LOCALHOST, port).into()).await
}

async fn bind(address: SocketAddr) -> Result<TcpListener, PortError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| PortError::Bind { address, source })
}

/// What a server that was asked to end may still take for it.
const PATIENCE: Duration = Duration::from_secs(4);

/// Serves `app` until SIGTERM or Ctrl-C, then lets open requests finish.
///
/// Prints `<name> running on <PORT> port, PID: <pid>` once connections are accepted, and
/// `<name> on <PORT> port has ended, PID: <pid>` at its end. When the end is asked for, no
/// more connections are accepted; then `drain` runs: the place to close what would
/// otherwise stay open. A second signal, or four seconds, end it in any case.
pub async fn serve(
    name: &str,
    listener: TcpListener,
    app: Router,
    drain: impl Future<Output = ()>,
) -> io::Result<()> {
    serve_guarded(name, listener, |stream, _client| stream, app, drain).await
}

/// The same; `guard` may put a guard of its own before each connection and its client.
pub async fn serve_guarded<C: Connection>(
    name: &str,
    listener: TcpListener,
    guard: impl Fn(TcpStream, SocketAddr) -> C,
    app: Router,
    drain: impl Future<Output = ()>,
) -> io::Result<()> {
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
        // Whichever comes first.
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

/// Why a server cannot have the port it was told to take.
#[derive(Debug)]
pub enum PortError {
    /// `LISTEN` is no IP address.
    NotAnAddress(String),
    /// `LISTEN` lets other machines reach a server that is not made for that.
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
                "LISTEN={address} lets other machines reach this server, which lets everybody in: \
                 unset LISTEN, or use the hardened one (cargo run -p hardened-chat)"
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
                    "port {} needs root's rights, as most ports below 1024 do: choose a higher one, such as 8000",
                    address.port()
                ),
                _ => write!(f, "port {} cannot be had: {source}", address.port()),
            },
        }
    }
}

impl std::error::Error for PortError {}

#[cfg(test)]
mod tests {
    use super::{parse_address, parse_port};

    #[test]
    fn where_to_listen_is_an_ip_address() {
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
