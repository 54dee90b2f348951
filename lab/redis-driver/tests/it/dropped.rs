//! A Redis that was not away, but has closed a connection.

use redis_driver::Notice;

use crate::{
    server::Server,
    unfit::{Redis, started},
};

#[tokio::test]
async fn a_connection_that_redis_closes_is_told_from_a_redis_that_was_away() {
    let Some((bench, address, redis)) = started(&[]) else {
        return;
    };
    let port = address.port().to_string();
    let url = format!("redis://{address}");
    let mut server = Server::connect(&url).await;
    let _inbox = server.subscribe("chat").await;

    let mut admin = redis::Client::open(url).unwrap().get_connection().unwrap();
    let mut kill = redis::cmd("CLIENT");
    kill.arg("KILL").arg("TYPE").arg("pubsub");
    kill.exec(&mut admin).unwrap();
    assert_eq!(server.next_notice().await, Notice::RedisLost);
    let dropped = Notice::Dropped { too_slow: false };
    assert_eq!(server.next_notice().await, dropped);
    assert_eq!(server.next_notice().await, Notice::Restored);

    drop(redis);
    let _redis = Redis::start(&bench, address, &["--port", &port]);
    assert_eq!(server.next_notice().await, Notice::RedisLost);
    assert_eq!(
        server.next_notice().await,
        Notice::Restored,
        "another process"
    );
}

/// Its messages are lost, and their sender is told that Redis has them.
#[tokio::test]
async fn a_server_that_reads_too_slowly_is_told_why_redis_has_dropped_it() {
    let limit = ["--client-output-buffer-limit", "pubsub", "64kb", "0", "0"];
    let Some((_bench, address, _redis)) = started(&limit) else {
        return;
    };
    let url = format!("redis://{address}");
    let mut server = Server::connect(&url).await;
    let _inbox = server.subscribe("chat").await;

    // This does not await, so the driver's tasks do not run meanwhile: the server does not read.
    let mut sender = redis::Client::open(url).unwrap().get_connection().unwrap();
    let message = "x".repeat(100_000);
    let mut publish = redis::cmd("PUBLISH");
    publish.arg("chat").arg(&message);
    let heard = |_| publish.query::<u32>(&mut sender).unwrap();
    let heard: Vec<_> = (0..400).map(heard).collect();
    assert_eq!((heard.first(), heard.last()), (Some(&1), Some(&0)));

    let mut ask = redis::cmd("INFO");
    let info: String = ask.arg("stats").query(&mut sender).unwrap();
    // Before version 7.2, Redis does not say so.
    let too_slow = info.contains("client_output_buffer_limit_disconnections:1");
    assert_eq!(server.next_notice().await, Notice::RedisLost);
    let dropped = Notice::Dropped { too_slow };
    loop {
        match server.next_notice().await {
            // The first messages wait for the adapter.
            Notice::Overflow { .. } => {}
            notice => break assert_eq!(notice, dropped),
        }
    }
    assert_eq!(server.next_notice().await, Notice::Restored);
}
