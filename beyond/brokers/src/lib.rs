//! SocketCluster's design, small: servers hold sockets, and brokers hold channels.
//!
//! Each user has a channel. A channel belongs to one of the brokers; a hash of its name chooses
//! the broker, so the brokers share the work. A server subscribes only to the channels of its own
//! users, so a message goes only to the servers that need it. When a broker dies, its channels
//! move to the others, and they move back when it returns. Messages that are published in between
//! are lost, as with Redis.
//!
//! [`broker`] is the program between the servers, [`link`] is the server's side, and
//! [`experiment`] counts which server gets which message.

pub mod broker;
pub mod experiment;
pub mod link;

use std::env;

use anyhow::Result;
use ch05_redis_pubsub::chat;
use lab_server::listen;

use link::Brokers;

/// Serves chapter 5's chat on the port that `PORT` names, with the brokers that `BROKERS` names.
///
/// If `LINK` is set, it is one of chapter 5's links instead, for a comparison.
pub async fn serve() -> Result<()> {
    if env::var_os("LINK").is_some() {
        return chat::serve().await;
    }
    let brokers = Brokers::from_env()?;
    chat::serve_over(brokers, listen().await?).await
}
