//! What stands in for Redis where no `redis-server` is installed: a server that
//! speaks Redis's protocol (RESP2 and RESP3) and carries its pub/sub messages.
//!
//! It has no keys and stores nothing, and will not learn to: whoever needs `GET`,
//! a list or a stream needs Redis itself, and is told so in the answer. Nor does
//! it listen to anything but this computer, since it asks nobody for a password.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! let server = embedded_pubsub::Server::start("127.0.0.1:0")?;
//! println!("{}", server.url()); // redis://127.0.0.1:49152/?protocol=resp3
//! server.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! Alone: `cargo run -p embedded-pubsub -- [PORT]`.

mod command;
mod glob;
mod hub;
mod outbox;
mod reply;
mod request;
mod server;

pub use server::Server;

/// The Redis release whose answers this server gives; the tests compare the two
/// byte by byte.
const REDIS_VERSION: &str = "7.0.15";
