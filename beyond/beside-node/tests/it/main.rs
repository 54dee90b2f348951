//! The tests of `beside-node`.

// All of this program is a test, its helpers too.
#![allow(clippy::unwrap_used)]

mod same_requests;
