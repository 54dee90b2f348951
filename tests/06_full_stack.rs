//! Chapter 6: nginx, three servers, Redis, and an emitter outside.
//!
//! The tests in a browser are in `06_pages.rs`, those with other applications in `06_one_redis.rs`.

// All of this file is a test, its helpers too.
#![allow(clippy::unwrap_used)]

#[path = "06_one_redis.rs"]
mod one_redis;
#[path = "06_pages.rs"]
mod pages;

use std::{thread, time::Duration};

use ch03_socket_polling::experiments::{is_session_unknown, poll_twice};
use ch06_full_stack::experiment::{User, address_for, write, write_until_heard};
use harness::{
    bench::Bench,
    binary::{Running, command, each_experiment_runs_alone, every_claim_holds, family, is_refused},
    listening,
    node::OfficialClient,
    observatory::Observatory,
    transcript,
};
use insta::assert_snapshot;
use lab::{Client, Transport, parts::find::on_path};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::sleep;

const CHAPTER: &str = env!("CARGO_BIN_EXE_ch06-full-stack");
const EMIT: &str = env!("CARGO_BIN_EXE_emit");

#[test]
fn every_claim_of_the_chapter_holds() {
    every_claim_holds(CHAPTER);
}

#[test]
fn each_experiment_can_be_run_alone() {
    each_experiment_runs_alone(CHAPTER);
}

#[test]
fn what_a_learner_reads_is_the_same_in_every_run() {
    assert_snapshot!(transcript::of_check(CHAPTER));
}

/// nginx with `ip_hash`, three servers with the adapter, and Redis. Returns nginx's URL too.
async fn full_stack() -> (Bench, String) {
    full_stack_with("resilient").await
}

/// The same with one of the two drivers.
async fn full_stack_with(driver: &str) -> (Bench, String) {
    let mut bench = Bench::new(CHAPTER);
    let redis = bench.redis().await;
    let environment = [("REDIS_URL", redis.as_str()), ("DRIVER", driver)];
    bench.stage.servers.start(3, &environment).await.unwrap();
    let url = bench.nginx("06-full-stack.conf").await;
    (bench, url)
}

/// The same without the adapter and without Redis.
async fn without_the_adapter() -> (Bench, String) {
    let mut bench = Bench::with_servers(CHAPTER, &[("ADAPTER", "off")]).await;
    let url = bench.nginx("06-full-stack.conf").await;
    (bench, url)
}

async fn user(url: &str, name: &str, server: usize, transport: Transport) -> User {
    User::connect(url, name, server, transport).await.unwrap()
}

