//! The tests of `delivery`.

// All of this program is a test, its helpers too.
#![allow(clippy::unwrap_used)]

mod ways;
