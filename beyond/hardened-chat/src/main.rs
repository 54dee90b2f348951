//! What does a server need before strangers may connect?
//!
//! ```text
//! cargo run -p hardened-chat                    all experiments; stays up until Ctrl-C
//! cargo run -p hardened-chat -- --check         all experiments, then exits 0 or 1
//! cargo run -p hardened-chat -- tokens          one of them
//! PORT=8000 cargo run -p hardened-chat          one server
//! ```

use std::process::ExitCode;

use drills::Drills;
use hardened_chat::{
    lesson::{burst, by_hand, order, origins, slow_reader, small_requests, tokens},
    serve,
};

fn main() -> ExitCode {
    Drills::new(
        "Hardened chat: what a server needs before strangers may connect",
        serve,
    )
    .intro(
        "Chapter 6's chat believes every name and every client. Here strangers connect.\n\
         Each experiment shows what one of them can do, and what stops it.\n\n",
    )
    .with_program(origins::CHAPTER_6, ch06_full_stack::chat::serve)
    .with_claims(
        "tokens",
        "Mallory says that she is Alice",
        tokens::somebody_else,
    )
    .with_claims(
        "origins",
        "A page of another website connects with its visitor's browser",
        origins::another_website,
    )
    .with_claims(
        "order",
        "One client sends 300 messages at once",
        order::kept,
    )
    .with(
        "slow-reader",
        "A client stays connected and stops reading",
        slow_reader::disconnected,
    )
    .with(
        "burst",
        "300 broadcasts at once to 1,000 clients on three servers",
        burst::at_once,
    )
    .with_claims(
        "small-requests",
        "200 clients send a large cookie each",
        small_requests::copied,
    )
    .by_hand(by_hand)
    .run()
}
