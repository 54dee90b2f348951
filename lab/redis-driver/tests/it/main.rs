//! The driver, with a real Redis that is killed and started again.

// All of this program is a test, its helpers too.
#![allow(clippy::unwrap_used)]

mod dropped;
mod hanging;
mod restart;
mod server;
mod target;
mod unfit;
