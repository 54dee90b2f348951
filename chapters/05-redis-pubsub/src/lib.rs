//! Chapter 5: how servers reach each other's users.
//!
//! [`programs`] contains the article's subscriber and publisher, and [`channel`] a typed wrapper
//! for what they do. [`chat`] is a server whose users write to each other. [`link`] connects such
//! servers: not at all, inside the process, with requests, or with Redis. In [`experiment`] Alice
//! writes to Bob, and with [`user`] you are one of them.

pub mod channel;
pub mod chat;
pub mod experiment;
pub mod link;
pub mod programs;
pub mod user;
