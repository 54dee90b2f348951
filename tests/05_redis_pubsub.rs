//! Chapter 5: how servers reach each other.

// All of this file is a test, its helpers too.
#![allow(clippy::unwrap_used)]

use axum::Router;
use ch05_redis_pubsub::{
    channel::Channel,
    experiment::{alice_writes_to_bob, connect},
    link::Private,
    programs::CHANNEL,
};
use futures_util::StreamExt;
use harness::{
    bench::Bench,
    binary::{command, each_experiment_runs_alone, every_claim_holds, is_refused, run},
    observatory::Observatory,
    transcript,
};
use insta::assert_snapshot;
use lab::prefixed;
use redis::AsyncCommands;
use serde_json::{Value, json};
use socketioxide::{
    SocketIo,
    extract::{SocketRef, TryData},
    handler::ConnectHandler,
};
use tokio::net::TcpListener;

const CHAPTER: &str = env!("CARGO_BIN_EXE_ch05-redis-pubsub");
const SUBSCRIBER: &str = env!("CARGO_BIN_EXE_subscriber");
const PUBLISHER: &str = env!("CARGO_BIN_EXE_publisher");
const USER: &str = env!("CARGO_BIN_EXE_user");

/// Nobody listens on port 1.
const NOBODY: &str = "redis://127.0.0.1:1";

#[test]
fn every_claim_of_the_chapter_holds() {
    every_claim_holds(CHAPTER);
}

#[test]
fn what_a_learner_reads_is_the_same_in_every_run() {
    assert_snapshot!(transcript::of_check(CHAPTER));
}

#[tokio::test]
async fn a_message_published_before_anyone_subscribes_is_lost() {
    let mut bench = Bench::new(CHAPTER);
    let url = bench.redis().await;
    let client = redis::Client::open(url.as_str()).unwrap();
    let mut publisher = client.get_multiplexed_async_connection().await.unwrap();
    let heard: usize = publisher.publish(CHANNEL, "too early").await.unwrap();
    assert_eq!(heard, 0);

    let mut subscriber = client.get_async_pubsub().await.unwrap();
    subscriber.subscribe(CHANNEL).await.unwrap();
    let heard: usize = publisher.publish(CHANNEL, "in time").await.unwrap();
    assert_eq!(heard, 1);
    let message = subscriber.on_message().next().await.unwrap();
    assert_eq!(message.get_payload::<String>().unwrap(), "in time");
}

#[tokio::test]
async fn the_two_programs_print_what_the_article_prints() {
    let mut bench = Bench::new(CHAPTER);
    let url = bench.redis().await;
    let environment = [("REDIS_URL", url.as_str())];
    let stage = &bench.stage;
    let mut subscriber = stage
        .start_program("subscriber", &[], &environment)
        .unwrap();
    assert!(subscriber.next_line().await.unwrap().contains("subscribed"));
    let publisher = stage.start_program("publisher", &[], &environment).unwrap();
    publisher.finish().await.unwrap();
    for text in ["hi", "hello world"] {
        assert_eq!(
            subscriber.next_line().await.unwrap(),
            format!("Message \"{text}\" on channel \"socket-lab:my channel\" arrived!")
        );
    }
}

