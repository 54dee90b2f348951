//! Prints the token with which a user may connect to servers that have a `CHAT_SECRET`.
//!
//! ```text
//! CHAT_SECRET=… cargo run -p hardened-chat --bin token -- alice
//! ```

use std::process::ExitCode;

use clap::Parser;
use hardened_chat::auth::Token;

fn main() -> ExitCode {
    let token = Token::parse().print();
    lab::exit_code(token.map(lab_server::log))
}