/// `PUBSUB CHANNELS` after the start of each server. A new name belongs to the new server.
#[tokio::test]
async fn each_server_listens_on_one_channel_of_all_and_two_of_its_own() {
    let mut bench = Bench::new(CHAPTER);
    let redis = bench.redis().await;
    let environment = [("REDIS_URL", redis.as_str())];
    let client = redis::Client::open(redis.as_str()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut names: Vec<(String, String)> = Vec::new();
    let mut listened_on = String::new();
    for (count, letter) in (1..).zip(['A', 'B', 'C']) {
        let stage = &mut bench.stage;
        stage.servers.start(count, &environment).await.unwrap();
        let channels: Vec<String> = redis::cmd("PUBSUB")
            .arg("CHANNELS")
            .query_async(&mut connection)
            .await
            .unwrap();
        // `socket-lab:socket.io-request#/#`, and with a server's own name `…-request#/#…#`.
        for channel in &channels {
            let name = channel.split('#').nth(2).unwrap_or_default();
            if !name.is_empty() && names.iter().all(|(known, _)| known != name) {
                names.push((name.to_owned(), format!("[{letter}]")));
            }
        }
        let redact = |channel: &String| {
            let redacted = names.iter();
            redacted.fold(channel.clone(), |text, (name, letter)| {
                text.replace(name, letter)
            })
        };
        let mut channels: Vec<_> = channels.iter().map(redact).collect();
        channels.sort();
        listened_on.push_str(&format!("── {count} up\n{}\n", channels.join("\n")));
    }
    assert_snapshot!(listened_on);
}

#[tokio::test]
async fn without_the_adapter_a_message_to_another_server_is_lost() {
    let (_bench, url) = without_the_adapter().await;
    let alice = user(&url, "alice", 0, Transport::Upgrade).await;
    let mut bob = user(&url, "bob", 1, Transport::Upgrade).await;
    let mut ann = user(&url, "ann", 0, Transport::Upgrade).await;
    assert_ne!(alice.socket.owner, bob.socket.owner);
    assert!(!write(&alice, &mut bob, "hi").await.unwrap());
    assert!(
        write(&alice, &mut ann, "hi").await.unwrap(),
        "on her own server"
    );
}

#[tokio::test]
async fn the_adapter_carries_it_over_each_transport() {
    let (_bench, url) = full_stack().await;
    for transport in [Transport::Polling, Transport::WebSocket, Transport::Upgrade] {
        let alice = user(&url, "alice", 0, transport).await;
        let mut bob = user(&url, "bob", 1, transport).await;
        assert_ne!(alice.socket.owner, bob.socket.owner);
        assert!(write(&alice, &mut bob, "hi").await.unwrap(), "{transport}");
    }
}

#[tokio::test]
async fn a_user_hears_on_every_device_and_nobody_else_does() {
    let (_bench, url) = full_stack().await;
    let alice = user(&url, "alice", 0, Transport::Upgrade).await;
    let mut laptop = user(&url, "bob", 1, Transport::Upgrade).await;
    let mut phone = user(&url, "bob", 2, Transport::Polling).await;
    let mut carol = user(&url, "carol", 1, Transport::Upgrade).await;
    alice.say("bob", "hi, both").await.unwrap();
    alice.say("carol", "hi, carol").await.unwrap();
    assert!(laptop.hears("alice", "hi, both").await);
    assert!(phone.hears("alice", "hi, both").await);
    assert!(
        carol.hears("alice", "hi, carol").await,
        "and nothing before it"
    );
}

#[tokio::test]
async fn a_broadcast_reaches_everybody_once_and_in_order() {
    let (_bench, url) = full_stack().await;
    let alice = user(&url, "alice", 0, Transport::Upgrade).await;
    let mut others = Vec::new();
    for number in 0..9 {
        let name = format!("user {number}");
        others.push(user(&url, &name, number % 3, Transport::Upgrade).await);
    }
    for word in ["one", "two", "three"] {
        alice.shout(word).await.unwrap();
    }
    for other in &mut others {
        for word in ["one", "two", "three"] {
            assert!(other.hears("alice", word).await, "{} {word}", other.name);
        }
    }
}

#[tokio::test]
async fn the_emitter_reaches_a_user_from_outside() {
    let mut bench = Bench::new(CHAPTER);
    let redis = bench.redis().await;
    let environment = [("REDIS_URL", redis.as_str())];
    bench.stage.servers.start(3, &environment).await.unwrap();
    let url = bench.nginx("06-full-stack.conf").await;
    let mut bob = user(&url, "bob", 1, Transport::Upgrade).await;
    let emit = bench
        .stage
        .start_program("emit", &["bob", "from outside"], &environment)
        .unwrap();
    assert!(bob.hears("emit", "from outside").await);
    emit.finish().await.unwrap();
}

#[tokio::test]
async fn the_adapter_shares_messages_and_not_sessions() {
    let (mut bench, url) = full_stack().await;
    let client = Client::at("you", &url, address_for(0, 3));
    assert_eq!(poll_twice(&client).await.unwrap().refusal, None);

    let url = bench
        .nginx_with("06-full-stack.conf", |config| {
            config.replace("ip_hash;", "")
        })
        .await;
    let twice = poll_twice(&Client::new("you", &url)).await.unwrap();
    assert!(is_session_unknown(&twice.refusal.unwrap()));
}

/// It does not reconnect. Redis is back, and every emit fails, even one to the same server.
#[tokio::test]
async fn with_the_stock_driver_no_message_arrives_after_a_restart_of_redis() {
    let (mut bench, url) = full_stack_with("stock").await;
    let alice = user(&url, "alice", 0, Transport::Upgrade).await;
    let mut ann = user(&url, "ann", 0, Transport::Upgrade).await;
    let mut bob = user(&url, "bob", 1, Transport::Upgrade).await;
    assert!(write(&alice, &mut ann, "hi").await.unwrap());
    assert!(write(&alice, &mut bob, "hi").await.unwrap());

    bench.kill_redis().await;
    bench.restart_redis().await;
    for _ in 0..2 {
        assert!(!write(&alice, &mut ann, "still there?").await.unwrap());
        assert!(!write(&alice, &mut bob, "and you?").await.unwrap());
        let is_acknowledged = alice.say("ann", "still there?").await.unwrap();
        assert!(!is_acknowledged, "the server says that it failed");
    }
}

#[tokio::test]
async fn while_redis_is_away_a_server_delivers_to_its_own_and_afterwards_to_all() {
    let (mut bench, url) = full_stack().await;
    let alice = user(&url, "alice", 0, Transport::Upgrade).await;
    let mut ann = user(&url, "ann", 0, Transport::Upgrade).await;
    let mut bob = user(&url, "bob", 1, Transport::Upgrade).await;

    bench.kill_redis().await;
    assert!(
        bench
            .stage
            .servers
            .await_line('A', "the connection to Redis broke")
            .await
    );
    assert!(write(&alice, &mut ann, "still there?").await.unwrap());
    assert!(!write(&alice, &mut bob, "and you?").await.unwrap());

    bench.restart_redis().await;
    let heard = write_until_heard(&alice, &mut bob, Duration::from_secs(5)).await;
    assert!(heard.unwrap().is_some(), "messages cross again");
    assert!(
        write(&bob, &mut ann, "back").await.unwrap(),
        "and the other way"
    );
}

/// A server that closes its sockets tells Redis, and this Redis does not answer.
#[tokio::test]
async fn a_server_ends_when_asked_although_redis_is_gone() {
    let mut bench = Bench::new(CHAPTER);
    let redis = bench.redis().await;
    let mut server = Running::start(
        command(CHAPTER)
            .env("PORT", "0")
            .env("REDIS_URL", redis.as_str()),
    );
    let line = server.line_with("running on");
    let port = line.split_whitespace().nth(4).unwrap();
    let url = format!("http://127.0.0.1:{port}");
    let _bob = user(&url, "bob", 1, Transport::WebSocket).await;

    bench.kill_redis().await;
    server.line_with("the connection to Redis broke");
    server.signal(Signal::TERM);
    assert_eq!(server.end(), Some(0));
}

#[tokio::test]
async fn the_official_client_writes_to_another_server_with_each_setting() {
    let Some(client) = OfficialClient::find() else {
        return;
    };
    for (adapter, (_bench, url)) in [
        (false, without_the_adapter().await),
        (true, full_stack().await),
    ] {
        for transports in [
            json!(["polling"]),
            json!(["websocket"]),
            json!(["polling", "websocket"]),
        ] {
            let [alice, bob] = [("alice", 0), ("bob", 1)].map(|(name, server)| {
                json!({
                    "url": url,
                    "transports": transports,
                    "forwardedFor": address_for(server, 3),
                    "user": name,
                })
                .to_string()
            });
            let outcome = client.run(&["write", &alice, &bob, "hi"]).await;
            assert_eq!(outcome, json!({ "connected": true, "arrived": adapter }));
        }
    }
}

#[test]
fn a_setting_with_an_unknown_value_is_named() {
    for (name, value, known) in [
        ("ADAPTER", "usb", "is neither redis nor off"),
        ("DRIVER", "fast", "is neither resilient nor stock"),
    ] {
        let named = format!("{name}={value} {known}");
        let mut server = command(CHAPTER);
        is_refused(server.env("PORT", "0").env(name, value), 1, &[&named]);
    }
}

/// Anybody may use any name here, so only this machine may connect.
#[test]
fn an_address_of_other_machines_is_refused_and_the_hardened_chat_is_named() {
    for address in ["0.0.0.0", "::", "192.0.2.1"] {
        is_refused(
            command(CHAPTER).env("PORT", "0").env("LISTEN", address),
            1,
            &[&format!("LISTEN={address}"), "cargo run -p hardened-chat"],
        );
    }
}

#[test]
fn a_redis_that_does_not_answer_is_named() {
    for command in [
        command(CHAPTER).env("PORT", "0"),
        command(EMIT).args(["bob", "hi"]),
    ] {
        is_refused(
            command.env("REDIS_URL", "redis://127.0.0.1:1"),
            1,
            &["no Redis answers at redis://127.0.0.1:1"],
        );
    }
}

#[test]
fn emit_says_what_it_takes() {
    is_refused(&mut command(EMIT), 2, &["<USER>", "<TEXT>"]);
}

/// `PUBLISH` returns the number of subscribers, and the lesson counts the servers by it.
#[tokio::test]
async fn the_page_sees_each_message_and_does_not_count_as_a_subscriber() {
    for embedded in [false, true] {
        let mut chapter = command(CHAPTER);
        chapter.arg("adapter").env_remove("REDIS_URL");
        if embedded {
            chapter.env("REDIS_URL", "embedded");
        }
        let observatory = Observatory::started_by(chapter);
        let client = redis::Client::open(observatory.redis_url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();

        let mut events = observatory.events();
        let is_published = |event: &Value| event["event"] == "published";
        let page = thread::spawn(move || while !events.batch().iter().any(is_published) {});
        // The page may connect to Redis a moment later, so the message is sent more than once.
        while !page.is_finished() {
            let subscribers: usize = redis::cmd("PUBLISH")
                .arg("socket-lab:socket.io-request#/#")
                .arg("hi")
                .query_async(&mut connection)
                .await
                .unwrap();
            assert_eq!(subscribers, 3, "three servers (embedded: {embedded})");
            sleep(Duration::from_millis(20)).await;
        }
        page.join().unwrap();
    }
}

/// nginx, the servers, Redis and the page. In the shell of a learner, `LISTEN` may be set.
#[test]
fn a_stage_that_stays_up_listens_on_loopback_alone() {
    if cfg!(not(target_os = "linux")) {
        return;
    }
    let mut chapter = command(CHAPTER);
    chapter
        .arg("adapter")
        .env("LISTEN", "0.0.0.0")
        .env_remove("REDIS_URL");
    let observatory = Observatory::started_by(chapter);
    let seen = listening::of(&family(observatory.pid()));
    let redis = on_path("redis-server").map(|_| "redis-server");
    let programs: Vec<_> = ["ch06-full-stack", "nginx"]
        .into_iter()
        .chain(redis)
        .collect();
    listening::assert_loopback_alone(&seen, &programs);
    let page = observatory.host.parse().unwrap();
    assert!(seen.iter().any(|(_, address)| *address == page), "{seen:?}");
    // The stage holds one more port for its block of ports.
    assert!(seen.len() > 3 + 1 + redis.iter().len(), "{seen:?}");
}
