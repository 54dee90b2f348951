//! The bench on which the chapters stand.
//!
//! A chapter's binary is three things. With `PORT` set it is one server. Otherwise it
//! is the stage: it starts copies of itself as servers, nginx and Redis, and runs the
//! chapter's lesson on them. And it may be one of the chapter's other programs, such as
//! a subscriber, when the stage starts it so. A chapter's second binary runs its drills:
//! something dies under steady traffic, and what was lost is counted ([`Drills`]).
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use lab::{Chapter, Result, Stage};
//!
//! fn main() -> ExitCode {
//!     Chapter::new("Chapter 0 · an example", server).run(lesson)
//! }
//!
//! async fn server() -> Result<()> {
//!     println!("Server running on {} port", std::env::var("PORT")?);
//!     Ok(())
//! }
//!
//! async fn lesson(stage: &mut Stage) -> Result<()> {
//!     stage.start_servers(3, &[]).await?;
//!     stage.claim("three servers run", stage.server_addresses().len() == 3);
//!     Ok(())
//! }
//! ```

mod chapter;
pub mod client;
mod cluster;
mod drill;
pub mod event;
mod haproxy;
mod journal;
mod load;
mod nginx;
mod ports;
mod process;
mod programs;
mod redis;
mod returning;
mod rewrite;
mod scratch;
mod server;
mod stage;
mod view;

pub use anyhow::Result;
pub use chapter::{Chapter, on_stage};
pub use client::{Client, Socket, Transport};
pub use cluster::{Cluster, Home, cluster_found};
pub use drill::{Drills, Row, Way};
pub use event::{Event, Part};
pub use haproxy::haproxy_found;
pub use journal::{Observed, Observer, Recorder};
pub use load::{Load, Requests, Sent};
pub use nginx::{Site, config as nginx_config};
pub use programs::exit_code;
pub use returning::{Heard, Returning, Visit, reconnection_delay};
pub use stage::{Program, Stage};
