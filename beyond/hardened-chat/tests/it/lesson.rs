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
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::ALONE;

const CHAT: &str = env!("CARGO_BIN_EXE_hardened-chat");

/// The other experiments have tests of their own below: they would take longest here.
#[test]
fn every_claim_about_tokens_origins_order_and_small_requests_holds() {
    let _alone = ALONE.blocking_lock();
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
    servers_on(bench, &redis, buffer).await
}

async fn servers_on(bench: &mut Bench, redis: &str, buffer: &str) -> [String; 3] {
    let environment = [("REDIS_URL", redis), ("BUFFER", buffer)];
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
    let answer = announce(&urls, async || {}).await;
    let all = json!({ "heard": 3, "missed": 0, "unknown": false });
    assert_eq!(answer, all);
}

/// Nobody knows about the clients of a server that does not answer. About the others, it is known.
#[tokio::test]
async fn an_announcements_sender_is_told_what_is_known_while_one_server_is_stopped() {
    let mut bench = Bench::new(CHAT);
    let urls = servers_with(&mut bench, "4096").await;
    let pid = bench.stage.servers.pid('C').unwrap();
    let pid = Pid::from_raw(pid.cast_signed()).unwrap();
    let answer = announce(&urls, async || kill_process(pid, Signal::STOP).unwrap()).await;
    let others = json!({ "heard": 2, "missed": 0, "unknown": true });
    assert_eq!(answer, others);
}

/// Redis counts every subscriber, and the adapter takes each for a server.
#[tokio::test]
async fn an_announcements_sender_is_told_what_is_known_while_a_stranger_subscribes() {
    let mut bench = Bench::new(CHAT);
    let redis = bench.redis().await;
    let urls = servers_on(&mut bench, &redis, "4096").await;
    let client = redis::Client::open(redis).unwrap();
    let mut stranger = client.get_async_pubsub().await.unwrap();
    let channel = bench.stage.redis.prefixed("socket.io-request#/#");
    stranger.subscribe(channel).await.unwrap();
    let answer = announce(&urls, async || {}).await;
    let all = json!({ "heard": 3, "missed": 0, "unknown": true });
    assert_eq!(answer, all);
}

/// The message stays on Alice's server, and nobody knows about the clients of the others.
#[tokio::test]
async fn an_announcements_sender_is_told_what_is_known_while_redis_is_away() {
    let mut bench = Bench::new(CHAT);
    let urls = servers_with(&mut bench, "4096").await;
    let alice = connect(&urls[0], "alice").await.unwrap();
    bench.kill_redis().await;
    let said = bench
        .stage
        .servers
        .await_line('A', "the connection to Redis broke")
        .await;
    assert!(said);
    let answer = alice.ask("announce", &json!("Hi all")).await.unwrap();
    let nobody = json!({ "heard": 0, "missed": 0, "unknown": true });
    assert_eq!(answer, nobody);
}

/// The answer to Alice, who announces something to a client of each server. Before that, something
/// happens.
async fn announce(urls: &[String; 3], happens: impl AsyncFnOnce()) -> Value {
    let mut listeners = Vec::new();
    for (name, url) in ["bob", "carol", "dave"].into_iter().zip(urls) {
        let mut socket = connect(url, name).await.unwrap();
        listeners.push(tokio::spawn(async move {
            let received = socket.next_received().await.unwrap();
            socket.acknowledge(&received, &json!(true)).unwrap();
            socket
        }));
    }
    let alice = connect(&urls[0], "alice").await.unwrap();
    happens().await;
    alice.ask("announce", &json!("Hi all")).await.unwrap()
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
    let _alone = ALONE.lock().await;
    let mut bench = Bench::new(CHAT);
    let rows = slow_reader::disconnected(&mut bench.stage).await.unwrap();
    assert_eq!(rows.len(), 2, "directly, and through nginx");
    assert!(rows.iter().all(Row::holds), "{rows:?}");
}
