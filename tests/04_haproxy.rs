//! Chapter 4 with HAProxy in nginx's place.
//!
//! `HAPROXY_IMAGE` runs it in a container of that image; otherwise it is the one on `PATH`.

// All of this file is a test, its helpers too.
#![allow(clippy::unwrap_used)]

mod harness;

use ch03_socket_polling::{is_session_unknown, poll_twice};
use ch04_ip_hash::{
    Crowd, gather,
    haproxy::{a_dies, hang, unanswered},
    spread,
};
use harness::{
    binary::{command, every_claim_holds, is_refused},
    node::untested,
};
use lab::{Client, Stage, Transport};

const LESSON: &str = env!("CARGO_BIN_EXE_haproxy");
const CHAPTER: &str = env!("CARGO_BIN_EXE_ch04-ip-hash");

/// A stage with three servers; none where there is no HAProxy, which is said.
async fn stage() -> Option<Stage> {
    if let Err(reason) = lab::haproxy_found().await {
        untested("with HAProxy", &reason.to_string());
        return None;
    }
    let mut stage = Stage::silent(CHAPTER).unwrap();
    stage.start_servers(3, &[]).await.unwrap();
    Some(stage)
}

#[tokio::test]
async fn every_claim_of_the_lesson_with_haproxy_holds() {
    if let Err(reason) = lab::haproxy_found().await {
        return untested("with HAProxy", &reason.to_string());
    }
    every_claim_holds(LESSON);
}

#[test]
fn without_haproxy_one_sentence_says_what_to_install() {
    let mut lesson = command(LESSON);
    lesson
        .args(["--check", "--ports", "auto"])
        .env("HAPROXY_IMAGE", "nobody.invalid/haproxy");
    is_refused(&mut lesson, 1, &["HAPROXY_IMAGE=nobody.invalid/haproxy"]);
}

#[tokio::test]
async fn behind_haproxys_round_robin_the_second_poll_is_refused() {
    let Some(mut stage) = stage().await else {
        return;
    };
    let url = stage.switch_haproxy("04-round-robin.cfg").await.unwrap();
    let twice = poll_twice(&Client::new("you", &url)).await.unwrap();
    assert!(is_session_unknown(&twice.refusal.unwrap()));
    assert_ne!(twice.owner, twice.asked);

    let url = stage.switch_haproxy("04-balance-source.cfg").await.unwrap();
    let twice = poll_twice(&Client::new("you", &url)).await.unwrap();
    assert_eq!(twice.refusal, None);
    stage.stop().await;
}

#[tokio::test]
async fn haproxys_cookie_spreads_even_one_address_and_needs_a_client_that_keeps_it() {
    let Some(mut stage) = stage().await else {
        return;
    };
    let url = stage.switch_haproxy("04-cookie.cfg").await.unwrap();
    let (members, failed) = gather(&url, Crowd::OneAddress, 30, Transport::Upgrade, true).await;
    assert_eq!((failed, spread(&members).len()), (0, 3));
    drop(members);
    let (members, _) = gather(&url, Crowd::OneAddress, 30, Transport::Upgrade, false).await;
    assert_eq!(members.len(), 0);
    stage.stop().await;
}

#[tokio::test]
async fn balance_source_moves_clients_of_living_servers_and_a_ring_does_not() {
    let Some(mut stage) = stage().await else {
        return;
    };
    let (moved, of) = a_dies(&mut stage, "04-balance-source.cfg").await.unwrap();
    assert!(moved > 0, "{moved} of {of}");
    let (moved, of) = a_dies(&mut stage, "04-consistent-hash.cfg").await.unwrap();
    assert!(moved == 0 && of > 0, "{moved} of {of}");
    stage.stop().await;
}

#[tokio::test]
async fn a_health_check_finds_a_server_that_hangs_and_nginx_leaves_that_to_clients() {
    let Some(mut stage) = stage().await else {
        return;
    };
    let url = stage.switch_nginx("03-websocket.conf").await.unwrap();
    hang(&stage, 'A', true).unwrap();
    assert_eq!(unanswered(&url, 6).await, 2);
    hang(&stage, 'A', false).unwrap();

    let url = stage.switch_haproxy("04-round-robin.cfg").await.unwrap();
    hang(&stage, 'A', true).unwrap();
    assert!(stage.haproxy_says('A', "DOWN").await.is_some());
    assert_eq!(unanswered(&url, 30).await, 0);
    hang(&stage, 'A', false).unwrap();
    assert!(stage.haproxy_says('A', "UP").await.is_some());
    stage.stop().await;
}
