//! Drills with HTTP requests. Each test calls the function of a drill, and looks at its row.
//!
//! The drills mostly wait, so those of one test run at the same time.

use std::time::Duration;

use drills::{Requests, Row, Signal};
use failures::requests::{
    kill_under_gets, kill_under_posts, reload_under_gets, replace_under_gets, replace_under_posts,
    restart_under_gets, start_order_servers,
};
use futures_util::future::join_all;
use harness::{bench::Bench, listening::connections_to};
use lab::Client;
use tokio::time::{sleep, timeout};

use crate::{FAILURES, QUIET};

const SIGNALS: [Signal; 2] = [Signal::Term, Signal::Kill];

/// Servers that take orders, and nginx with that config; its URL.
async fn bench(config: &str) -> (Bench, String) {
    let mut bench = Bench::new(FAILURES);
    start_order_servers(&mut bench.stage).await.unwrap();
    let url = bench.nginx(config).await;
    (bench, url)
}

async fn gets_while_all_are_replaced(config: &str, signal: Signal) -> (Row, Requests) {
    let (mut bench, url) = bench(config).await;
    let replaced = replace_under_gets(&mut bench.stage, &url, config, signal).await;
    replaced.unwrap()
}

async fn orders_while_all_are_replaced(config: &str, signal: Signal) -> Row {
    let (mut bench, url) = bench(config).await;
    let replaced = replace_under_posts(&mut bench.stage, &url, config, signal).await;
    let (row, _) = replaced.unwrap();
    assert!(row.holds(), "{row:?}");
    row
}

#[tokio::test]
async fn replacing_all_servers_with_default_settings_is_an_outage() {
    let _busy = QUIET.read().await;
    let config = "02-round-robin.conf";
    let replaced = SIGNALS.map(|signal| gets_while_all_are_replaced(config, signal));
    for (row, requests) in join_all(replaced).await {
        assert!(row.clone().loses_something().holds(), "{row:?}");
        // Every server is back after two seconds, but nginx skips all of them for ten.
        assert!(
            row.recovered_after > Some(Duration::from_secs(5)),
            "{row:?}"
        );
        assert_eq!(requests.reasons().into_keys().collect::<Vec<_>>(), ["502"]);
    }
}

#[tokio::test]
async fn replacing_all_servers_with_max_fails_0_loses_no_get() {
    let _busy = QUIET.read().await;
    let config = "beyond/02-max-fails-0.conf";
    let replaced = SIGNALS.map(|signal| gets_while_all_are_replaced(config, signal));
    for (row, requests) in join_all(replaced).await {
        assert!(row.holds(), "{row:?} {:?}", requests.reasons());
    }
}

/// Also with nginx 1.29.7 and newer, which keeps connections unless a config says no.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn only_the_config_that_says_so_keeps_connections_to_servers() {
    let _busy = QUIET.read().await;
    for (config, keeps) in [
        ("beyond/02-max-fails-0.conf", false),
        ("beyond/02-keepalive.conf", true),
    ] {
        let (bench, url) = bench(config).await;
        for _ in 0..30 {
            Client::new("you", &url).get_once("/").await.unwrap();
        }
        let server = bench.stage.servers.addresses()[0];
        if keeps {
            assert!(connections_to(server) > 0, "{config}");
        } else {
            // nginx may close the last one after it has answered. A kept one would stay for 30 s.
            let closed = timeout(Duration::from_secs(5), async {
                while connections_to(server) > 0 {
                    sleep(Duration::from_millis(10)).await;
                }
            });
            closed.await.expect(config);
        }
    }
}

#[tokio::test]
async fn replacing_all_servers_with_kill_loses_the_orders_they_had_begun() {
    let _busy = QUIET.read().await;
    let configs = ["beyond/02-max-fails-0.conf", "beyond/02-keepalive.conf"];
    let replaced = configs.map(|config| orders_while_all_are_replaced(config, Signal::Kill));
    for row in join_all(replaced).await {
        assert!(row.lost > 0, "{row:?}");
        assert_eq!(row.duplicates, Some(0), "{row:?}");
    }
}

#[tokio::test]
async fn non_idempotent_loses_no_order_and_runs_some_twice() {
    let _busy = QUIET.read().await;
    let config = "beyond/02-non-idempotent.conf";
    let replaced = SIGNALS.map(|signal| orders_while_all_are_replaced(config, signal));
    let rows = join_all(replaced).await;
    assert!(rows.iter().all(|row| row.lost == 0), "{rows:?}");
    assert!(rows[1].duplicates > Some(0), "{rows:?}");
}

#[tokio::test]
async fn servers_that_end_when_asked_finish_the_orders_they_have_begun() {
    let _busy = QUIET.read().await;
    let configs = ["beyond/02-max-fails-0.conf", "beyond/02-keepalive.conf"];
    let replaced = configs.map(|config| orders_while_all_are_replaced(config, Signal::Term));
    for row in join_all(replaced).await {
        assert_eq!(row.duplicates, Some(0), "{row:?}");
        // A few may meet a connection that is just being closed. More would be orders that a
        // server dropped.
        assert!(row.lost * 20 < row.sent, "{row:?}");
    }
}

#[tokio::test]
async fn a_killed_server_costs_no_get() {
    let _busy = QUIET.read().await;
    let configs = ["02-round-robin.conf", "beyond/02-keepalive.conf"];
    join_all(configs.map(async |config| {
        let (mut bench, url) = bench(config).await;
        let killed = kill_under_gets(&mut bench.stage, &url, config).await;
        let (row, requests) = killed.unwrap();
        assert!(row.holds(), "{row:?} {:?}", requests.reasons());
    }))
    .await;
}

#[tokio::test]
async fn a_killed_server_costs_the_orders_it_had_begun_or_runs_them_twice() {
    let _busy = QUIET.read().await;
    let configs = [
        ("02-round-robin.conf", true),
        ("beyond/02-keepalive.conf", true),
        ("beyond/02-non-idempotent.conf", false),
    ];
    join_all(configs.map(async |(config, is_lost)| {
        let (mut bench, url) = bench(config).await;
        let killed = kill_under_posts(&mut bench.stage, &url, config).await;
        let (row, _) = killed.unwrap();
        assert!(row.holds(), "{row:?}");
        assert_eq!(row.lost > 0, is_lost, "{row:?}");
        assert_eq!(row.duplicates > Some(0), !is_lost, "{row:?}");
    }))
    .await;
}

#[tokio::test]
async fn reloading_nginx_loses_no_request() {
    let _busy = QUIET.read().await;
    let config = "02-round-robin.conf";
    let (mut bench, url) = bench(config).await;
    let reloaded = reload_under_gets(&url, config, async {
        bench.reload_nginx(config).await;
        Ok(())
    });
    let (row, requests) = reloaded.await.unwrap();
    assert!(row.holds(), "{row:?} {:?}", requests.reasons());
}

#[tokio::test]
async fn restarting_nginx_loses_the_requests_that_come_meanwhile() {
    let _busy = QUIET.read().await;
    let config = "02-round-robin.conf";
    let (mut bench, url) = bench(config).await;
    let restarted = restart_under_gets(&url, config, async {
        bench.end_nginx().await;
        bench.start_nginx_again(config).await;
        Ok(())
    });
    let (row, _) = restarted.await.unwrap();
    assert!(row.holds(), "{row:?}");
    assert!(row.lost > 0, "{row:?}");
}
