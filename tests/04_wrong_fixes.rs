//! Chapter 4's wrong fixes: configs that people try, the symptom of each, and its fix.
//!
//! Each calls the function that `wrong-fixes` runs, and asserts on the row that it prints.

// All of this file is a test, its helpers too.
#![allow(clippy::unwrap_used)]

mod harness;

use std::path::{Path, PathBuf};

use ch04_ip_hash::wrong_fixes::{
    BLOCKED, CUT, a_dies_without_backup, all_fail, all_on_one, connects, held_polls,
    idle_websockets, least_busy, nginx_refuses_backup, own_servers, refused_unless_lucky,
};
use harness::{
    bench::Bench,
    binary::{command, is_refused, run},
    markdown::Page,
    node::OfficialClient,
};
use lab::{Client, Transport};
use serde_json::{Value, json};

const WRONG_FIXES: &str = env!("CARGO_BIN_EXE_wrong-fixes");
const RIGHT: &str = "04-ip-hash.conf";

/// Three servers, and nginx with one of the configs; its URL.
async fn bench(config: &str) -> (Bench, String) {
    let mut bench = Bench::with_servers(WRONG_FIXES, &[]).await;
    let url = bench.nginx(config).await;
    (bench, url)
}

/// The right config lets all of them connect.
async fn everybody_connects(config: &str, transport: Transport) {
    let (_bench, url) = bench(config).await;
    let (row, tally) = connects(&url, config, transport).await;
    assert!(row.holds(), "{row:?} {:?}", tally.reasons);
}

#[tokio::test]
async fn the_sessions_id_does_not_choose_the_server_that_made_it() {
    let config = "04-wrong-arg-sid.conf";
    let (_bench, url) = bench(config).await;
    let (row, tally) = connects(&url, config, Transport::Upgrade).await;
    let row = refused_unless_lucky(row, &tally);
    assert!(row.holds(), "{row:?} {:?}", tally.reasons);

    everybody_connects(RIGHT, Transport::Upgrade).await;
}

#[tokio::test]
async fn without_the_headers_no_websocket_passes_and_polling_hides_it() {
    let config = "04-wrong-no-upgrade.conf";
    let (_bench, url) = bench(config).await;
    let (row, tally) = connects(&url, config, Transport::WebSocket).await;
    let row = all_fail(row, &tally, CUT);
    assert!(row.holds(), "{row:?} {:?}", tally.reasons);

    everybody_connects(config, Transport::Polling).await;
    everybody_connects(RIGHT, Transport::WebSocket).await;
}

#[tokio::test]
async fn a_read_timeout_below_the_ping_interval_cuts_whoever_is_silent() {
    for (config, is_cut) in [("04-wrong-read-timeout.conf", true), (RIGHT, false)] {
        let (_bench, url) = bench(config).await;
        let idle = idle_websockets(&url, config).await;
        let held = held_polls(&Client::new("you", &url), config).await.unwrap();
        for mut row in [idle, held] {
            if is_cut {
                assert_eq!(row.lost, row.sent, "all are cut: {row:?}");
                row = row.loses_something();
            }
            assert!(row.holds(), "{row:?}");
        }
    }
}

#[tokio::test]
async fn nginx_refuses_a_backup_beside_ip_hash_which_needs_none() {
    let mut bench = Bench::with_servers(WRONG_FIXES, &[]).await;
    let row = nginx_refuses_backup(&mut bench.stage).await;
    assert!(row.holds(), "{row:?}");
    let row = a_dies_without_backup(&mut bench.stage).await.unwrap();
    assert!(row.holds(), "{row:?}");
}

#[tokio::test]
async fn workers_without_a_zone_do_not_know_of_each_others_connections() {
    for (config, is_shared) in [
        ("04-wrong-workers.conf", false),
        ("04-workers-zone.conf", true),
    ] {
        let (bench, url) = bench(config).await;
        let (row, counts) = least_busy(&url, config, &bench.stage.server_addresses()).await;
        let row = if is_shared {
            row
        } else {
            row.loses_something()
        };
        assert!(row.holds(), "{row:?} {counts}");
    }
}

