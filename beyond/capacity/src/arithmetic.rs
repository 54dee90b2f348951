//! What a given number of sockets needs: arithmetic with measured figures.
//!
//! The measured figures are constants here, next to the command that measured each of them, on two
//! cores of a Linux machine that also ran the load generator. All else is multiplication.

use anyhow::{Result, ensure};
use clap::Args;

/// Bytes that a server holds for each idle WebSocket:
/// `cargo run --release -p load -- sockets --clients 3000 --seconds 2`.
pub const SERVER_BYTES: u64 = 18_400;
/// Bytes that nginx holds for each:
/// `cargo run --release -p load -- sockets --clients 57000 --stack rust --rounds 1 --seconds 2`.
pub const NGINX_BYTES: u64 = 14_100;
/// Deliveries a second of one server, on one thread, direct to 300 receivers:
/// `cargo run --release -p load -- broadcast --rounds 5 --seconds 2`.
pub const DELIVERIES: u64 = 1_529_000;
/// Seconds between two pings of a socket: `pingInterval`, Socket.IO's default.
pub const PING_INTERVAL: u64 = 25;
/// Descriptors of a process that are not sockets: its port, Redis, its console, and some in reserve.
const SPARE: u64 = 100;
/// Descriptors, and connections of a worker, that nginx needs for a WebSocket: to the client and to
/// the server.
const OF_NGINX: u64 = 2;

/// How many sockets, and on what machine.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Arithmetic")]
pub struct Capacity {
    /// Start nothing. Calculate what that many open WebSockets need, and end.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    sockets: Option<u64>,
    /// Messages a second, from all senders together.
    #[arg(long, requires = "sockets", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=1_000_000))]
    messages: u64,
    /// How many clients receive each message [default: all sockets].
    #[arg(long, requires = "sockets", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    receivers: Option<u64>,
    /// How many servers are behind nginx.
    #[arg(long, requires = "sockets", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    servers: u64,
    /// Memory for servers and nginx: 8GiB, 512MiB.
    #[arg(long, requires = "sockets", default_value = "8GiB", value_parser = bytes)]
    memory: u64,
    /// Descriptors of one process (`ulimit -n`).
    #[arg(long, requires = "sockets", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(200..=1_000_000_000))]
    descriptors: u64,
    /// nginx's `worker_processes`.
    #[arg(long, requires = "sockets", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    workers: u64,
    /// nginx's `worker_connections`.
    #[arg(long, requires = "sockets", default_value_t = 19_900, value_parser = clap::value_parser!(u64).range(16..=1_000_000))]
    connections: u64,
    /// Ports of one address, `net.ipv4.ip_local_port_range`: Linux has 32768 to 60999.
    #[arg(long, requires = "sockets", default_value_t = 28_232, value_parser = clap::value_parser!(u64).range(1..=64_512))]
    local_ports: u64,
}

impl Capacity {
    /// Whether the command line asks for arithmetic instead of the experiments.
    pub fn is_asked_for(&self) -> bool {
        self.sockets.is_some()
    }

    fn sockets(&self) -> u64 {
        self.sockets.unwrap_or_default()
    }

