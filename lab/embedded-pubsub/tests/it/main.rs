//! The server as its clients see it: byte by byte, through the `redis` crate, beside
//! a real Redis, and through `redis-cli`.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod binary;
mod delivery;
#[cfg(unix)]
mod hostile;
mod lifetime;
mod protocol;
mod redis_cli;
mod redis_client;
#[cfg(unix)]
mod same_as_redis;
mod wire;

use std::{
    io::{self, Write},
    thread,
};

/// Says that a test tested nothing, by a line that stays visible when it passes: the
/// harness hides what `eprintln!` prints, and not this.
fn say_not_tested(missing: &str) {
    let thread = thread::current();
    let test = thread.name().unwrap_or_default();
    let line = format!("NOT TESTED, {missing} is not installed: {test}\n");
    io::stderr().write_all(line.as_bytes()).unwrap();
}
