//! What was observed: one typed list, and how the terminal shows it.

pub mod event;
pub mod journal;
pub(crate) mod redact;
pub(crate) mod view;
