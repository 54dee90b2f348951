//! What the tests of the chapters share.

// What is only for tests may end with a panic that says why.
#![allow(clippy::unwrap_used, missing_docs)]

pub mod attack;
pub mod bench;
pub mod binary;
pub mod browser;
pub mod compose;
mod container;
pub mod frames;
pub mod kubernetes;
pub mod listening;
pub mod markdown;
pub mod node;
pub mod observatory;
pub mod panel;
pub mod pictures;
pub mod redact;
pub mod transcript;
mod untested;
pub mod wire;

pub use untested::{all_untested, untested};
