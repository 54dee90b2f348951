//! Chapter 5: how servers reach each other's users.
//!
//! [`programs`] are the article's subscriber and publisher. [`channel`] wraps what they
//! do in types, [`chat`] is a server whose users write to each other, and [`link`] is
//! what lies between such servers: nothing, a channel inside the process, requests from
//! each to each, or Redis; or [`brokers`], an aside. [`experiment`] has Alice write to Bob, and [`user`] lets you be
//! one of them.

pub mod brokers;
pub mod channel;
pub mod chat;
pub mod experiment;
pub mod link;
pub mod programs;
pub mod user;
