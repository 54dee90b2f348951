//! The observed events: one typed list, and their form in the terminal.

pub mod event;
pub mod journal;
pub(crate) mod redact;
pub(crate) mod view;
