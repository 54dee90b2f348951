//! Chapter 6: all of it. nginx in front, several servers, Redis between them, and a
//! program that is no server and reaches their users all the same.
//!
//! [`chat`] is the server, [`driver`] carries its adapter's messages through Redis and
//! survives Redis' death, [`auth`] and [`origin`] say who may connect, [`emit`] sends from outside, [`experiment`] is what users do, and
//! `page` is the chat in a browser.

pub mod auth;
pub mod chat;
pub mod driver;
pub mod emit;
pub mod experiment;
pub mod origin;
mod page;
