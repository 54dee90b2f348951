//! A server, nginx or Redis dies under requests, sockets and messages. What is lost?
//!
//! ```text
//! cargo run -p failures                      all drills, and a table; exits 0 or 1
//! cargo run -p failures -- list              the names of the drills
//! cargo run -p failures -- redis-killed      one drill
//! cargo run -p failures -- --rounds 20       each drill 20 times; the table shows the worst
//! ```

use std::process::ExitCode;

use drills::Drills;
use failures::{nginx, redis_killed, requests, serve, sockets};

fn main() -> ExitCode {
    Drills::new("Failures: what is lost when a part dies", serve)
        .with(
            "requests-replaced",
            "Three servers are replaced one by one, under GETs",
            requests::replaced,
        )
        .with(
            "orders-replaced",
            "Three servers are replaced one by one, under POSTs",
            requests::replaced_under_orders,
        )
        .with(
            "requests-server-killed",
            "kill -9 of one server, under GETs and POSTs",
            requests::server_killed,
        )
        .with(
            "requests-nginx-reload",
            "nginx reloads its config, under GETs",
            requests::nginx_reload,
        )
        .with(
            "requests-nginx-restart",
            "nginx is stopped and started, under GETs",
            requests::nginx_restart,
        )
        .with(
            "sockets-replaced",
            "Three servers are replaced one by one, with sockets on them",
            sockets::replaced,
        )
        .with(
            "sockets-server-killed",
            "kill -9 of one server, with sockets on it",
            sockets::server_killed,
        )
        .with(
            "sockets-nginx-reload",
            "nginx reloads its config, with sockets through it",
            nginx::reloaded,
        )
        .with(
            "sockets-nginx-restart",
            "nginx is stopped and started, with sockets through it",
            nginx::restarted,
        )
        .with(
            "redis-killed",
            "kill -9 of Redis, which is back a second later",
            redis_killed::and_back,
        )
        .run()
}
