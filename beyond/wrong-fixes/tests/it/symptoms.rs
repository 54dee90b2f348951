//! Configs that people try, the symptom of each, and its fix: measured as the experiments do.

use harness::{bench::Bench, node::OfficialClient};
use lab::{Client, Transport};
use serde_json::{Value, json};
use wrong_fixes::{
    RIGHT,
    measure::{
        BACKUP, BLOCKED, CLIENTS, LONG, NO_UPGRADE, Poll, a_dies, all_fail, bystander, connect,
        connect_with_cookies, handshake_at, least_busy, nginx_refuses_backup, own_servers, silence,
        unknown_sessions,
    },
    opens_a_session,
};

use crate::LESSON;

/// Three servers, and nginx with one of the configs; its URL.
async fn bench(config: &str) -> (Bench, String) {
    let mut bench = Bench::with_servers(LESSON, &[]).await;
    let url = bench.nginx(config).await;
    (bench, url)
}

/// With this config, all clients connect.
async fn all_connect(config: &str, transport: Transport) {
    let (_bench, url) = bench(config).await;
    let tally = connect(&url, transport).await;
    assert_eq!(tally.connected, usize::from(CLIENTS), "{tally:?}");
}

#[tokio::test]
async fn the_sessions_id_does_not_choose_the_server_that_made_it() {
    let (_bench, url) = bench("beyond/04-wrong-arg-sid.conf").await;
    let tally = connect(&url, Transport::Upgrade).await;
    assert!(unknown_sessions(&tally), "{tally:?}");
    assert!(tally.connected > 0, "some are lucky: {tally:?}");

    all_connect(RIGHT, Transport::Upgrade).await;
}

#[tokio::test]
async fn without_the_headers_no_websocket_passes_and_polling_hides_it() {
    let config = "beyond/04-wrong-no-upgrade.conf";
    let (_bench, url) = bench(config).await;
    let tally = connect(&url, Transport::WebSocket).await;
    assert!(all_fail(&tally, NO_UPGRADE), "{tally:?}");

    all_connect(config, Transport::Polling).await;
    all_connect(RIGHT, Transport::WebSocket).await;
}

#[tokio::test]
async fn a_read_timeout_below_the_ping_interval_cuts_silent_clients() {
    let (_bench, url) = bench("beyond/04-wrong-read-timeout.conf").await;
    let silence = silence(&url, &Client::new("you", &url)).await.unwrap();
    assert_eq!(silence.connected, usize::from(CLIENTS), "{silence:?}");
    assert_eq!(silence.cut, silence.connected, "all are cut: {silence:?}");
    assert_eq!(silence.poll, Poll::UnknownToAnother);
}

#[tokio::test]
async fn with_the_right_read_timeout_silence_cuts_nobody() {
    let (_bench, url) = bench(RIGHT).await;
    let silence = silence(&url, &Client::new("you", &url)).await.unwrap();
    assert_eq!(silence.connected, usize::from(CLIENTS), "{silence:?}");
    assert_eq!(silence.cut, 0, "{silence:?}");
    assert_eq!(silence.poll, Poll::Held);
}

#[tokio::test]
async fn next_to_a_silent_client_a_bystander_gets_502_and_with_the_right_timeout_it_does_not() {
    let (_bench, url) = bench("beyond/04-wrong-read-timeout.conf").await;
    let wrong = bystander(&url, &Client::new("silent", &url), LONG).await;
    let after = wrong.refused_after.expect("a 502");
    assert!(wrong.answered > 0 && wrong.failed == 0, "{wrong:?}");

    let (_bench, url) = bench(RIGHT).await;
    let right = bystander(&url, &Client::new("silent", &url), after).await;
    assert_eq!(right.refused_after, None, "{right:?}");
    assert!(right.answered > 0 && right.failed == 0, "{right:?}");
}

#[tokio::test]
async fn a_cookie_that_nobody_sets_chooses_no_server() {
    for (config, connected) in [
        ("beyond/04-wrong-cookie-io.conf", 0),
        ("04-cookie.conf", usize::from(CLIENTS)),
    ] {
        let (_bench, url) = bench(config).await;
        assert_eq!(connect_with_cookies(&url).await, connected, "{config}");
    }
}

