//! What so many sockets need, and which part is full first: see `CAPACITY.md`.
//!
//! ```text
//! cargo run -p ch06-full-stack --bin capacity -- --sockets 100000 --messages 50
//! ```

use std::process::ExitCode;

use ch06_full_stack::capacity::Capacity;
use clap::Parser;

fn main() -> ExitCode {
    let report = Capacity::parse().report();
    lab::exit_code(report.map(ch01_express_pid::log))
}
