//! An HTTP API in the shape of Pusher's: a signed request triggers an event for users.
//!
//! ```text
//! PUSHER_SECRET=… cargo run -p ch06-full-stack --bin pusher     on port 8090, beside a running stage
//! ```

use std::process::ExitCode;

use ch06_full_stack::pusher;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    lab::exit_code(pusher::run().await)
}