    /// How many sockets each part has room for, in the order in which one usually reaches them.
    pub fn rooms(&self) -> [(&'static str, u64); 5] {
        [
            (
                "descriptors of the servers",
                self.servers * (self.descriptors - SPARE),
            ),
            (
                "descriptors of nginx",
                self.workers * (self.descriptors - SPARE) / OF_NGINX,
            ),
            (
                "worker_connections",
                self.workers * self.connections / OF_NGINX,
            ),
            (
                "ports, nginx to the servers",
                self.servers * self.local_ports,
            ),
            ("memory", self.memory / (SERVER_BYTES + NGINX_BYTES)),
        ]
    }

    /// The part that is full first, and how many sockets it has room for.
    ///
    /// # Panics
    /// Never: there are five parts.
    pub fn first_full(&self) -> (&'static str, u64) {
        let rooms = self.rooms().into_iter();
        rooms.min_by_key(|(_, room)| *room).expect("five parts")
    }

    /// Deliveries a second: each message to each of its receivers.
    pub fn deliveries(&self) -> u64 {
        self.messages * self.receivers.unwrap_or(self.sockets())
    }

    /// How many servers, with one thread each, these deliveries need at least. Without messages: one.
    pub fn servers_for_deliveries(&self) -> u64 {
        self.deliveries().div_ceil(DELIVERIES).max(1)
    }

    /// How many messages Redis passes to servers each second. With plain PUB/SUB, each server gets
    /// every message.
    pub fn from_redis(&self) -> u64 {
        self.messages * self.servers
    }

    /// The whole calculation, as lines.
    ///
    /// # Errors
    /// When a message has more receivers than there are sockets.
    pub fn report(&self) -> Result<String> {
        let sockets = self.sockets();
        let receivers = self.receivers.unwrap_or(sockets);
        ensure!(
            receivers <= sockets,
            "--receivers {receivers} is more than --sockets {sockets}: give the same number or fewer"
        );
        let mut lines = vec![format!(
            "{} on {} behind nginx",
            count(sockets, "socket"),
            count(self.servers, "server")
        )];
        lines.extend(self.assumed());
        lines.extend(self.needed());
        lines.push("room for that many sockets:".to_owned());
        for (part, room) in self.rooms() {
            let verdict = if room < sockets { "too few" } else { "enough" };
            lines.push(line(part, &room.to_string(), verdict));
        }
        let (part, room) = self.first_full();
        lines.push(format!("full first: {part}, at {}", count(room, "socket")));
        let needed = self.servers_for_deliveries();
        if needed > self.servers {
            lines.push(format!(
                "too slow: the deliveries need {}, and there {} {}",
                count(needed, "server"),
                if self.servers == 1 { "is" } else { "are" },
                self.servers
            ));
        }
        Ok(lines.join("\n"))
    }

    fn assumed(&self) -> [String; 5] {
        [
            "assumed; each option changes a line:".to_owned(),
            line(
                "memory",
                &mebibytes(self.memory),
                "--memory: servers and nginx together",
            ),
            line(
                "descriptors",
                &self.descriptors.to_string(),
                "--descriptors: of each process",
            ),
            line(
                "workers of nginx",
                &self.workers.to_string(),
                &format!("--workers: {} each", count(self.connections, "connection")),
            ),
            line(
                "ports",
                &self.local_ports.to_string(),
                "--local-ports: nginx to each server",
            ),
        ]
    }

    fn needed(&self) -> Vec<String> {
        let sockets = self.sockets();
        let mut lines = vec![
            "needed:".to_owned(),
            line(
                "memory of the servers",
                &mebibytes(sockets * SERVER_BYTES),
                "measured for each socket",
            ),
            line(
                "memory of nginx",
                &mebibytes(sockets * NGINX_BYTES),
                "measured for each socket",
            ),
            line(
                "pings a second",
                &(sockets / PING_INTERVAL).to_string(),
                "calculated; and as many pongs",
            ),
        ];
        if self.messages > 0 {
            lines.extend([
                line(
                    "deliveries a second",
                    &self.deliveries().to_string(),
                    "calculated",
                ),
                line(
                    "servers for these",
                    &self.servers_for_deliveries().to_string(),
                    "at least",
                ),
                line(
                    "messages from Redis",
                    &self.from_redis().to_string(),
                    "a second; each server gets all",
                ),
            ]);
        }
        lines
    }
}

/// `1 server`, `3 servers`.
fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

fn line(what: &str, value: &str, why: &str) -> String {
    format!("  {what:<27} {value:>11}  {why}")
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

/// `8GiB`, `512MiB`.
fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = match (text.strip_suffix("GiB"), text.strip_suffix("MiB")) {
        (Some(number), _) => (number, 1 << 30),
        (_, Some(number)) => (number, 1 << 20),
        _ => ("", 1),
    };
    let number: Option<u64> = number.parse().ok().filter(|number| *number > 0);
    let bytes = number.and_then(|number| number.checked_mul(unit));
    bytes.ok_or_else(|| "give a size such as 8GiB or 512MiB".to_owned())
}
