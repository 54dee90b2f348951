//! An HTTP API in the shape of Pusher's: a signed request triggers an event for users.
//!
//! ```text
//! PUSHER_SECRET=… cargo run -p ch06-full-stack --bin pusher     on port 8090, beside a running stage
//! ```

use std::process::ExitCode;

use ch06_full_stack::pusher;
use clap::Parser;

/// Serves an HTTP API in the shape of Pusher's, beside a running stage: a signed request
/// triggers an event for users.
#[derive(Parser)]
#[command(name = "pusher", after_help = AFTER)]
struct Pusher {}

const AFTER: &str = "\
PUSHER_SECRET is what requests are signed with, PORT the port (8090 unless it says otherwise),
REDIS_URL the stage's Redis.";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Pusher {} = Pusher::parse();
    lab::exit_code(pusher::run().await)
}
