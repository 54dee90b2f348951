//! Prints the token with which a user may connect, once the servers have a `CHAT_SECRET`.
//!
//! ```text
//! CHAT_SECRET=… cargo run -p ch06-full-stack --bin token -- alice
//! ```

use std::process::ExitCode;

use ch06_full_stack::auth::Token;
use clap::Parser;

fn main() -> ExitCode {
    let token = Token::parse().make();
    lab::exit_code(token.map(ch01_express_pid::log))
}
