//! Configs that people try when clients do not connect, or do not stay connected. What is the
//! symptom of each, and what is the right config?
//!
//! ```text
//! cargo run -p wrong-fixes                 all of them; says what held, exits 0 or 1
//! cargo run -p wrong-fixes -- list         which there are
//! cargo run -p wrong-fixes -- arg-sid      one of them
//! ```

use std::process::ExitCode;

use ch03_socket_polling::serve;
use lab::Lesson;
use wrong_fixes::{
    arg_sid, backup, constant_upgrade, cookie_io, location, no_upgrade, read_timeout, realip,
    sub_path, websocket_only, workers,
};

fn main() -> ExitCode {
    Lesson::new("Wrong fixes, and the right ones", serve)
        .intro(
            "Each experiment starts with a wrong config and shows its symptom.\n\
             Then the same clients try the right config.\n\n",
        )
        .with(
            "arg-sid",
            "hash $arg_sid: the session ID chooses the server",
            arg_sid,
        )
        .with(
            "cookie-io",
            "hash $cookie_io: a cookie that nobody sets chooses the server",
            cookie_io,
        )
        .with(
            "no-upgrade",
            "ip_hash, but nginx does not pass the WebSocket headers on",
            no_upgrade,
        )
        .with(
            "read-timeout",
            "proxy_read_timeout is shorter than the servers' ping interval",
            read_timeout,
        )
        .with("backup", "A backup server next to ip_hash", backup)
        .with(
            "workers",
            "Several workers count connections without a shared zone",
            workers,
        )
        .with(
            "realip",
            "ip_hash behind a proxy that nginx does not know",
            realip,
        )
        .with(
            "websocket-only",
            "Clients use only WebSocket, and a proxy blocks it",
            websocket_only,
        )
        .with(
            "sub-path",
            "The service is at /chat/: proxy_pass without a slash at its end",
            sub_path,
        )
        .with(
            "location",
            "Another location answers the handshake",
            location,
        )
        .with(
            "constant-upgrade",
            "Connection: upgrade with every request, which is harmless",
            constant_upgrade,
        )
        .ends_by_itself()
        .run()
}
