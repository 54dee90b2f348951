//! Chapter 2's drills: what is lost when a server is replaced or dies, or nginx does.
//!
//! Each calls the function that `drill-http` runs, and asserts on the row that it prints.

// All of this file is a test, its helpers too.
#![allow(clippy::unwrap_used)]

mod harness;

use std::time::Duration;

use ch02_nginx_rr::drill::{
    kill_under_gets, kill_under_posts, reload_under_gets, replace_under_gets, replace_under_posts,
    restart_under_gets, start_order_servers,
};
use harness::{
    bench::Bench,
    binary::{command, is_refused, run},
    markdown::Page,
};
use lab::{Row, Way};

const DRILL: &str = env!("CARGO_BIN_EXE_drill-http");

/// Servers that take orders, and nginx with one of the configs; its URL.
async fn bench(config: &str) -> (Bench, String) {
    let mut bench = Bench::new(DRILL);
    start_order_servers(&mut bench.stage).await.unwrap();
    let url = bench.nginx(config).await;
    (bench, url)
}

#[tokio::test]
async fn replacing_all_servers_with_default_settings_is_an_outage() {
    let config = "02-round-robin.conf";
    for way in [Way::Term, Way::Kill] {
        let (mut bench, url) = bench(config).await;
        let stage = &mut bench.stage;
        let (row, requests) = replace_under_gets(stage, &url, config, way).await.unwrap();
        assert!(row.clone().loses_something().holds(), "{row:?}");
        // Every server is back after two seconds; nginx asks none of them before ten.
        assert!(row.back > Some(Duration::from_secs(5)), "{row:?}");
        assert_eq!(requests.reasons().into_keys().collect::<Vec<_>>(), ["502"]);
    }
}

#[tokio::test]
async fn replacing_all_servers_with_max_fails_0_loses_no_get() {
    let config = "02-max-fails-0.conf";
    for way in [Way::Term, Way::Kill] {
        let (mut bench, url) = bench(config).await;
        let stage = &mut bench.stage;
        let (row, requests) = replace_under_gets(stage, &url, config, way).await.unwrap();
        assert!(row.holds(), "{row:?} {:?}", requests.reasons());
    }
}

async fn orders_while_all_are_replaced(config: &str, way: Way) -> Row {
    let (mut bench, url) = bench(config).await;
    let stage = &mut bench.stage;
    let (row, _) = replace_under_posts(stage, &url, config, way).await.unwrap();
    assert!(row.holds(), "{row:?}");
    row
}

#[tokio::test]
async fn replacing_all_servers_with_kill_loses_the_orders_they_had_begun() {
    for config in ["02-max-fails-0.conf", "02-keepalive.conf"] {
        let row = orders_while_all_are_replaced(config, Way::Kill).await;
        assert!(row.lost > 0, "{row:?}");
        assert_eq!(row.twice, Some(0), "{row:?}");
    }
}

#[tokio::test]
async fn non_idempotent_loses_no_order_and_runs_some_twice() {
    let config = "02-non-idempotent.conf";
    let row = orders_while_all_are_replaced(config, Way::Term).await;
    assert_eq!(row.lost, 0, "{row:?}");
    let row = orders_while_all_are_replaced(config, Way::Kill).await;
    assert_eq!(row.lost, 0, "{row:?}");
    assert!(row.twice > Some(0), "{row:?}");
}

#[tokio::test]
async fn servers_that_end_when_asked_finish_the_orders_they_have_begun() {
    for config in ["02-max-fails-0.conf", "02-keepalive.conf"] {
        let row = orders_while_all_are_replaced(config, Way::Term).await;
        assert_eq!(row.twice, Some(0), "{row:?}");
        // A few may meet a connection that is just being closed; more would be orders
        // that a server gave up.
        assert!(row.lost * 20 < row.sent, "{row:?}");
    }
}

#[tokio::test]
async fn a_killed_server_costs_no_get() {
    for config in ["02-round-robin.conf", "02-keepalive.conf"] {
        let (mut bench, url) = bench(config).await;
        let killed = kill_under_gets(&mut bench.stage, &url, config).await;
        let (row, requests) = killed.unwrap();
        assert!(row.holds(), "{row:?} {:?}", requests.reasons());
    }
}

#[tokio::test]
async fn a_killed_server_costs_the_orders_it_had_begun_or_runs_them_twice() {
    for (config, is_lost) in [
        ("02-round-robin.conf", true),
        ("02-keepalive.conf", true),
        ("02-non-idempotent.conf", false),
    ] {
        let (mut bench, url) = bench(config).await;
        let killed = kill_under_posts(&mut bench.stage, &url, config).await;
        let (row, _) = killed.unwrap();
        assert!(row.holds(), "{row:?}");
        assert_eq!(row.lost > 0, is_lost, "{row:?}");
        assert_eq!(row.twice > Some(0), !is_lost, "{row:?}");
    }
}

#[tokio::test]
async fn reloading_nginx_loses_nothing() {
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
async fn restarting_nginx_loses_what_comes_meanwhile() {
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

// ---- the program that runs them ----

#[test]
fn the_table_is_the_readmes_and_each_row_keeps_what_it_promises() {
    let outcome = run(command(DRILL).args(["--ports", "auto", "--markdown"]));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let events = |text: &str| -> Vec<String> {
        let rows = text
            .lines()
            .map(str::trim)
            .filter(|line| line.ends_with(" |"));
        let cells = rows.map(|row| row.split(" | ").take(2).collect::<Vec<_>>().join(" | "));
        cells.collect()
    };
    let printed = events(&outcome.stdout);
    assert!(printed.len() > 10, "{printed:?}");
    let readme = Page::read(&root(), "chapters/02-nginx-rr/README.md");
    assert_eq!(printed, events(&readme.text));
}

fn root() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn each_drill_is_listed_with_what_it_is() {
    let outcome = run(command(DRILL).arg("list"));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    for name in [
        "rolling-restart ",
        "rolling-restart-post ",
        "server-killed ",
        "nginx-reload ",
        "nginx-restart ",
    ] {
        let line = outcome
            .stdout
            .lines()
            .find(|line| line.trim().starts_with(name));
        assert!(
            line.is_some_and(|line| line.trim().len() > name.len() + 10),
            "{outcome:?}"
        );
    }
}

#[test]
fn rounds_are_told_one_by_one_and_the_table_says_how_many() {
    let outcome = run(command(DRILL).args(["nginx-reload", "--rounds", "2", "--ports", "auto"]));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    for words in ["round 1 of 2", "round 2 of 2", "in the worst of 2 rounds"] {
        assert!(outcome.stdout.contains(words), "{outcome:?}");
    }
    assert!(!outcome.stdout.contains("server-killed"), "{outcome:?}");
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
fn a_drill_and_the_port_of_a_server_do_not_go_together() {
    is_refused(
        command(DRILL).arg("server-killed").env("PORT", "8000"),
        2,
        &["unset PORT"],
    );
}
