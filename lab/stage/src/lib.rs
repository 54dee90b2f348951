//! The stage on which the lessons play.
//!
//! A lesson's binary is three things. With `PORT` set it is one server. Otherwise it
//! is the stage: it starts copies of itself as servers, nginx and Redis, and runs the
//! lesson's experiments on them. And it may be one of the lesson's other programs, such as
//! a subscriber, when the stage starts it so.
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use lab::{Lesson, Result, Stage};
//!
//! fn main() -> ExitCode {
//!     Lesson::new("An example", server)
//!         .with("three", "Three servers", three_servers)
//!         .run()
//! }
//!
//! async fn server() -> Result<()> {
//!     println!("Server running on {} port", std::env::var("PORT")?);
//!     Ok(())
//! }
//!
//! async fn three_servers(stage: &mut Stage) -> Result<()> {
//!     stage.servers.start(3, &[]).await?;
//!     stage.claim("three servers run", stage.servers.addresses().len() == 3);
//!     Ok(())
//! }
//! ```

pub mod client;
mod lesson;
pub mod parts;
mod programs;
pub mod seen;
mod stage;

pub use anyhow::Result;
pub use client::{Client, Seen, Socket, Transport};
pub use front_end::exit_code;
pub use lesson::Lesson;
pub use parts::site::{Site, config as nginx_config};
pub use seen::{
    event::{self, Event, Part},
    journal::{Observed, Observer, Recorder},
};
pub use stage::{Nginx, Program, Redis, Servers, Stage};
