//! Chapter 6's drills: what is lost when a server or nginx dies with sockets open.
//!
//! Each calls the function that `drill` runs, with fewer clients, and asserts on the rows
//! that it prints.

// All of this file is a test, its helpers too.
#![allow(clippy::unwrap_used)]

mod harness;

use std::time::Duration;

use ch06_full_stack::drill::{
    nginx::{reload_under_sockets, restart_under_sockets},
    sockets::{kill_under_sockets, replace_under_sockets},
};
use harness::{
    bench::Bench,
    binary::{command, is_refused, run},
};
use lab::{Row, Way};

const DRILL: &str = env!("CARGO_BIN_EXE_drill");
const SOAK: &str = env!("CARGO_BIN_EXE_soak");

/// Clients of each transport: two on each server.
const EACH: usize = 6;

/// nginx with one of the configs, three servers with the adapter, Redis; the URLs of nginx
/// and of Redis.
async fn bench(config: &str) -> (Bench, String, String) {
    let mut bench = Bench::new(DRILL);
    let redis = bench.redis().await;
    let environment = [("REDIS_URL", redis.as_str())];
    bench.stage.start_servers(3, &environment).await.unwrap();
    let url = bench.nginx(config).await;
    (bench, url, redis)
}

/// Those rows of which each counts so many of that.
fn of<'a>(rows: &'a [Row], what: &str) -> Vec<&'a Row> {
    rows.iter().filter(|row| row.what == what).collect()
}

#[tokio::test]
async fn replacing_all_servers_with_default_settings_keeps_sockets_away() {
    let config = "06-full-stack.conf";
    let (mut bench, url, redis) = bench(config).await;
    let stage = &mut bench.stage;
    let replaced = replace_under_sockets(stage, &url, &redis, EACH, config, Way::Term).await;
    let rows = replaced.unwrap();
    // Every server is back after three seconds; nginx asks none of them before ten.
    let away = of(&rows, "sockets").iter().filter_map(|row| row.back).max();
    assert!(away > Some(Duration::from_secs(5)), "{rows:?}");
    assert!(of(&rows, "messages")[0].holds(), "{rows:?}");
}

#[tokio::test]
async fn replacing_all_servers_with_max_fails_0_brings_every_socket_back() {
    let config = "06-max-fails-0.conf";
    for way in [Way::Term, Way::Kill] {
        let (mut bench, url, redis) = bench(config).await;
        let stage = &mut bench.stage;
        let replaced = replace_under_sockets(stage, &url, &redis, EACH, config, way).await;
        let rows = replaced.unwrap();
        assert_eq!(of(&rows, "sockets").len(), 3);
        assert!(rows.iter().all(Row::holds), "{rows:?}");
    }
}

#[tokio::test]
async fn a_killed_server_moves_its_sockets_and_its_return_moves_those_that_poll_again() {
    let config = "06-full-stack.conf";
    let (mut bench, url, redis) = bench(config).await;
    let killed = kill_under_sockets(&mut bench.stage, &url, &redis, EACH, config).await;
    let rows = killed.unwrap();
    assert!(rows.iter().all(Row::holds), "{rows:?}");
    let moved: Vec<_> = of(&rows, "sockets").iter().map(|row| row.sent).collect();
    assert_eq!(moved, [2, 2, 2], "two of each transport were on it");
    let broken: Vec<_> = of(&rows, "sessions").iter().map(|row| row.lost).collect();
    assert_eq!(broken, [0, 2, 0], "websocket, polling, default");
}

#[tokio::test]
async fn reloading_nginx_breaks_no_session_and_loses_no_message() {
    let config = "06-full-stack.conf";
    let (mut bench, url, redis) = bench(config).await;
    let reloaded = reload_under_sockets(&url, &redis, EACH, config, async {
        bench.reload_nginx(config).await;
        Ok(())
    });
    let rows = reloaded.await.unwrap();
    assert_eq!(of(&rows, "sessions").len(), 3);
    assert!(rows.iter().all(Row::holds), "{rows:?}");
}

#[tokio::test]
async fn restarting_nginx_breaks_every_session_and_all_are_back() {
    let config = "06-full-stack.conf";
    let (mut bench, url, redis) = bench(config).await;
    let restarted = restart_under_sockets(&url, &redis, EACH, config, async {
        bench.end_nginx().await;
        bench.start_nginx_again(config).await;
        Ok(())
    });
    let rows = restarted.await.unwrap();
    assert!(rows.iter().all(Row::holds), "{rows:?}");
}

/// The stage's own nginx: its log tells of its workers.
#[test]
fn an_old_worker_lives_as_long_as_its_sockets_or_its_timeout() {
    let outcome = run(command(DRILL).args(["nginx-reload", "--ports", "auto"]));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    for row in [
        "the old worker, after its last socket",
        "the old worker, after the reload",
    ] {
        assert!(outcome.stdout.contains(row), "{outcome:?}");
    }
}

#[test]
fn an_unknown_drill_is_named_with_those_that_there_are() {
    is_refused(
        command(DRILL).arg("server-eaten"),
        2,
        &["server-eaten", "server-killed", "nginx-reload"],
    );
}

#[test]
fn a_short_soak_loses_nothing_that_is_kept() {
    let soak = ["--minutes", "0.4", "--seed", "7", "--ports", "auto"];
    let outcome = run(command(SOAK).args(soak));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.stdout.contains("seed 7"), "{outcome:?}");
    assert!(outcome.stdout.contains("5 of 5 claims held"), "{outcome:?}");
    assert!(!outcome.stdout.contains(" 0 servers killed"), "{outcome:?}");
}

#[test]
fn a_soak_without_time_is_refused() {
    is_refused(command(SOAK).args(["--minutes", "0"]), 1, &["--minutes 0"]);
}
