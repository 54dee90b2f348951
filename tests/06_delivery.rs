//! Chapter 6: what becomes of messages when much is said at once, somebody does not read,
//! or something dies.

// All of this file is a test, its helpers too.
#![allow(clippy::unwrap_used)]

mod harness;

use ch05_redis_pubsub::experiment::connect;
use ch06_full_stack::{
    drill::{ladder, reader, redis_killed},
    experiment::{
        User,
        between_polls::{Saying, Silence, between_two_polls},
        burst::burst,
    },
};
use harness::{
    bench::Bench,
    binary::{command, is_refused, run},
};
use lab::{Row, Transport};
use serde_json::json;

const CHAPTER: &str = env!("CARGO_BIN_EXE_ch06-full-stack");
const DRILL: &str = env!("CARGO_BIN_EXE_drill");

fn each_holds(rows: &[Row]) {
    for row in rows {
        assert!(row.holds(), "{row:?}");
    }
}

/// Three servers that keep so many packets for each client.
async fn servers_with(bench: &mut Bench, buffer: &str) -> [String; 3] {
    let redis = bench.redis().await;
    let environment = [("REDIS_URL", redis.as_str()), ("BUFFER", buffer)];
    bench.stage.start_servers(3, &environment).await.unwrap();
    ['A', 'B', 'C'].map(|letter| bench.stage.server_url(letter).unwrap())
}

/// 300 messages to everybody, one of whom does not poll meanwhile; she is on B.
async fn unheard(buffer: &str, from: usize, saying: Saying) -> Silence {
    let mut bench = Bench::new(CHAPTER);
    let urls = servers_with(&mut bench, buffer).await;
    between_two_polls(&urls[1], &urls[from], saying, 300)
        .await
        .unwrap()
}

#[tokio::test]
async fn between_two_polls_128_packets_are_too_few_and_4096_are_not() {
    let few = unheard("128", 0, Saying::Shout).await;
    assert!(few.lost() >= 300 - 128, "{few:?}");
    let many = unheard("4096", 0, Saying::Shout).await;
    assert_eq!(many.lost(), 0, "{many:?}");
    assert!(many.heard.is_sorted());
}

#[tokio::test]
async fn of_what_another_server_has_no_room_for_a_shouts_sender_hears_nothing() {
    let shouted = unheard("128", 0, Saying::Shout).await;
    assert_eq!(shouted.untold(), shouted.lost(), "{shouted:?}");

    let announced = unheard("128", 0, Saying::Announce).await;
    assert!(announced.lost() > 0, "{announced:?}");
    assert_eq!(announced.untold(), 0, "{announced:?}");
}

#[tokio::test]
async fn of_what_its_own_server_has_no_room_for_the_sender_is_told() {
    let shouted = unheard("128", 1, Saying::Shout).await;
    assert!(shouted.lost() > 0, "{shouted:?}");
    assert_eq!(shouted.untold(), 0, "{shouted:?}");
}

#[tokio::test]
async fn an_announcement_that_everybody_hears_is_known_to_be_heard() {
    let mut bench = Bench::new(CHAPTER);
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
async fn of_a_burst_nothing_is_lost_and_each_senders_order_is_kept() {
    let mut bench = Bench::new(CHAPTER);
    let urls = servers_with(&mut bench, "4096").await;
    let seen = burst(&urls, Transport::Polling, 300, 300).await.unwrap();
    assert_eq!((seen.lost, seen.out_of_order), (0, 0), "{seen:?}");
    assert_eq!(seen.passed_on, 300, "and the sender is told so");
}

#[tokio::test]
async fn a_client_that_stops_reading_is_dropped_and_costs_the_others_nothing() {
    let mut bench = Bench::new(CHAPTER);
    let rows = reader::stops(&mut bench.stage).await.unwrap();
    assert_eq!(rows.len(), 2, "directly, and through nginx");
    each_holds(&rows);
}

#[tokio::test]
async fn after_redis_death_the_stock_driver_delivers_nothing_and_ours_everything_again() {
    let mut bench = Bench::new(CHAPTER);
    let rows = redis_killed::and_back(&mut bench.stage).await.unwrap();
    assert_eq!(
        rows.len(),
        4,
        "each driver, within a server and between them"
    );
    each_holds(&rows);
}

#[tokio::test]
async fn each_rung_of_the_ladder_survives_what_it_promises() {
    let mut bench = Bench::new(CHAPTER);
    let events = ladder::each_rung_meets_each_event(&mut bench.stage).await;
    let rows = events.unwrap();
    let history = rows.iter().any(|row| row.config.starts_with("history"));
    assert_eq!(rows.len(), if history { 18 } else { 12 });
    each_holds(&rows);
}

#[test]
fn without_streams_the_ladder_says_what_its_last_rung_needs_and_goes_on() {
    let mut drill = command(DRILL);
    drill.args(["ladder", "--ports", "auto"]);
    let outcome = run(drill.env("REDIS_URL", "embedded"));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let words: Vec<_> = outcome.stdout.split_whitespace().collect();
    let said = words.join(" ");
    assert!(
        said.contains(
            "Without the rung \"history\": a history needs Redis Streams, and this Redis has none: \
             put redis-server on PATH, or name a real Redis with REDIS_URL."
        ),
        "{}",
        outcome.stdout
    );
    assert!(
        said.contains("retry, de-duplication 350 messages 0"),
        "{said}"
    );
}

/// What de-duplication is for.
#[tokio::test]
async fn a_message_whose_acknowledgement_comes_too_late_is_heard_twice() {
    let mut bench = Bench::with_servers(CHAPTER, &[("ADAPTER", "off")]).await;
    let url = bench.nginx("06-full-stack.conf").await;
    let alice = User::connect(&url, "alice", 0, Transport::WebSocket)
        .await
        .unwrap();
    let mut ann = User::connect(&url, "ann", 0, Transport::WebSocket)
        .await
        .unwrap();
    let message = json!({ "to": "ann", "text": "1" });

    // Ann hears it, and is still busy with it when the server's patience ends.
    let told = alice.socket.ask("tell", &message).await.unwrap();
    assert_eq!(told, json!(false));
    let first = ann.socket.next_received().await.unwrap();
    // So Alice says it again, and now Ann answers.
    let (told, again) = tokio::join!(alice.socket.ask("tell", &message), async {
        let again = ann.socket.next_received().await.unwrap();
        ann.socket.acknowledge(&again, &json!(true)).unwrap();
        again
    });
    assert_eq!(told.unwrap(), json!(true));
    assert_eq!(first.argument, again.argument);
}

#[test]
fn a_setting_that_makes_no_sense_is_one_sentence() {
    for (name, value, words) in [
        ("BUFFER", "many", "such as BUFFER=128"),
        ("BUFFER", "0", "such as BUFFER=128"),
        ("DRIVER", "fast", "neither resilient nor stock"),
    ] {
        let mut server = command(CHAPTER);
        server
            .env("PORT", "0")
            .env("REDIS_URL", "redis://127.0.0.1:1");
        is_refused(server.env(name, value), 1, &[name, value, words]);
    }
}
