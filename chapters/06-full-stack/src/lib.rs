//! Chapter 6: all of it. nginx in front, several servers, Redis between them, and a
//! program that is no server and reaches their users all the same.
//!
//! [`chat`] is the server, [`driver`] carries its adapter's messages through Redis and
//! survives Redis' death, [`emit`] sends from outside, [`experiment`] is what users do,
//! `page` is the chat in a browser, [`drill`] counts what is lost when something dies, and
//! [`soak`] does so for half an hour.

pub mod chat;
pub mod drill;
pub mod driver;
pub mod emit;
pub mod experiment;
mod page;
pub mod soak;
