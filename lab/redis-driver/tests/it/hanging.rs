//! Redis hangs: its connections stay open, and it does not answer.

use harness::bench::Bench;
use redis_driver::Notice;
use socketioxide_redis::drivers::Driver;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};

use crate::server::{CHANNEL, LIMIT, Server};

/// Passes connections on to Redis. While `hangs` is true, nothing is passed from the client to
/// Redis.
struct Proxy {
    url: String,
    hangs: watch::Sender<bool>,
}

impl Proxy {
    async fn start(redis: &str) -> Self {
        let redis = redis.trim_start_matches("redis://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let (hangs, is_hanging) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let redis = TcpStream::connect(&redis).await.unwrap();
                tokio::spawn(forward(client, redis, is_hanging.clone()));
            }
        });
        Self { url, hangs }
    }
}

async fn forward(client: TcpStream, redis: TcpStream, mut is_hanging: watch::Receiver<bool>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_redis, mut to_redis) = redis.into_split();
    let answers = tokio::spawn(async move { copy(&mut from_redis, &mut to_client).await });
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = from_client.read(&mut bytes).await {
        is_hanging.wait_for(|hangs| !hangs).await.unwrap();
        if to_redis.write_all(&bytes[..count]).await.is_err() {
            break;
        }
    }
    answers.abort();
}

#[tokio::test]
async fn a_redis_that_hangs_holds_up_no_sender_and_is_given_up() {
    let mut bench = Bench::new("");
    let url = bench.redis().await;
    let proxy = Proxy::start(&url).await;
    let mut alice = Server::connect(&proxy.url).await;
    let bob = Server::connect(&url).await;
    let mut inbox = bob.subscribe(CHANNEL).await;

    proxy.hangs.send(true).unwrap();
    for _ in 0..1000 {
        let publish = alice.driver.publish(CHANNEL.to_owned(), b"hi".into());
        publish.await.unwrap();
    }
    assert!(alice.has_no_notice(), "no publish waited for an answer");
    assert_eq!(alice.next_notice().await, Notice::RedisLost);
    assert!(!alice.publish(CHANNEL, "not accepted").await);

    proxy.hangs.send(false).unwrap();
    assert_eq!(alice.next_notice().await, Notice::Restored);
    let again = async {
        assert!(alice.publish(CHANNEL, "again").await);
        while inbox.next().await != "again" {}
    };
    timeout(LIMIT, again).await.unwrap();
}
