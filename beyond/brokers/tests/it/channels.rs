//! Brokers that share the users' channels, in comparison with Redis.

use brokers::experiment::{Chat, Delivery};
use harness::bench::Bench;

use crate::LESSON;

/// Twelve users. Eight of them are not on Alice's server.
const USERS: usize = 12;

#[tokio::test]
async fn through_redis_every_server_gets_every_message() {
    let mut bench = Bench::new(LESSON);
    let redis = bench.redis().await;
    let mut chat = Chat::with_redis(&mut bench.stage, &redis, USERS)
        .await
        .unwrap();
    let delivery = Delivery {
        arrived: 12,
        published: 8,
        handed_over: 24,
    };
    assert_eq!(chat.write_to_all().await.unwrap(), delivery);
}

#[tokio::test]
async fn a_broker_gives_a_message_to_the_server_that_has_the_user() {
    let mut bench = Bench::new(LESSON);
    let mut chat = Chat::with_brokers(&mut bench.stage, 2, USERS)
        .await
        .unwrap();
    let delivery = Delivery {
        arrived: 12,
        published: 8,
        handed_over: 8,
    };
    assert_eq!(chat.write_to_all().await.unwrap(), delivery);
}

#[tokio::test]
async fn when_the_only_broker_dies_servers_do_not_reach_each_other_until_it_is_back() {
    let mut bench = Bench::new(LESSON);
    let mut chat = Chat::with_brokers(&mut bench.stage, 1, USERS)
        .await
        .unwrap();
    assert!(chat.write_to_the_last().await.unwrap());
    chat.kill(&bench.stage, 0).await.unwrap();
    assert!(!chat.write_to_the_last().await.unwrap());
    chat.restart(&bench.stage, 0).await.unwrap();
    assert!(chat.write_to_the_last().await.unwrap());
}

#[tokio::test]
async fn the_channels_of_a_dead_broker_move_to_the_other_and_return_with_it() {
    let mut bench = Bench::new(LESSON);
    let mut chat = Chat::with_brokers(&mut bench.stage, 2, USERS)
        .await
        .unwrap();
    for broker in [0, 1] {
        let moved = chat.kill(&bench.stage, broker).await.unwrap();
        assert!(moved > 0, "broker {broker} had no channels");
        assert_eq!(chat.write_to_all().await.unwrap().arrived, USERS);
        chat.restart(&bench.stage, broker).await.unwrap();
        assert_eq!(chat.write_to_all().await.unwrap().arrived, USERS);
    }
}
