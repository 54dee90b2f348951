//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, value_parser};

use crate::{stack::Stacks, worker::crowd::Transport};

/// Measures how much a stack holds: the chapters' servers, beside the article's in Node.
///
/// Servers, nginx and Redis are started on free ports of this machine, and end with the
/// measurement. Nothing leaves the loopback device.
#[derive(Parser)]
#[command(name = "load", after_help = AFTER)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) measure: Measure,
}

const AFTER: &str = "\
Limits: 25 rounds, 120 seconds each, 60000 clients, 200000 requests or messages a second.
REDIS_URL and NGINX_BIN name the Redis and the nginx to use, as for the chapters.";

/// What to measure.
#[derive(Clone, Subcommand)]
pub(crate) enum Measure {
    /// Requests a second: one process, three, and three behind nginx.
    Http(Options),
    /// Sockets opened through nginx and held: time, memory, and whether all are there.
    Sockets(Sockets),
    /// Messages to everybody and to a room: direct and through nginx.
    Broadcast(Options),
    /// Messages between users over long polling, at a fixed rate.
    Polling(Options),
    /// A server dies under its sockets: the time until all are back.
    Storm(Options),
    /// Servers are replaced one by one: requests that fail, the time until sockets are back.
    Replace(Options),
    /// nginx's config for many sockets, and what each of its lines is good for.
    Nginx(Options),
    /// Start of a server, memory of three idle ones, size on disk.
    Start(Options),
    /// A part of the load generator; reads its job from its input.
    #[command(hide = true)]
    Worker,
}

/// What `load sockets` takes.
#[derive(Clone, Args)]
pub(crate) struct Sockets {
    /// How clients connect. The other measurements say themselves how theirs do.
    #[arg(long, value_enum, default_value = "websocket")]
    pub(crate) transport: Transport,
    #[command(flatten)]
    pub(crate) options: Options,
}

/// What every measurement takes.
#[derive(Clone, Args)]
pub(crate) struct Options {
    /// Whose servers: both take turns, in one run.
    #[arg(long, value_enum, default_value = "both")]
    pub(crate) stack: Stacks,
    /// How often everything is measured; medians are reported.
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u32).range(1..=25))]
    pub(crate) rounds: u32,
    /// How long each case of a round is measured, or sockets are held.
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u32).range(1..=120))]
    pub(crate) seconds: u32,
    /// How many clients [default: http 64, sockets 1000, broadcast 300, polling 200, storm 1000,
    /// replace 1000, nginx 3000].
    #[arg(long, value_parser = value_parser!(u32).range(2..=60_000))]
    pub(crate) clients: Option<u32>,
    /// So many requests (http, replace) or messages (polling) a second, of all clients together
    /// [default: http as many as there can be, polling 400, replace 200].
    #[arg(long, value_parser = value_parser!(u32).range(1..=200_000))]
    pub(crate) rate: Option<u32>,
    /// Exits 1 if anything was lost, duplicated, out of order, refused, or failed.
    #[arg(long)]
    pub(crate) check: bool,
    /// Writes the report here, all rounds in it.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Draws the report here.
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
}
