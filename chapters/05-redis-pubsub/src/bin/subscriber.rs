//! Prints every message on `socket-lab:my channel`.
//!
//! ```text
//! cargo run -p ch05-redis-pubsub --bin subscriber
//! ```

use std::process::ExitCode;

use ch05_redis_pubsub::programs::Subscriber;
use clap::Parser;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    lab::exit_code(Subscriber::parse().run().await)
}
