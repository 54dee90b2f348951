//! The experiments: what is lost when many messages come at once, or a client does not read.

use ch05_redis_pubsub::experiment::connect;
use drills::Row;
use hardened_chat::{
    clients::{
        between_polls::{Saying, Silence, between_two_polls},
        burst::burst,
    },
    lesson::slow_reader,
};
use harness::{
    bench::Bench,
    binary::{command, run},
};
use lab::Transport;
use serde_json::json;

const CHAT: &str = env!("CARGO_BIN_EXE_hardened-chat");

/// The other experiments have tests of their own below: they would take longest here.
#[test]
fn every_claim_about_tokens_origins_order_and_small_requests_holds() {
    let outcome = run(command(CHAT)
        .args(["tokens", "origins", "order", "small-requests"])
        .args(["--check", "--ports", "auto"]));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(
        outcome.stdout.contains("14 of 14 claims held"),
        "{outcome:?}"
    );
}

/// Three servers with room for that many packets for each client.
async fn servers_with(bench: &mut Bench, buffer: &str) -> [String; 3] {
    let redis = bench.redis().await;
    let environment = [("REDIS_URL", redis.as_str()), ("BUFFER", buffer)];
    bench.stage.servers.start(3, &environment).await.unwrap();
    ['A', 'B', 'C'].map(|letter| bench.stage.servers.url(letter).unwrap())
}

/// 300 messages to everybody from one server. A client on server B does not poll meanwhile.
async fn silence(buffer: &str, from: usize, saying: Saying) -> Silence {
    let mut bench = Bench::new(CHAT);
    let urls = servers_with(&mut bench, buffer).await;
    between_two_polls(&urls[1], &urls[from], saying, 300)
        .await
        .unwrap()
}

#[tokio::test]
async fn between_two_polls_128_packets_are_too_few_and_4096_are_not() {
    let (few, many) = tokio::join!(
        silence("128", 0, Saying::Shout),
        silence("4096", 0, Saying::Shout)
    );
    assert!(few.lost() >= 300 - 128, "{few:?}");
    assert_eq!(many.lost(), 0, "{many:?}");
    assert_eq!(many.received.out_of_order(), 0);
}

#[tokio::test]
async fn a_shouts_sender_hears_nothing_of_a_loss_on_another_server_and_an_announcements_sender_does()
 {
    let (shouted, announced) = tokio::join!(
        silence("128", 0, Saying::Shout),
        silence("128", 0, Saying::Announce)
    );
    assert_eq!(shouted.lost_told_ok(), shouted.lost(), "{shouted:?}");
    assert!(announced.lost() > 0, "{announced:?}");
    assert_eq!(announced.lost_told_ok(), 0, "{announced:?}");
}

#[tokio::test]
async fn a_shouts_sender_is_told_of_a_loss_on_its_own_server() {
    let shouted = silence("128", 1, Saying::Shout).await;
    assert!(shouted.lost() > 0, "{shouted:?}");
    assert_eq!(shouted.lost_told_ok(), 0, "{shouted:?}");
}

#[tokio::test]
async fn an_announcements_sender_is_told_how_many_have_it() {
    let mut bench = Bench::new(CHAT);
    let urls = servers_with(&mut bench, "4096").await;
    let mut listeners = Vec::new();
    for (name, url) in ["bob", "carol", "dave"].into_iter().zip(&urls) {
        let mut socket = connect(url, name).await.unwrap();
        listeners.push(tokio::spawn(async move {
            let received = socket.next_received().await.unwrap();
            socket.acknowledge(&received, &json!(true)).unwrap();
            socket
        }));
    }
    let alice = connect(&urls[0], "alice").await.unwrap();
    let answer = alice.ask("announce", &json!("Hi all")).await.unwrap();
    assert_eq!(answer, json!({ "heard": 3, "missed": 0 }));
}

#[tokio::test]
async fn nothing_of_a_burst_is_lost_and_each_senders_order_is_kept() {
    let mut bench = Bench::new(CHAT);
    let urls = servers_with(&mut bench, "4096").await;
    let seen = burst(&urls, Transport::Polling, 300, 300).await.unwrap();
    assert_eq!((seen.lost, seen.out_of_order), (0, 0), "{seen:?}");
    assert_eq!(seen.passed_on, 300, "and the sender is told so");
}

#[tokio::test]
async fn a_client_that_stops_reading_is_disconnected_and_the_others_lose_nothing() {
    let mut bench = Bench::new(CHAT);
    let rows = slow_reader::disconnected(&mut bench.stage).await.unwrap();
    assert_eq!(rows.len(), 2, "directly, and through nginx");
    assert!(rows.iter().all(Row::holds), "{rows:?}");
}
