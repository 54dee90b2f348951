//! Half an hour in which clients come and go, and servers and Redis are killed by chance.
//!
//! ```text
//! cargo run -p ch06-full-stack --bin soak                              30 minutes; exits 0 or 1
//! cargo run -p ch06-full-stack --bin soak -- --minutes 30 --seed 7     the same events in the same order
//! ```

use std::process::ExitCode;

use ch06_full_stack::{chat, soak::Soak};

fn main() -> ExitCode {
    lab::on_stage(
        "Chapter 6 · a soak: what is kept, is kept for long",
        chat::serve,
        async |stage, soak: Soak| soak.run(stage).await,
    )
}
