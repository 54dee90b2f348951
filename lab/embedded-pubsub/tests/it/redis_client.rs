//! The `redis` crate, which the Socket.IO adapter uses.

use std::time::Duration;

use embedded_pubsub::Server;
use futures_util::StreamExt;
use redis::{
    AsyncCommands, Client, PushInfo, PushKind, Value,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::wire::server;

#[tokio::test]
async fn resp2_pubsub_works() {
    let server = server();
    let client = Client::open(format!("redis://{}/", server.addr())).unwrap();
    let mut pubsub = client.get_async_pubsub().await.unwrap();
    pubsub.subscribe("news").await.unwrap();
    pubsub.psubscribe("w*").await.unwrap();
    let mut publisher = client.get_multiplexed_async_connection().await.unwrap();
    assert_eq!(publisher.publish("news", "hello").await, Ok(1));
    assert_eq!(publisher.publish("weather", "sun").await, Ok(1));

    let mut messages = pubsub.on_message();
    let first = messages.next().await.unwrap();
    assert_eq!(
        (first.get_channel_name(), first.get_payload_bytes()),
        ("news", &b"hello"[..])
    );
    let second = messages.next().await.unwrap();
    assert_eq!(
        (second.get_channel_name(), second.get_payload_bytes()),
        ("weather", &b"sun"[..])
    );
    assert_eq!(second.get_pattern::<String>().unwrap(), "w*");
}

async fn next_of_kind(pushes: &mut UnboundedReceiver<PushInfo>, kind: PushKind) -> Vec<Value> {
    loop {
        let push = pushes.recv().await.unwrap();
        if push.kind == kind {
            return push.data;
        }
    }
}

fn message(channel: &str, payload: &str) -> Vec<Value> {
    [channel, payload]
        .map(|text| Value::BulkString(text.into()))
        .into()
}

#[tokio::test]
async fn resp3_pubsub_works_on_the_connection_that_publishes() {
    let server = server();
    let (sender, mut pushes) = unbounded_channel();
    let config = redis::AsyncConnectionConfig::new().set_push_sender(sender);
    let client = Client::open(server.url()).unwrap();
    let mut connection = client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .unwrap();
    connection.subscribe("news").await.unwrap();
    assert_eq!(connection.publish("news", "hello").await, Ok(1));
    let data = next_of_kind(&mut pushes, PushKind::Message).await;
    assert_eq!(data, message("news", "hello"));
    connection.unsubscribe("news").await.unwrap();
    assert_eq!(connection.publish("news", "hello").await, Ok(0));
}

#[tokio::test]
async fn a_connection_manager_finds_its_subscriptions_again_after_a_restart() {
    let server = server();
    let (addr, url) = (server.addr(), server.url());
    let (sender, mut pushes) = unbounded_channel();
    let config = ConnectionManagerConfig::new()
        .set_push_sender(sender)
        .set_automatic_resubscription()
        .set_min_delay(Duration::from_millis(10))
        .set_max_delay(Duration::from_millis(10))
        .set_number_of_retries(usize::MAX);
    let client = Client::open(url).unwrap();
    let mut manager = ConnectionManager::new_with_config(client.clone(), config)
        .await
        .unwrap();
    manager.subscribe("news").await.unwrap();
    next_of_kind(&mut pushes, PushKind::Subscribe).await;

    server.stop().await;
    next_of_kind(&mut pushes, PushKind::Disconnection).await;
    let _server = Server::start(addr).unwrap();
    next_of_kind(&mut pushes, PushKind::Subscribe).await;

    let mut publisher = client.get_multiplexed_async_connection().await.unwrap();
    assert_eq!(publisher.publish("news", "back again").await, Ok(1));
    let data = next_of_kind(&mut pushes, PushKind::Message).await;
    assert_eq!(data, message("news", "back again"));
}
