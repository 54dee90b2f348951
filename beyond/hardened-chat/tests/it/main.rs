//! The tests of `hardened-chat`, and of `deploy/`, which runs it.

// All of this program is a test, its helpers too.
#![allow(clippy::unwrap_used)]

mod behind_nginx;
mod deploy;
mod hostile;
mod kubernetes;
mod lesson;
mod origins;
mod small_requests;

use tokio::sync::Mutex;

/// Tests that measure time or memory, or that keep the processor busy, run one after the other.
static ALONE: Mutex<()> = Mutex::const_new(());
