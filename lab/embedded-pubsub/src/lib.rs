//! A pub/sub server that replaces Redis on a machine without `redis-server`. It speaks
//! Redis's protocol (RESP2 and RESP3).
//!
//! It has no keys and stores nothing, and this will not change. A client that sends
//! `GET` gets an error that says so: keys, lists and streams need Redis itself. The
//! server has no passwords, so only clients on this computer can connect.
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
//! As a program: `cargo run -p embedded-pubsub -- [PORT]`.

mod command;
mod glob;
mod hub;
mod outbox;
mod reply;
mod request;
mod server;

pub use server::Server;

/// This server gives the same answers as this release of Redis. The tests compare
/// them byte by byte.
const REDIS_VERSION: &str = "7.0.15";
