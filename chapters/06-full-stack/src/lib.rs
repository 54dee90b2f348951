//! Chapter 6: the full stack. nginx, several servers, Redis between them, and a program outside.
//!
//! [`chat`] is the server, [`page`] is the chat in a browser, and [`emit`] sends a message from
//! outside. [`experiment`] contains what users do.

pub mod chat;
pub mod emit;
pub mod experiment;
pub mod page;
