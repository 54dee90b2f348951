//! The tests of `brokers`.

// All of this program is a test, its helpers too.
#![allow(clippy::unwrap_used)]

mod channels;
mod lesson;

const LESSON: &str = env!("CARGO_BIN_EXE_brokers");
