//! Chapter 5: brokers that share the users' channels among them, beside Redis.

// All of this file is a test, its helpers too.
#![allow(clippy::unwrap_used)]

mod harness;

use ch05_redis_pubsub::brokers::experiment::{Told, with_brokers, with_redis};
use harness::{
    bench::Bench,
    binary::{command, is_refused},
};

const CHAPTER: &str = env!("CARGO_BIN_EXE_ch05-redis-pubsub");

/// Twelve users; eight of them are not on Alice's server.
const USERS: usize = 12;

#[tokio::test]
async fn through_redis_every_server_is_handed_every_message() {
    let mut bench = Bench::new(CHAPTER);
    let redis = bench.redis().await;
    let mut cast = with_redis(&mut bench.stage, &redis, USERS).await.unwrap();
    let told = Told {
        arrived: 12,
        published: 8,
        handed: 24,
    };
    assert_eq!(cast.tell_everybody().await.unwrap(), told);
}

#[tokio::test]
async fn a_broker_hands_a_message_to_the_server_that_has_the_user() {
    let mut bench = Bench::new(CHAPTER);
    let mut cast = with_brokers(&mut bench.stage, 2, USERS).await.unwrap();
    let told = Told {
        arrived: 12,
        published: 8,
        handed: 8,
    };
    assert_eq!(cast.tell_everybody().await.unwrap(), told);
}

#[tokio::test]
async fn with_one_broker_its_death_cuts_servers_off() {
    let mut bench = Bench::new(CHAPTER);
    let mut cast = with_brokers(&mut bench.stage, 1, USERS).await.unwrap();
    assert!(cast.tell_the_last().await.unwrap());
    cast.kill(&bench.stage, 0).await.unwrap();
    assert!(!cast.tell_the_last().await.unwrap());
    cast.restart(&bench.stage, 0).await.unwrap();
    assert!(cast.tell_the_last().await.unwrap());
}

#[tokio::test]
async fn with_two_a_dead_brokers_channels_move_and_come_back_with_it() {
    let mut bench = Bench::new(CHAPTER);
    let mut cast = with_brokers(&mut bench.stage, 2, USERS).await.unwrap();
    for broker in [0, 1] {
        let moved = cast.kill(&bench.stage, broker).await.unwrap();
        assert!(moved > 0, "broker {broker} had none");
        assert_eq!(cast.tell_everybody().await.unwrap().arrived, USERS);
        cast.restart(&bench.stage, broker).await.unwrap();
        assert_eq!(cast.tell_everybody().await.unwrap().arrived, USERS);
    }
}

#[test]
fn brokers_that_are_no_addresses_are_one_sentence() {
    for (brokers, word) in [
        (None, "needs BROKERS"),
        (Some("here"), "BROKERS names \"here\""),
    ] {
        let mut server = command(CHAPTER);
        server.env("PORT", "0").env("LINK", "brokers");
        if let Some(brokers) = brokers {
            server.env("BROKERS", brokers);
        }
        is_refused(&mut server, 1, &[word]);
    }
}
