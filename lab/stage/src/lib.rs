//! The stage on which the lessons run.
//!
//! A lesson's binary has three roles. With `PORT` set, it is one server. If a stage has started it
//! under a program's name, it is that program of the lesson, such as a subscriber. Otherwise it is
//! the stage: it starts nginx, Redis, and copies of itself as servers, and runs the lesson's
//! experiments on them.
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

mod app_name;
pub mod client;
mod lesson;
pub mod parts;
mod programs;
pub mod seen;
mod stage;

pub use anyhow::Result;
pub use app_name::prefixed;
pub use client::{Client, Seen, Socket, Transport};
pub use front_end::exit_code;
pub use lesson::Lesson;
pub use parts::site::{Site, config as nginx_config};
pub use seen::{
    event::{self, Event, Part},
    journal::{Observed, Observer, Recorder},
};
pub use stage::{Nginx, Program, Redis, Servers, Stage};
