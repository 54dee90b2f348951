//! The API alone, beside a chat that runs.
//!
//! ```text
//! PUSHER_SECRET=… cargo run -p pusher-api --bin pusher     on port 8090, or on PORT
//! ```

use std::process::ExitCode;

use clap::Parser;

/// Serves an HTTP API like Pusher's, beside a chat that runs: a signed request sends an event to
/// users.
#[derive(Parser)]
#[command(name = "pusher", after_help = AFTER)]
struct Pusher {}

const AFTER: &str = "\
PUSHER_SECRET is the secret that signs requests. PORT is the port, 8090 by default. REDIS_URL is
the Redis of the chat servers.";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Pusher {} = Pusher::parse();
    lab::exit_code(pusher_api::run().await)
}
