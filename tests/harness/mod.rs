//! What the tests of the chapters share.

// Each test file is a crate of its own and uses what it needs of this.
#![allow(dead_code)]

pub(crate) mod attack;
pub(crate) mod bench;
pub(crate) mod binary;
pub(crate) mod browser;
pub(crate) mod frames;
pub(crate) mod markdown;
pub(crate) mod node;
pub(crate) mod observatory;
pub(crate) mod panel;
pub(crate) mod pictures;
pub(crate) mod redact;
pub(crate) mod transcript;
pub(crate) mod wire;
