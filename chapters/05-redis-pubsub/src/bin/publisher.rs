//! Publishes `hi` and `hello world` on `socket-lab:my channel`.
//!
//! ```text
//! cargo run -p ch05-redis-pubsub --bin publisher
//! ```

use std::process::ExitCode;

use ch05_redis_pubsub::programs::Publisher;
use clap::Parser;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    lab::exit_code(Publisher::parse().run().await)
}
