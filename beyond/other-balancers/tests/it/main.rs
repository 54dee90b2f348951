//! The tests of `other-balancers`.

// All of this program is a test, its helpers too.
#![allow(clippy::unwrap_used)]

mod haproxy;
mod lesson;
mod sticky_cookie;

const LESSON: &str = env!("CARGO_BIN_EXE_other-balancers");
