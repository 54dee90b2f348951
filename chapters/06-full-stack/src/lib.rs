//! Chapter 6: all of it. nginx in front, several servers, Redis between them, and a
//! program that is no server and reaches their users all the same.
//!
//! [`chat`] is the server, [`driver`] carries its adapter's messages through Redis and
//! survives Redis' death, [`place`] is one Redis or a cluster, `crossing` says whether a message
//! got there, [`delivery`] is how sure a sender can be, [`auth`] and [`origin`] say who may
//! connect, [`emit`] sends from outside, [`experiment`] is what users do, and `page` is the chat
//! in a browser. `lane` keeps a client's messages in order, [`stuck`] ends clients that do not
//! read, and [`lean`] keeps little of a request. [`drill`] counts what is lost when something
//! dies, [`soak`] does so for half an hour, [`capacity`] says what so many sockets need,
//! [`limits`] shows where they end, and [`cluster`] what comes after one Redis.

pub mod auth;
pub mod capacity;
pub mod chat;
pub mod cluster;
mod crossing;
pub mod delivery;
pub mod drill;
pub mod driver;
pub mod emit;
pub mod experiment;
mod lane;
pub mod lean;
pub mod limits;
pub mod origin;
mod page;
pub mod place;
pub mod pusher;
pub mod soak;
pub mod stuck;