#[tokio::test]
async fn behind_a_proxy_that_nginx_does_not_know_everybody_is_one_client() {
    for (config, is_known) in [("04-wrong-realip.conf", false), (RIGHT, true)] {
        let (bench, url) = bench(config).await;
        let servers = bench.stage.server_addresses();
        let (row, used) = own_servers(&url, config, &servers).await.unwrap();
        let row = if is_known {
            row
        } else {
            all_on_one(&row, used)
        };
        assert!(row.holds(), "{row:?} {used}");
    }
}

#[tokio::test]
async fn websocket_alone_never_connects_where_a_proxy_blocks_it() {
    let config = "04-wrong-websocket-only.conf";
    let (_bench, url) = bench(config).await;
    let (row, tally) = connects(&url, config, Transport::WebSocket).await;
    let row = all_fail(row, &tally, BLOCKED);
    assert!(row.holds(), "{row:?} {:?}", tally.reasons);

    everybody_connects(config, Transport::Polling).await;
}

#[tokio::test]
async fn the_official_client_stays_with_polling_where_no_websocket_passes() {
    let Some(client) = OfficialClient::find() else {
        return;
    };
    let connect = async |url: &str, transports: Value| {
        let options = json!({ "url": url, "transports": transports, "upgradeMayFail": true });
        client.run(&["connect", &options.to_string()]).await
    };
    for config in ["04-wrong-websocket-only.conf", "04-wrong-no-upgrade.conf"] {
        let (_bench, url) = bench(config).await;
        let outcome = connect(&url, json!(["websocket"])).await;
        assert_eq!(outcome["connected"], json!(false), "{config}: {outcome}");
        let outcome = connect(&url, json!(["polling", "websocket"])).await;
        assert_eq!(outcome["connected"], json!(true), "{config}: {outcome}");
        assert_eq!(
            outcome["transport"],
            json!("polling"),
            "{config}: {outcome}"
        );
    }
}

// ---- the program that runs them, and the page about them ----

#[test]
fn each_row_keeps_what_it_promises() {
    let outcome = run(command(WRONG_FIXES).args(["--ports", "auto"]));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
}

#[test]
fn each_wrong_fix_is_listed_and_has_its_command_on_the_page() {
    let outcome = run(command(WRONG_FIXES).arg("list"));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let page = Page::read(&root(), "chapters/04-ip-hash/WRONG-FIXES.md").text;
    let listed = outcome.stdout.lines().filter_map(|line| {
        let (name, about) = line.trim().split_once("  ")?;
        Some((name, about.trim()))
    });
    let listed: Vec<_> = listed.collect();
    assert!(listed.len() > 5, "{outcome:?}");
    for (name, about) in listed {
        assert!(about.len() > 10, "{name}: {about}");
        let command = format!("cargo run -p ch04-ip-hash --bin wrong-fixes -- {name}`");
        assert!(page.contains(&command), "{command}");
    }
}

#[test]
fn each_wrong_config_says_what_is_wrong_and_is_named_on_the_page() {
    let page = Page::read(&root(), "chapters/04-ip-hash/WRONG-FIXES.md").text;
    let mut wrong = 0;
    for entry in std::fs::read_dir(root().join("nginx")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.starts_with("04-wrong-") {
            wrong += 1;
            let config = Page::read(&root(), &format!("nginx/{name}")).text;
            assert!(config.contains("\n# Wrong"), "{name}");
            assert!(page.contains(&format!("(../../nginx/{name})")), "{name}");
        }
    }
    assert!(wrong > 5, "{wrong}");
}

#[test]
fn an_unknown_wrong_fix_is_named_with_those_that_there_are() {
    is_refused(
        command(WRONG_FIXES).arg("sticky-tape"),
        2,
        &["sticky-tape", "arg-sid", "websocket-only"],
    );
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
