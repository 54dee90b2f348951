//! With the `socket.id` of a polling client, anybody can speak as that client.

// All of this program is a test, its helpers too.
#![allow(clippy::unwrap_used)]

use ch03_socket_polling::app;
use harness::{bench::Bench, binary::every_claim_holds, transcript};
use insta::assert_snapshot;
use lab::{Client, client::Error};
use lab_server::{bounds::serve_bounded, listen_on};
use session_id::{forge, forge_websocket};

const LESSON: &str = env!("CARGO_BIN_EXE_session-id");

#[test]
fn every_claim_about_a_stolen_id_holds() {
    every_claim_holds(LESSON);
}

#[test]
fn what_a_learner_reads_is_the_same_in_every_run() {
    assert_snapshot!(transcript::of_check(LESSON));
}

/// One server that shows each sender's `socket.id`.
async fn naive() -> (Bench, String) {
    let mut bench = Bench::new(LESSON);
    bench.stage.servers.start(1, &[]).await.unwrap();
    let url = bench.stage.servers.url('A').unwrap();
    (bench, url)
}

#[tokio::test]
async fn a_client_that_knows_a_polling_clients_id_speaks_as_that_client() {
    let (_bench, url) = naive().await;
    let mallory = Client::new("mallory", &url);
    let forged = forge(&url, &mallory, "forged").await.unwrap();
    let heard = forged.bob_heard.unwrap();
    assert_eq!(heard["text"], "forged");
    assert_eq!(heard["from"], forged.alice.as_str());
    assert!(format!("{:?}", forged.stolen).contains("1234"));
}

#[tokio::test]
async fn the_id_of_a_client_with_a_websocket_is_refused_over_polling() {
    let (_bench, url) = naive().await;
    let mallory = Client::new("mallory", &url);
    let forged = forge_websocket(&url, &mallory).await.unwrap();
    assert_eq!(forged.unwrap_err().refusal().unwrap().status, 400);
}

/// Chapter 3's server shows no ID, so there is none to steal.
#[tokio::test]
async fn where_no_id_is_shown_the_attack_ends_before_it_begins() {
    let listener = listen_on(0).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (app, _io) = app();
    tokio::spawn(serve_bounded(listener, app, std::future::pending()));
    let mallory = Client::new("mallory", &url);
    let Err(Error::Unexpected(why)) = forge(&url, &mallory, "forged").await else {
        panic!("an ID was shown");
    };
    assert_eq!(why, "no ID is shown");
}