#[tokio::test]
async fn a_sub_path_needs_the_slash_at_the_end_of_proxy_pass() {
    for (config, status) in [
        ("beyond/04-wrong-sub-path.conf", 404),
        ("beyond/04-sub-path.conf", 200),
    ] {
        let (_bench, url) = bench(config).await;
        let client = Client::new("you", &url);
        let answer = handshake_at(&client, "/chat/socket.io/").await.unwrap();
        assert_eq!(answer.status, status, "{config}");
        assert_eq!(opens_a_session(&answer), status == 200, "{config}");
    }
}

#[tokio::test]
async fn another_location_answers_the_handshake_with_a_page() {
    let (_bench, url) = bench("beyond/04-wrong-location.conf").await;
    let client = Client::new("you", &url);
    let answer = handshake_at(&client, "/socket.io/").await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(!opens_a_session(&answer), "{answer:?}");
}

#[tokio::test]
async fn a_constant_connection_upgrade_is_harmless() {
    for transport in [Transport::Polling, Transport::WebSocket, Transport::Upgrade] {
        all_connect("beyond/04-constant-upgrade.conf", transport).await;
    }
}

#[tokio::test]
async fn nginx_refuses_a_backup_beside_ip_hash_which_needs_none() {
    let mut bench = Bench::with_servers(LESSON, &[]).await;
    let refusal = nginx_refuses_backup(&mut bench.stage).await.unwrap();
    assert!(refusal.contains(BACKUP), "{refusal}");

    let url = bench.nginx(RIGHT).await;
    bench.stage.servers.kill('A').await.unwrap();
    assert_eq!(a_dies(&url).await, (0, 2), "B and C have all clients");
}

#[tokio::test]
async fn workers_without_a_zone_do_not_know_each_others_connections() {
    for (config, is_shared) in [
        ("beyond/04-wrong-workers.conf", false),
        ("beyond/04-workers-zone.conf", true),
    ] {
        let (bench, url) = bench(config).await;
        let seen = least_busy(&url, &bench.stage.servers.addresses()).await;
        assert!(seen.all_connect(), "{config}: {seen:?}");
        assert_eq!(seen.not_the_least == 0, is_shared, "{config}: {seen:?}");
    }
}

#[tokio::test]
async fn behind_a_proxy_that_nginx_does_not_know_all_clients_are_one() {
    for (config, is_known) in [("beyond/04-wrong-realip.conf", false), (RIGHT, true)] {
        let (bench, url) = bench(config).await;
        let servers = bench.stage.servers.addresses();
        let seen = own_servers(&url, &servers).await.unwrap();
        assert_eq!(seen.elsewhere == 0, is_known, "{config}: {seen:?}");
        assert_eq!(seen.used == 1, !is_known, "{config}: {seen:?}");
    }
}

#[tokio::test]
async fn websocket_alone_never_connects_where_a_proxy_blocks_it() {
    let config = "beyond/04-wrong-websocket-only.conf";
    let (_bench, url) = bench(config).await;
    let tally = connect(&url, Transport::WebSocket).await;
    assert!(all_fail(&tally, BLOCKED), "{tally:?}");

    all_connect(config, Transport::Polling).await;
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
    for config in [
        "beyond/04-wrong-websocket-only.conf",
        "beyond/04-wrong-no-upgrade.conf",
    ] {
        let (_bench, url) = bench(config).await;
        let outcome = connect(&url, json!(["websocket"])).await;
        // At once, and not after its time limit.
        assert_eq!(outcome["error"], "websocket error", "{config}: {outcome}");
        let outcome = connect(&url, json!(["polling", "websocket"])).await;
        assert_eq!(outcome["connected"], json!(true), "{config}: {outcome}");
        assert_eq!(
            outcome["transport"],
            json!("polling"),
            "{config}: {outcome}"
        );
    }
}
