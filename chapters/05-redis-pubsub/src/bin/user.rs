//! A user of the chat, at the keyboard.
//!
//! ```text
//! cargo run -p ch05-redis-pubsub --bin user -- alice http://127.0.0.1:8000
//! cargo run -p ch05-redis-pubsub --bin user -- bob http://127.0.0.1:8001
//! ```

use std::process::ExitCode;

use ch05_redis_pubsub::user::User;
use clap::Parser;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    lab::exit_code(User::parse().run().await)
}
