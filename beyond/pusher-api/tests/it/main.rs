//! The tests of `pusher-api`.

// All of this program is a test, its helpers too.
#![allow(clippy::unwrap_used)]

mod api;
mod lesson;

const LESSON: &str = env!("CARGO_BIN_EXE_pusher-api");
