//! What so many sockets need: arithmetic over measured figures.
//!
//! What was measured is a constant here, beside the command that measured it, on two cores
//! of a Linux machine that the load generator shared. All else is multiplication, and
//! `CAPACITY.md` says where it ends.

use anyhow::{Result, ensure};
use clap::{Arg, CommandFactory, Parser};

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
/// Descriptors of a server that are no sockets: its port, Redis, its console, and some to spare.
const SPARE: u64 = 100;
/// Descriptors, and connections of a worker, that nginx spends on a WebSocket: client and server.
const OF_NGINX: u64 = 2;

/// Says what so many sockets need, and which part is full first.
#[derive(Clone, Debug, Parser)]
#[command(name = "capacity")]
pub struct Capacity {
    /// How many WebSockets are to be open at once.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    sockets: u64,
    /// Messages a second, of all senders together.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=1_000_000))]
    messages: u64,
    /// How many hear each message [default: all sockets].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    receivers: Option<u64>,
    /// How many servers stand behind nginx.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    servers: u64,
    /// Memory for servers and nginx: 8GiB, 512MiB.
    #[arg(long, default_value = "8GiB", value_parser = bytes)]
    memory: u64,
    /// Descriptors of one process (`ulimit -n`).
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(200..=1_000_000_000))]
    descriptors: u64,
    /// nginx's `worker_processes`.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    workers: u64,
    /// nginx's `worker_connections`.
    #[arg(long, default_value_t = 19_900, value_parser = clap::value_parser!(u64).range(16..=1_000_000))]
    connections: u64,
    /// Ports of one address, `net.ipv4.ip_local_port_range`: Linux has 32768 to 60999.
    #[arg(long, default_value_t = 28_232, value_parser = clap::value_parser!(u64).range(1..=64_512))]
    ports: u64,
}

impl Capacity {
    /// How many sockets each part has room for, in the order in which one meets them.
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
            ("ports, nginx to the servers", self.servers * self.ports),
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

    /// Deliveries a second: each message to each who hears it.
    pub fn deliveries(&self) -> u64 {
        self.messages * self.receivers.unwrap_or(self.sockets)
    }

    /// How many servers, of one thread each, so many deliveries take at the least.
    /// One, where nobody says anything.
    pub fn servers_for_deliveries(&self) -> u64 {
        self.deliveries().div_ceil(DELIVERIES).max(1)
    }

    /// What Redis hands to servers each second: with plain PUB/SUB each hears everything.
    pub fn heard_from_redis(&self) -> u64 {
        self.messages * self.servers
    }

    /// All of it, as lines.
    ///
    /// # Errors
    /// When more are to hear a message than there are sockets.
    pub fn report(&self) -> Result<String> {
        let sockets = self.sockets;
        let receivers = self.receivers.unwrap_or(sockets);
        ensure!(
            receivers <= sockets,
            "--receivers {receivers} is more than --sockets {sockets}: give as many or fewer"
        );
        let mut lines = vec![
            format!("{sockets} sockets on {} servers behind nginx", self.servers),
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
                "arithmetic; as many pongs",
            ),
        ];
        if self.messages > 0 {
            lines.extend([
                line(
                    "deliveries a second",
                    &self.deliveries().to_string(),
                    "arithmetic",
                ),
                line(
                    "servers for these",
                    &self.servers_for_deliveries().to_string(),
                    "at least; one was measured, direct and with 300 receivers",
                ),
                line(
                    "messages that Redis hands on",
                    &self.heard_from_redis().to_string(),
                    "a second; each server hears each",
                ),
            ]);
        }
        lines.push("room for so many sockets:".to_owned());
        for (part, room) in self.rooms() {
            let verdict = if room < sockets { "too few" } else { "enough" };
            lines.push(line(part, &room.to_string(), verdict));
        }
        let (part, room) = self.first_full();
        lines.push(format!("full first: {part}, at {room} sockets"));
        let needed = self.servers_for_deliveries();
        if needed > self.servers {
            lines.push(format!(
                "too slow: so many deliveries take {needed} servers, and these are {}",
                self.servers
            ));
        }
        Ok(lines.join("\n"))
    }

    /// Whether a command line asks for the calculation: it names an option that the stage
    /// has not.
    pub fn is_asked_for(mut arguments: impl Iterator<Item = String>) -> bool {
        let command = Self::command();
        let options: Vec<_> = command
            .get_arguments()
            .filter_map(Arg::get_long)
            .filter(|option| *option != "ports")
            .collect();
        arguments.any(|argument| {
            let option = argument.strip_prefix("--").unwrap_or_default();
            options.contains(&option.split('=').next().unwrap_or_default())
        })
    }
}

fn line(what: &str, value: &str, why: &str) -> String {
    format!("  {what:<29} {value:>11}   {why}")
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
