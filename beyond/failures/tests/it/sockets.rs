//! Drills with sockets. Each test calls the function of a drill, with fewer clients, and looks at
//! its rows.

use std::time::Duration;

use drills::{Row, Signal};
use failures::{
    broadcaster::ServersRedis, nginx::reload_under_sockets, sockets::replace_under_sockets,
};
use futures_util::future::join_all;
use harness::bench::Bench;

use crate::{FAILURES, QUIET};

/// Clients of each transport: two on each server.
pub(crate) const EACH: usize = 6;

/// nginx with that config, three servers with the adapter, and Redis; the URL of nginx too.
pub(crate) async fn bench(config: &str) -> (Bench, String, ServersRedis) {
    let mut bench = Bench::new(FAILURES);
    let redis = bench.redis().await;
    let environment = [("REDIS_URL", redis.as_str())];
    bench.stage.servers.start(3, &environment).await.unwrap();
    let url = bench.nginx(config).await;
    let redis = ServersRedis::of(&bench.stage, redis);
    (bench, url, redis)
}

/// The rows that count that.
pub(crate) fn of<'a>(rows: &'a [Row], what: &str) -> Vec<&'a Row> {
    rows.iter().filter(|row| row.what == what).collect()
}

async fn rows_while_all_are_replaced(config: &str, signal: Signal) -> Vec<Row> {
    let (mut bench, url, redis) = bench(config).await;
    let stage = &mut bench.stage;
    let replaced = replace_under_sockets(stage, &url, &redis, EACH, config, signal).await;
    replaced.unwrap()
}

#[tokio::test]
async fn replacing_all_servers_with_default_settings_keeps_sockets_away() {
    let _busy = QUIET.read().await;
    let rows = rows_while_all_are_replaced("06-full-stack.conf", Signal::Term).await;
    // Every server is back after three seconds, but nginx skips all of them for ten.
    let sockets = of(&rows, "sockets");
    let away = sockets.iter().filter_map(|row| row.recovered_after).max();
    assert!(away > Some(Duration::from_secs(5)), "{rows:?}");
    assert!(of(&rows, "messages")[0].holds(), "{rows:?}");
}

#[tokio::test]
async fn replacing_all_servers_with_max_fails_0_brings_every_socket_back() {
    let _busy = QUIET.read().await;
    let config = "beyond/06-max-fails-0.conf";
    let replaced =
        [Signal::Term, Signal::Kill].map(|signal| rows_while_all_are_replaced(config, signal));
    for rows in join_all(replaced).await {
        assert_eq!(of(&rows, "sockets").len(), 3);
        assert!(rows.iter().all(Row::holds), "{rows:?}");
    }
}

#[tokio::test]
async fn reloading_nginx_breaks_no_session_and_loses_no_message() {
    let _busy = QUIET.read().await;
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
