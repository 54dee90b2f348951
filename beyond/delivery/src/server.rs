//! The hardened chat with two more events, `tell` and `keep`, which deliver a message more safely.

use anyhow::Result;
use hardened_chat::{Extra, InOrder, serve_with};
use redis_driver::RedisTarget;
use socketioxide::{adapter::Adapter, extract::SocketRef};

use crate::{
    acknowledged::hear_tell,
    kept::{self, History},
};

/// Serves the chat on the port in the environment variable `PORT`.
///
/// # Errors
/// As for [`hardened_chat::serve`].
pub async fn serve() -> Result<()> {
    serve_with::<Delivery>().await
}

struct Delivery {
    history: Option<History>,
}

impl Extra for Delivery {
    async fn open(target: Option<&RedisTarget>) -> Result<Self> {
        let history = match target {
            Some(target) => Some(History::open(target).await?),
            None => None,
        };
        Ok(Self { history })
    }

    fn hear<A: Adapter>(
        &self,
        socket: &SocketRef<A>,
        user: &str,
        seen: Option<String>,
        in_order: &InOrder,
    ) {
        hear_tell(socket, user.to_owned(), in_order.clone());
        if let Some(history) = &self.history {
            kept::hear(history, socket, user.to_owned(), seen, in_order.clone());
        }
    }
}
