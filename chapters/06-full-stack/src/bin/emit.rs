//! Sends a message to a user of the chat. It is not a Socket.IO server.
//!
//! ```text
//! cargo run -p ch06-full-stack --bin emit -- bob "hello from outside"
//! ```

use std::process::ExitCode;

use ch06_full_stack::emit::Emit;
use clap::Parser;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    lab::exit_code(Emit::parse().run().await)
}
