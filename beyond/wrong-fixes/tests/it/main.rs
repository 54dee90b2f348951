//! The tests of `wrong-fixes`.

// All of this program is a test, its helpers too.
#![allow(clippy::unwrap_used)]

mod lesson;
mod symptoms;

const LESSON: &str = env!("CARGO_BIN_EXE_wrong-fixes");