/// Each application has its own channels, also on one database.
#[tokio::test]
async fn two_applications_on_one_redis_do_not_hear_each_other() {
    let mut bench = Bench::new(CHAPTER);
    let url = bench.redis().await;
    let [one, two] = ["one", "two"].map(|name| [("APP_NAME", name), ("REDIS_URL", &url)]);
    let mut subscriber = bench.stage.start_program("subscriber", &[], &one).unwrap();
    let said = subscriber.next_line().await.unwrap();
    assert_eq!(said, "(subscribed to \"one:my channel\")");
    let link = [&one[..], &[("LINK", "redis")]].concat();
    bench.stage.servers.start(3, &link).await.unwrap();

    let mut publisher = bench.stage.start_program("publisher", &[], &two).unwrap();
    let said = publisher.next_line().await.unwrap();
    assert_eq!(said, "(\"hi\" published, subscribers: 0)");
    let client = redis::Client::open(url.as_str()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut channels: Vec<String> = redis::cmd("PUBSUB")
        .arg("CHANNELS")
        .query_async(&mut connection)
        .await
        .unwrap();
    channels.sort();
    assert_eq!(channels, ["one:my channel", "one:private messages"]);
}

/// A database has its own keys, but not its own channels.
#[tokio::test]
async fn a_message_that_is_published_in_one_database_arrives_in_another() {
    let mut bench = Bench::new(CHAPTER);
    let url = bench.redis().await;
    let [one, two] = [1, 2].map(|database| format!("{url}/{database}"));
    let start = |name, url: &str| bench.stage.start_program(name, &[], &[("REDIS_URL", url)]);
    let mut subscriber = start("subscriber", &one).unwrap();
    subscriber.next_line().await.unwrap();
    start("publisher", &two).unwrap().finish().await.unwrap();
    let heard = subscriber.next_line().await.unwrap();
    assert!(heard.contains("\"hi\""), "{heard}");
}

#[tokio::test]
async fn a_typed_channel_carries_what_it_is_typed_for_and_says_what_is_not() {
    const NUMBERS: Channel<Vec<u32>> = Channel::new("numbers");
    let mut bench = Bench::new(CHAPTER);
    let url = bench.redis().await;
    let client = redis::Client::open(url.as_str()).unwrap();
    let mut publisher = client.get_multiplexed_async_connection().await.unwrap();
    let mut messages = Box::pin(NUMBERS.subscribe(&client).await.unwrap());

    let _: usize = publisher
        .publish(prefixed("numbers"), "no numbers")
        .await
        .unwrap();
    assert_eq!(
        NUMBERS.publish(&mut publisher, &vec![1, 2]).await.unwrap(),
        1
    );
    let said = messages.next().await.unwrap().unwrap_err().to_string();
    assert!(said.contains("channel socket-lab:numbers"), "{said}");
    assert_eq!(messages.next().await.unwrap().unwrap(), [1, 2]);
}

#[tokio::test]
async fn servers_that_know_only_their_own_users_lose_the_message() {
    let bench = Bench::with_servers(CHAPTER, &[("LINK", "none")]).await;
    let [a, b] = ['A', 'B'].map(|letter| bench.stage.servers.url(letter).unwrap());
    assert!(!alice_writes_to_bob(&a, &b).await.unwrap().arrived);
    assert!(alice_writes_to_bob(&a, &a).await.unwrap().arrived);
}

#[tokio::test]
async fn a_channel_inside_the_process_stops_at_the_process() {
    let bench = Bench::with_servers(CHAPTER, &[("LINK", "in-process")]).await;
    let [a, b] = ['A', 'B'].map(|letter| bench.stage.servers.url(letter).unwrap());
    let outcome = alice_writes_to_bob(&a, &b).await.unwrap();
    assert!(!outcome.arrived);
    assert_eq!(outcome.effort.heard_by, 1);
}

#[tokio::test]
async fn servers_that_ask_each_other_deliver_it_with_up_to_one_request_to_each() {
    let mut bench = Bench::with_servers(CHAPTER, &[("LINK", "none")]).await;
    let peers: Vec<_> = bench
        .stage
        .servers
        .addresses()
        .iter()
        .map(ToString::to_string)
        .collect();
    let link = [("LINK", "direct"), ("PEERS", &peers.join(","))];
    bench.stage.servers.restart(&link).await.unwrap();
    let [a, b, c] = ['A', 'B', 'C'].map(|letter| bench.stage.servers.url(letter).unwrap());
    for (bob, requests) in [(&b, 1), (&c, 2)] {
        let outcome = alice_writes_to_bob(&a, bob).await.unwrap();
        assert!(outcome.arrived);
        assert_eq!(outcome.effort.requests, requests);
    }

    // A server that is down has no users: the next one is asked.
    bench.stage.servers.kill('B').await.unwrap();
    let outcome = alice_writes_to_bob(&a, &c).await.unwrap();
    assert!(outcome.arrived);
    assert_eq!((outcome.effort.requests, outcome.effort.heard_by), (2, 1));
}

#[tokio::test]
async fn redis_carries_the_message_to_every_server() {
    let mut bench = Bench::new(CHAPTER);
    let redis = bench.redis().await;
    let link = [("LINK", "redis"), ("REDIS_URL", redis.as_str())];
    bench.stage.servers.start(3, &link).await.unwrap();
    let [a, b, c] = ['A', 'B', 'C'].map(|letter| bench.stage.servers.url(letter).unwrap());
    for bob in [&b, &c] {
        let outcome = alice_writes_to_bob(&a, bob).await.unwrap();
        assert!(outcome.arrived);
        assert_eq!(outcome.effort.published, 1);
        assert_eq!(outcome.effort.heard_by, 3);
    }
}

#[tokio::test]
async fn a_user_is_who_the_handshake_says_and_not_who_the_message_says() {
    let bench = Bench::with_servers(CHAPTER, &[("LINK", "none")]).await;
    let url = bench.stage.servers.url('A').unwrap();
    let mallory = connect(&url, "mallory").await.unwrap();
    let mut bob = connect(&url, "bob").await.unwrap();
    let forged = json!({ "from": "alice", "to": "bob", "text": "trust me" });
    mallory.ask("say", &forged).await.unwrap();
    let heard = bob.hear("message", lab::client::PATIENCE).await.unwrap();
    let heard: Private = serde_json::from_value(heard).unwrap();
    assert_eq!(heard.from, "mallory");
}

#[test]
fn a_redis_url_that_does_not_parse_is_named() {
    is_refused(
        command(CHAPTER)
            .args(["--check", "--ports", "auto"])
            .env("REDIS_URL", "localhost"),
        1,
        &[
            "REDIS_URL=localhost is no Redis URL",
            "redis://127.0.0.1:6379",
        ],
    );
}

/// Chapter 6 takes such a list for a cluster.
#[test]
fn several_redis_servers_are_refused() {
    let list = "redis://127.0.0.1:1,redis://127.0.0.1:2";
    is_refused(
        command(CHAPTER)
            .args(["--check", "--ports", "auto"])
            .env("REDIS_URL", list),
        1,
        &["names several servers, and this chapter uses one Redis"],
    );
    let mut server = command(CHAPTER);
    server.env("PORT", "0").env("LINK", "redis");
    for mut program in [server, command(SUBSCRIBER), command(PUBLISHER)] {
        is_refused(
            program.env("REDIS_URL", list),
            1,
            &["names several servers, and this chapter uses one Redis"],
        );
    }
}

#[test]
fn a_redis_that_does_not_answer_is_named() {
    is_refused(
        command(CHAPTER)
            .args(["--check", "--ports", "auto"])
            .env("REDIS_URL", NOBODY),
        1,
        &[
            "REDIS_URL=redis://127.0.0.1:1 cannot be used",
            "unset REDIS_URL",
        ],
    );
    for program in [SUBSCRIBER, PUBLISHER] {
        is_refused(
            command(program).env("REDIS_URL", NOBODY),
            1,
            &["no Redis answers at redis://127.0.0.1:1"],
        );
    }
}

/// A web server, for example: it answers, but not as Redis does.
#[tokio::test]
async fn a_program_that_is_not_redis_is_named() {
    let bench = Bench::with_servers(CHAPTER, &[("LINK", "none")]).await;
    let url = format!("redis://{}", bench.stage.servers.addresses()[0]);
    let mut stage = command(CHAPTER);
    stage.args(["--check", "--ports", "auto"]);
    let mut server = command(CHAPTER);
    server.env("PORT", "0").env("LINK", "redis");
    for mut program in [stage, server, command(SUBSCRIBER), command(PUBLISHER)] {
        program.env("REDIS_URL", &url);
        is_refused(&mut program, 1, &[&url, "is not Redis"]);
    }
}

#[test]
fn a_user_who_cannot_connect_is_told_why() {
    is_refused(
        command(USER).args(["alice", "http://127.0.0.1:1"]),
        1,
        &["alice cannot connect to http://127.0.0.1:1: "],
    );
}

/// As `hardened-chat` does it: the token is in the handshake's `auth`.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_sends_a_token_and_a_refusal_is_one_sentence() {
    async fn admit(TryData(auth): TryData<Value>) -> Result<(), &'static str> {
        match auth {
            Ok(auth) if auth["user"] == "alice" && auth["token"] == "right" => Ok(()),
            _ => Err("not admitted"),
        }
    }
    let (layer, io) = SocketIo::new_layer();
    io.ns("/", (async |_: SocketRef| {}).with(admit));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, Router::new().layer(layer)).into_future());

    let admitted = run(command(USER).args(["alice", &url, "--token", "right"]));
    assert_eq!(admitted.code, Some(0), "{admitted:?}");
    assert!(admitted.stdout.contains("(connected"), "{admitted:?}");
    let refusal = format!("alice cannot connect to {url}: not admitted");
    for token in [&["--token", "wrong"][..], &[]] {
        let mut user = command(USER);
        is_refused(user.args(["alice", &url]).args(token), 1, &[&refusal]);
    }
}

#[test]
fn each_experiment_can_be_run_alone() {
    each_experiment_runs_alone(CHAPTER);
}

#[test]
fn a_link_that_makes_no_sense_is_named() {
    let mut server = command(CHAPTER);
    server.env("PORT", "0");
    is_refused(
        server.env("LINK", "carrier pigeon"),
        1,
        &["LINK=carrier pigeon", "in-process"],
    );
    is_refused(server.env("LINK", "direct"), 1, &["needs PEERS"]);
    is_refused(
        server.env("PEERS", "somewhere"),
        1,
        &["\"somewhere\"", "127.0.0.1:8001"],
    );
}

#[test]
fn each_question_of_the_page_is_answered_by_what_happens() {
    let observatory = Observatory::of(CHAPTER);
    let [arrives, lost] = [0, 1];
    assert_eq!(
        observatory.answers(2),
        [
            (
                lost,
                "what alice on A wrote did not reach bob on B".to_owned()
            ),
            (arrives, "what alice on A wrote reached bob on B".to_owned()),
        ]
    );
}
