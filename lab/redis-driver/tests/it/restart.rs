//! Redis is killed and started again.

use std::{sync::mpsc, time::Duration};

use harness::bench::Bench;
use redis::Client;
use redis_driver::{Notice, Publisher, RedisTarget, ResilientDriver};
use socketioxide_emitter::IoEmitter;
use socketioxide_redis::drivers::{Driver, redis::RedisDriver};
use tokio::time::{interval, timeout};

use crate::server::{CHANNEL, LIMIT, Server};

async fn redis() -> (Bench, String) {
    // No test here starts a server.
    let mut bench = Bench::new("");
    let url = bench.redis().await;
    (bench, url)
}

/// Kills Redis and starts it again. Done when both servers have noticed both.
async fn restart(bench: &mut Bench, servers: [&mut Server; 2]) {
    let [one, other] = servers;
    bench.kill_redis().await;
    assert_eq!(one.next_notice().await, Notice::RedisLost);
    assert_eq!(other.next_notice().await, Notice::RedisLost);
    bench.restart_redis().await;
    assert_eq!(one.next_notice().await, Notice::Restored);
    assert_eq!(other.next_notice().await, Notice::Restored);
}

#[tokio::test]
async fn messages_arrive_again_once_redis_is_back() {
    let (mut bench, url) = redis().await;
    let mut alice = Server::connect(&url).await;
    let mut bob = Server::connect(&url).await;
    let mut inbox = bob.subscribe(CHANNEL).await;
    assert!(alice.publish(CHANNEL, "before").await);
    assert_eq!(inbox.next().await, "before");

    restart(&mut bench, [&mut alice, &mut bob]).await;
    assert!(alice.publish(CHANNEL, "after").await);
    assert_eq!(inbox.next().await, "after");
}

#[tokio::test]
async fn the_stock_driver_never_publishes_or_receives_again() {
    let (mut bench, url) = redis().await;
    let client = Client::open(format!("{url}?protocol=resp3")).unwrap();
    let stock = RedisDriver::new(&client).await.unwrap();
    let _inbox = stock.subscribe(CHANNEL.to_owned(), 64).await.unwrap();
    let mut observer = Server::connect(&url).await;
    assert_eq!(observer.subscribers_of(CHANNEL).await, 1);
    stock.publish(CHANNEL.to_owned(), vec![]).await.unwrap();

    bench.kill_redis().await;
    assert_eq!(observer.next_notice().await, Notice::RedisLost);
    bench.restart_redis().await;
    assert_eq!(observer.next_notice().await, Notice::Restored);
    for _ in 0..3 {
        let published = stock.publish(CHANNEL.to_owned(), vec![]).await;
        assert!(published.is_err());
    }
    assert_eq!(observer.subscribers_of(CHANNEL).await, 0);
}

#[tokio::test]
async fn the_receipt_says_whether_redis_accepted_the_message() {
    let (mut bench, url) = redis().await;
    let mut alice = Server::connect(&url).await;
    let mut bob = Server::connect(&url).await;
    let mut inbox = bob.subscribe(CHANNEL).await;
    assert!(alice.publish(CHANNEL, "before").await);

    bench.kill_redis().await;
    assert_eq!(alice.next_notice().await, Notice::RedisLost);
    assert_eq!(bob.next_notice().await, Notice::RedisLost);
    for _ in 0..3 {
        assert!(!alice.publish(CHANNEL, "meanwhile").await);
    }
    bench.restart_redis().await;
    assert_eq!(alice.next_notice().await, Notice::Restored);
    assert_eq!(alice.next_notice().await, Notice::Undelivered(3));
    assert_eq!(bob.next_notice().await, Notice::Restored);

    // A message that was not accepted is not sent again.
    assert!(alice.publish(CHANNEL, "after").await);
    assert_eq!(inbox.next().await, "before");
    assert_eq!(inbox.next().await, "after");
}

