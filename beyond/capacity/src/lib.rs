//! What limits the number of sockets? Each limit is made so small that dozens of sockets reach it.
//!
//! [`open`] is the same for all limits: it opens sockets, one after the other, until one fails.
//! [`arithmetic`] calculates what a given number of sockets needs, and [`experiments`] reach the
//! limits and lift them.

pub mod arithmetic;
pub mod experiments;
pub mod ports;
mod server;

use std::path::Path;

use anyhow::Result;
use ch06_full_stack::experiment::User;
use hardened_chat::no_settings_are_left;
use lab::{
    Event, Observer, Stage, Transport,
    client::{Error, PATIENCE},
};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

pub use server::serve;

/// The config whose limits are made small.
pub const CONFIG: &str = "beyond/06-many-sockets.conf";

/// What a server without a free descriptor says.
pub const SHORTAGE: &str = "no more connections can be taken for now";

/// The sockets that are open, and the error of the first one that failed.
pub struct Opened {
    /// The users that are connected.
    pub users: Vec<User>,
    /// The error of the next one, if it failed.
    pub error: Option<Error>,
}

/// Opens WebSockets until `wanted` are open, or one fails. They use the URLs in turn, and addresses
/// that nginx spreads over three servers.
pub async fn open(urls: &[&str], wanted: usize) -> Opened {
    let mut users = Vec::with_capacity(wanted);
    for (number, url) in (0..wanted).zip(urls.iter().cycle()) {
        let name = format!("user {number}");
        match User::connect(url, &name, number % 3, Transport::WebSocket).await {
            Ok(user) => users.push(user),
            Err(error) => {
                return Opened {
                    users,
                    error: Some(error),
                };
            }
        }
    }
    Opened { users, error: None }
}

/// How many sockets could be opened, and what was said then.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Seen {
    /// How many sockets were open at the same time.
    pub open: usize,
    /// The client's error, if a socket failed.
    pub client: Option<String>,
    /// The line about it in the log of nginx or of the server.
    pub line: Option<String>,
}

impl Opened {
    /// The same as [`Seen`], with that line.
    pub fn seen(&self, line: Option<String>) -> Seen {
        Seen {
            open: self.users.len(),
            client: self.error.as_ref().map(|_| self.told()),
            line,
        }
    }

    /// The error of the socket that failed, in words. Empty if all are open.
    pub fn told(&self) -> String {
        match &self.error {
            Some(Error::Refused(answer)) => format!("HTTP status {}", answer.status),
            Some(error) => error.to_string(),
            None => String::new(),
        }
    }
}

/// Starts one server that may have that many descriptors, in place of the servers that run.
///
/// # Errors
/// When it does not start, such as with a limit above this user's own (`ulimit -Hn`).
pub async fn start_with_descriptors(stage: &mut Stage, limit: usize) -> Result<()> {
    start(stage, &[(server::DESCRIPTORS, &limit.to_string())], 1).await
}

/// Starts one server that may use that many KiB of memory (address space) more than it has when it
/// starts, in place of the servers that run. Returns whether it could: only Linux tells how much a
/// process has.
///
/// # Errors
/// When it does not start.
pub async fn start_with_memory(stage: &mut Stage, more: usize) -> Result<bool> {
    if !Path::new(server::STATUS).exists() {
        return Ok(false);
    }
    start(stage, &[(server::MORE_MEMORY, &more.to_string())], 1).await?;
    Ok(true)
}

/// Starts servers without Redis, in place of the servers that run: these users send no messages.
async fn start(stage: &mut Stage, environment: &[(&str, &str)], servers: u8) -> Result<()> {
    no_settings_are_left()?;
    stage.servers.stop().await;
    let environment = [&[("ADAPTER", "off")], environment].concat();
    stage.servers.start(servers, &environment).await
}

/// The config with one worker, which may have that many connections.
pub fn with_connections(config: &str, connections: usize) -> String {
    config
        .replace("worker_processes 8;", "worker_processes 1;")
        .replace(
            "worker_connections 19900;",
            &format!("worker_connections {connections};"),
        )
}

/// Waits for a line of a server or of nginx that contains `text`. Returns it without the time, the
/// PID and the request. `None` if there is no such line in time.
pub async fn line_with(observer: &mut Observer, text: &str) -> Option<String> {
    let found = async {
        loop {
            for observed in observer.next(1_000).await {
                if let Event::Said { line, .. } = observed.event
                    && line.contains(text)
                {
                    return line;
                }
            }
        }
    };
    let line = timeout(PATIENCE, found).await.ok()?;
    // nginx: `2026/01/01 12:00:00 [crit] 10#10: *7 connect() to …`
    let short = line.split_once('[').and_then(|(_, line)| {
        let (level, line) = line.split_once(']')?;
        let said = line.split_once(": ")?.1;
        let (said, _request) = said.split_once(", client:").unwrap_or((said, ""));
        Some(format!("[{level}] {said}"))
    });
    Some(short.unwrap_or(line))
}
