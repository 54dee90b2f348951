//! Chapter 1: a server that says who it is.
//!
//! `GET /` answers `Hi, PID: <pid>`. That is all, and it is enough: once there are
//! several servers, the PID tells which of them answered.

use std::{fmt, io, net::Ipv4Addr, process};

use axum::{Router, routing::get};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

/// The whole application: one route.
pub fn app() -> Router {
    Router::new().route("/", get(hi))
}

async fn hi() -> String {
    format!("Hi, PID: {}", process::id())
}

/// Takes the port that the environment variable `PORT` names; 8000 if it names none.
pub async fn listen() -> Result<TcpListener, PortError> {
    match std::env::var_os("PORT") {
        Some(port) => listen_on(parse_port(&port.to_string_lossy())?).await,
        None => listen_on(8000).await,
    }
}

/// Takes `port` of 127.0.0.1; 0 means any free one.
pub async fn listen_on(port: u16) -> Result<TcpListener, PortError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .map_err(|source| PortError::Bind { port, source })
}

/// Serves `app` until SIGTERM or Ctrl-C, then lets open requests finish.
///
/// Prints `<name> running on <PORT> port, PID: <pid>` once connections are accepted.
/// `drain` runs first when the end is asked for: the place to close what would
/// otherwise stay open.
pub async fn serve(
    name: &str,
    listener: TcpListener,
    app: Router,
    drain: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let end = end_asked()?;
    println!(
        "{name} running on {} port, PID: {}",
        listener.local_addr()?.port(),
        process::id()
    );
    axum::serve(listener, app)
        .with_graceful_shutdown(async {
            end.await;
            drain.await;
        })
        .await
}

/// A future that is ready once SIGTERM or SIGINT (Ctrl-C) has arrived.
fn end_asked() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

fn parse_port(text: &str) -> Result<u16, PortError> {
    text.parse()
        .map_err(|_| PortError::NotAPort(text.to_owned()))
}

/// Why a server cannot have the port it was told to take.
#[derive(Debug)]
pub enum PortError {
    /// `PORT` is no number from 0 to 65535.
    NotAPort(String),
    /// The operating system refuses the port.
    Bind {
        /// The port that was asked for.
        port: u16,
        /// What the operating system said.
        source: io::Error,
    },
}

impl fmt::Display for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAPort(text) => write!(
                f,
                "PORT={text} is no port: give a number from 0 (any free one) to 65535, such as PORT=8000"
            ),
            Self::Bind { port, source } => match source.kind() {
                io::ErrorKind::AddrInUse => write!(
                    f,
                    "port {port} is in use: stop the program that listens there, or choose another port"
                ),
                io::ErrorKind::PermissionDenied => write!(
                    f,
                    "port {port} needs root's rights, as most ports below 1024 do: choose a higher one, such as 8000"
                ),
                _ => write!(f, "port {port} cannot be had: {source}"),
            },
        }
    }
}

impl std::error::Error for PortError {}

#[cfg(test)]
mod tests {
    use super::parse_port;

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
