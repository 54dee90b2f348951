//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, value_parser};

use crate::{stack::Stacks, worker::crowd::Transport};

/// Measures how much the Rust servers handle, next to the article's servers in Node.
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
Limits: 25 rounds, 120 seconds each, 60000 clients, 200000 requests or messages per second.
REDIS_URL and NGINX_BIN name the Redis and the nginx to use, as for the chapters.";

/// What to measure.
#[derive(Clone, Subcommand)]
pub(crate) enum Measure {
    /// Requests per second: one process, three, and three behind nginx.
    Http(Options),
    /// Sockets through nginx that stay open: time, memory, and whether all receive a message.
    Sockets(Sockets),
    /// Messages to everybody and to a room: direct and through nginx.
    Broadcast(Options),
    /// Messages between users over long polling, at a fixed rate.
    Polling(Options),
    /// A server dies: the time until all its clients are connected again.
    Storm(Options),
    /// Servers are replaced one by one: failed requests, the time until clients are connected again.
    Replace(Options),
    /// nginx's config for many sockets, and what each of its lines does.
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
    /// How clients connect. The other measurements have a fixed way.
    #[arg(long, value_enum, default_value = "websocket")]
    pub(crate) transport: Transport,
    #[command(flatten)]
    pub(crate) options: Options,
}

/// What every measurement takes.
#[derive(Clone, Args)]
pub(crate) struct Options {
    /// Which servers. Both take turns, in one run.
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
    /// Requests (http, replace) or messages (polling) per second, from all clients together
    /// [default: http as many as possible, polling 400, replace 200].
    #[arg(long, value_parser = value_parser!(u32).range(1..=200_000))]
    pub(crate) rate: Option<u32>,
    /// Exits 1 if anything was lost, duplicated, out of order, refused, or failed.
    #[arg(long)]
    pub(crate) check: bool,
    /// Writes the report with all rounds to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Draws the report to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
}
