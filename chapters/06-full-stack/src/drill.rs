//! What is lost when a part of the full stack dies, while sockets are open and messages
//! come in.

pub mod crowd;
pub mod nginx;
pub mod sockets;
pub mod speaker;

use lab::Drills;

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
}
