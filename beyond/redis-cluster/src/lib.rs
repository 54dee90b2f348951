//! Beyond one Redis: what does a Redis Cluster change for messages between servers?
//!
//! [`cluster`] starts six nodes. [`bus`] counts which nodes carry a message, [`fan_out`] compares
//! one channel with a channel for each room, and [`shard_killed`] kills a master.

pub mod bus;
pub mod cluster;
pub mod fan_out;
pub mod shard_killed;

pub use cluster::Cluster;
use lab::prefixed;

/// The channel that the adapter of each server subscribes to, for the namespace `/`.
pub fn channel() -> String {
    prefixed("socket.io-request#/#")
}
