//! Sends a message to a user of the chat, through a Redis Cluster.
//!
//! ```text
//! REDIS_URL=redis://127.0.0.1:7001 cargo run -p redis-cluster --bin emit -- bob hi
//! ```

use std::process::ExitCode;

use clap::Parser;
use redis_cluster::emit::Emit;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    lab::exit_code(Emit::parse().run().await)
}