#[tokio::test]
async fn after_a_restart_a_server_has_the_subscriptions_that_it_asked_for() {
    let (mut bench, url) = redis().await;
    let mut alice = Server::connect(&url).await;
    let mut bob = Server::connect(&url).await;
    let mut kept = bob.subscribe("kept").await;
    let _ended = bob.subscribe("ended").await;

    bench.kill_redis().await;
    assert_eq!(alice.next_notice().await, Notice::RedisLost);
    assert_eq!(bob.next_notice().await, Notice::RedisLost);
    let mut new = bob.subscribe("new").await;
    bob.driver.unsubscribe("ended".to_owned()).await.unwrap();
    assert_eq!(bob.subscribers_of("kept").await, 1, "this server itself");

    bench.restart_redis().await;
    assert_eq!(alice.next_notice().await, Notice::Restored);
    assert_eq!(bob.next_notice().await, Notice::Restored);
    for (channel, subscribers) in [("kept", 1), ("new", 1), ("ended", 0)] {
        assert_eq!(
            alice.subscribers_of(channel).await,
            subscribers,
            "{channel}"
        );
    }
    for (channel, inbox) in [("kept", &mut kept), ("new", &mut new)] {
        assert!(alice.publish(channel, channel).await);
        assert_eq!(inbox.next().await, channel);
    }
}

#[tokio::test]
async fn after_each_restart_every_message_arrives_once_and_in_order() {
    let (mut bench, url) = redis().await;
    let mut alice = Server::connect(&url).await;
    let mut bob = Server::connect(&url).await;
    let mut inbox = bob.subscribe(CHANNEL).await;
    for round in 0..5 {
        restart(&mut bench, [&mut alice, &mut bob]).await;
        let texts = (0..10).map(|number| format!("{round}.{number}"));
        let texts: Vec<_> = texts.collect();
        for text in &texts {
            // Not waiting for Redis: the order is that of these calls.
            let publish = alice
                .driver
                .publish(CHANNEL.to_owned(), text.clone().into());
            publish.await.unwrap();
        }
        for text in &texts {
            assert_eq!(&inbox.next().await, text);
        }
    }
}

#[tokio::test]
async fn a_driver_that_is_dropped_closes_its_connection() {
    let (_bench, url) = redis().await;
    let alice = Server::connect(&url).await;
    let bob = Server::connect(&url).await;
    let _inbox = bob.subscribe(CHANNEL).await;
    assert_eq!(alice.subscribers_of(CHANNEL).await, 1);

    drop(bob);
    let mut turns = interval(Duration::from_millis(10));
    let unsubscribed = async {
        while alice.subscribers_of(CHANNEL).await > 0 {
            turns.tick().await;
        }
    };
    timeout(LIMIT, unsubscribed).await.unwrap();
}

#[tokio::test]
async fn a_publisher_fails_while_redis_is_away_and_works_again_afterwards() {
    let (mut bench, url) = redis().await;
    let mut server = Server::connect(&url).await;
    let _inbox = server.subscribe("socket.io-request#/#").await;
    let target = RedisTarget::at(&url).await.unwrap();
    let (sender, servers) = mpsc::channel();
    let publisher = Publisher::at(&target, move |count| sender.send(count).unwrap());
    let publisher = publisher.await.unwrap();
    let emit = async || IoEmitter::new().emit("message", &"hi", &publisher).await;
    emit().await.unwrap();
    assert_eq!(servers.try_recv(), Ok(1));

    bench.kill_redis().await;
    assert_eq!(server.next_notice().await, Notice::RedisLost);
    assert!(emit().await.is_err());
    bench.restart_redis().await;
    assert_eq!(server.next_notice().await, Notice::Restored);
    // Its own connection may take a moment longer than the server's.
    let again = async { while emit().await.is_err() {} };
    timeout(LIMIT, again).await.unwrap();
    assert_eq!(servers.try_recv(), Ok(1));
}

#[tokio::test]
async fn without_redis_at_the_start_there_is_no_driver() {
    let (mut bench, url) = redis().await;
    let target = RedisTarget::at(&url).await.unwrap();
    bench.kill_redis().await;
    let driver = ResilientDriver::connect(target, drop).await;
    assert!(driver.is_err());
}
