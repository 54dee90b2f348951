//! What does a server need before strangers may connect?
//!
//! [`server`] is chapter 6's chat with all of it. [`auth`] decides who may connect, and
//! [`lab_server::origins`] which pages.
//! [`in_order`] keeps the messages of a client in order. [`slow_reader`] disconnects clients that
//! do not read. [`small_requests`] keeps little of each request. [`announced`] tells a sender how
//! many clients have received a message.
//!
//! [`clients`] is what clients do, and [`lesson`] has the experiments.

pub mod announced;
pub mod auth;
pub mod clients;
pub mod in_order;
pub mod lesson;
pub mod server;
pub mod slow_reader;
pub mod small_requests;

pub use announced::ask_in_turn;
pub use in_order::InOrder;
pub use lesson::no_settings_are_left;
pub use server::{Extra, serve, serve_with};
