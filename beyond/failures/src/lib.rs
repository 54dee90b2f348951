//! What is lost when a server, nginx or Redis dies?
//!
//! [`requests`] counts HTTP requests and orders. [`sockets`], [`nginx`] and [`redis_killed`] count
//! sockets and messages. [`soak`] does the same for half an hour.

pub mod broadcaster;
pub mod clients;
pub mod nginx;
pub mod orders;
pub mod pairs;
pub mod redis_killed;
pub mod requests;
pub mod soak;
pub mod sockets;

use std::env;

use lab::Result;

/// The server of the drills. `SERVES=requests` makes it chapter 1's server, which also takes
/// orders. Otherwise it is the hardened chat.
pub async fn serve() -> Result<()> {
    let (variable, requests) = orders::SERVES_REQUESTS;
    if env::var(variable).is_ok_and(|serves| serves == requests) {
        orders::serve().await
    } else {
        hardened_chat::serve().await
    }
}
