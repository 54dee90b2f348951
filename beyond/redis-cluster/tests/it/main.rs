//! The tests of `redis-cluster`.

// All of this program is a test, its helpers too.
#![allow(clippy::unwrap_used)]

mod cluster;
