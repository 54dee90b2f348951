//! The parts of a stage, as processes: servers, nginx, Redis, and what they need.

pub mod find;
pub(crate) mod nginx;
pub(crate) mod ports;
pub mod process;
pub mod redis;
pub mod rewrite;
pub(crate) mod scratch;
pub(crate) mod server;
pub(crate) mod site;
pub mod watch;
