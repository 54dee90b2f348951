//! What is lost when a part of the full stack dies, while sockets are open and messages
//! come in.

pub mod burst;
pub mod crowd;
pub mod ladder;
pub mod nginx;
pub mod pairs;
pub mod reader;
pub mod redis_killed;
pub mod shard_killed;
pub mod sockets;
pub mod speaker;

use lab::{Drills, Result, Stage, event::Part};

use crate::chat;

/// The chapter's drills.
pub fn drills() -> Drills {
    Drills::new("Chapter 6 · what is lost when something dies", chat::serve)
        .with(
            "rolling-restart",
            "three servers replaced one by one, with sockets on them",
            sockets::rolling_restart,
        )
        .with(
            "server-killed",
            "kill -9 of one server, with sockets on it and messages on their way",
            sockets::server_killed,
        )
        .with(
            "nginx-reload",
            "nginx takes its config again, with sockets through it",
            nginx::reloaded,
        )
        .with(
            "nginx-restart",
            "nginx is stopped and started, with sockets through it",
            nginx::restarted,
        )
        .with(
            "redis-killed",
            "kill -9 of Redis, which is back a second later",
            redis_killed::and_back,
        )
        .with(
            "shard-killed",
            "kill -9 of the master of a Redis Cluster that carries the messages",
            shard_killed::and_taken_over,
        )
        .with(
            "burst",
            "300 broadcasts at once to 1,000 clients on three servers",
            burst::at_once,
        )
        .with(
            "reader-stops",
            "a client that stays connected and stops reading",
            reader::stops,
        )
        .with(
            "ladder",
            "four ways to deliver a message, and what each of them survives",
            ladder::each_rung_meets_each_event,
        )
}

/// Three servers that have done nothing yet, in place of those that run.
async fn fresh_servers(stage: &mut Stage, environment: &[(&str, &str)]) -> Result<()> {
    if stage.server_addresses().is_empty() {
        stage.start_servers(3, environment).await
    } else {
        // On the same ports.
        stage.restart_servers(environment).await
    }
}

/// The memory that all servers together hold now, in bytes.
async fn servers_memory(stage: &Stage) -> Result<u64> {
    let parts = stage.memory().await?;
    let servers = parts
        .iter()
        .filter(|(part, _)| matches!(part, Part::Server(_)));
    Ok(servers.map(|(_, bytes)| bytes).sum())
}
