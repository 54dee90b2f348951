//! A driver for [`socketioxide_redis`] that reconnects after a restart of Redis.
//!
//! The stock driver keeps one connection. When Redis restarts, that connection stays broken:
//! every emit fails from then on, even an emit to sockets of the same server.
//! [`ResilientDriver`] connects again, subscribes again, and never fails an emit. While Redis is
//! away, a message reaches the sockets of its own server only.
//!
//! ```no_run
//! use redis_driver::{RedisTarget, ResilientDriver};
//! use socketioxide::{
//!     SocketIo,
//!     adapter::Emitter,
//!     extract::{Data, SocketRef},
//! };
//! use socketioxide_redis::{CustomRedisAdapter, RedisAdapterConfig, RedisAdapterCtr};
//!
//! type Adapter = CustomRedisAdapter<Emitter, ResilientDriver>;
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let redis = RedisTarget::at("redis://127.0.0.1:6379").await?;
//!     let driver = ResilientDriver::connect(redis, |notice| eprintln!("{notice}")).await?;
//!     let adapter = RedisAdapterCtr::new_with_driver(driver, RedisAdapterConfig::new());
//!     let (layer, io) = SocketIo::builder()
//!         .with_adapter::<Adapter>(adapter)
//!         .build_layer();
//!     io.ns("/", on_connect).await?;
//!
//!     let app = axum::Router::new().layer(layer);
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//!     axum::serve(listener, app).await?;
//!     Ok(())
//! }
//!
//! async fn on_connect(socket: SocketRef<Adapter>) {
//!     socket.on(
//!         "message",
//!         async |socket: SocketRef<Adapter>, Data(text): Data<String>| {
//!             if let Err(error) = socket.broadcast().emit("message", &text).await {
//!                 eprintln!("{error}");
//!             }
//!         },
//!     );
//! }
//! ```
//!
//! # What it does not do
//!
//! Redis Pub/Sub is *at most once*. A message that is published while Redis is away is lost for
//! the other servers, and it is not sent again. [`watch`] tells a sender whether Redis accepted
//! its message.
//!
//! # Why one task connects
//!
//! [`redis::aio::ConnectionManager`] reconnects by itself. But a failed publish starts a reconnect,
//! and so does the news that the connection broke. For a moment two new connections are
//! subscribed, and messages arrive twice. Here only one task connects, so a node never has two
//! subscribed connections.
//!
//! # Redis Cluster
//!
//! In a cluster, a channel belongs to a slot, and a slot belongs to a master. This driver has one
//! connection and one queue for each master, and uses sharded Pub/Sub. If one master dies, only
//! the messages of its slots stay on their server. The task that connects also asks the cluster
//! who owns which slot: once a second, and whenever a connection is lost.

mod about;
mod check;
mod connection;
mod driver;
mod node;
mod notice;
mod publisher;
mod receipt;
mod redis_target;
mod shared;
mod slots;

pub use check::Unfit;
pub use connection::Connection;
pub use driver::ResilientDriver;
pub use notice::Notice;
pub use publisher::Publisher;
pub use receipt::{Receipt, watch};
pub use redis_target::{
    RedisTarget, TargetError, redis_url, shown_redis_url, stock_cluster, without_password,
};

/// Compiles the example in the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
