//! The tests of `failures`.

// All of this program is a test, its helpers too.
#![allow(clippy::unwrap_used)]

mod programs;
mod requests;
mod sockets;
mod timed;

use tokio::sync::RwLock;

const FAILURES: &str = env!("CARGO_BIN_EXE_failures");

/// Some drills count the attempts that clients need. A test of such a drill holds this lock
/// alone, because the other tests keep the processor busy. Those hold it together.
static QUIET: RwLock<()> = RwLock::const_new(());
