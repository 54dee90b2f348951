//! Brokers, as SocketCluster has them, in comparison with Redis.
//!
//! ```text
//! cargo run -p brokers                     all experiments; stays up until Ctrl-C
//! cargo run -p brokers -- --check          the experiments; exits 0 if every claim held, else 1
//! cargo run -p brokers -- broker-dies      one experiment (`-- list` prints the names)
//! ```

use std::{future::pending, process::ExitCode};

use brokers::{
    broker,
    experiment::{Chat, Delivery},
    serve,
};
use ch05_redis_pubsub::programs::names_one_redis;
use lab::{Lesson, Result, Stage};

/// Four users on each of three servers.
const USERS: usize = 12;

/// The users who are not on Alice's server.
const ELSEWHERE: usize = 8;

fn main() -> ExitCode {
    Lesson::new("Brokers: which server gets which message?", serve)
        .intro(
            "Servers hold sockets, and brokers hold channels, one channel for each user. A\n\
             server subscribes to the channels of its own users. Alice, on server A, writes\n\
             to twelve users: four on each server. Watch how often a server gets a message.",
        )
        .with("redis", "Redis, with one channel for all messages", redis)
        .with(
            "brokers",
            "Two brokers, with a channel for each user",
            two_brokers,
        )
        .with("broker-dies", "One of two brokers dies", a_broker_dies)
        .with("one-broker", "The only broker dies", the_only_broker_dies)
        .with_program("broker", broker::run)
        .by_hand(by_hand)
        .run()
}

async fn redis(stage: &mut Stage) -> Result<()> {
    names_one_redis()?;
    let redis = stage.redis.start().await?;
    let mut chat = Chat::with_redis(stage, &redis, USERS).await?;
    let delivery = chat.write_to_all().await?;
    stage.claim_seen(
        "all three servers get every message",
        counts(&delivery),
        delivery.arrived == USERS
            && delivery.published == ELSEWHERE
            && delivery.handed_over == 3 * ELSEWHERE,
    );
    Ok(())
}

async fn two_brokers(stage: &mut Stage) -> Result<()> {
    let mut chat = Chat::with_brokers(stage, 2, USERS).await?;
    let delivery = chat.write_to_all().await?;
    stage.claim_seen(
        "only the receiver's server gets a message",
        counts(&delivery),
        delivery.arrived == USERS
            && delivery.published == ELSEWHERE
            && delivery.handed_over == ELSEWHERE,
    );
    Ok(())
}

async fn a_broker_dies(stage: &mut Stage) -> Result<()> {
    let mut chat = Chat::with_brokers(stage, 2, USERS).await?;
    let moved = chat.kill(stage, 0).await?;
    stage.claim_seen(
        "its channels move to the other broker, and every message arrives",
        format!("{moved} of 13"),
        moved > 0 && chat.write_to_all().await?.arrived == USERS,
    );
    stage.note("The broker starts again, on the same port.");
    chat.restart(stage, 0).await?;
    stage.claim(
        "it gets its channels back, and every message arrives",
        chat.write_to_all().await?.arrived == USERS,
    );
    Ok(())
}

async fn the_only_broker_dies(stage: &mut Stage) -> Result<()> {
    let mut chat = Chat::with_brokers(stage, 1, USERS).await?;
    stage.claim(
        "a message reaches another server",
        chat.write_to_the_last().await?,
    );
    chat.kill(stage, 0).await?;
    stage.claim_failure(
        "without a broker, no message reaches another server",
        "",
        !chat.write_to_the_last().await?,
    );
    Ok(())
}

async fn by_hand(stage: &mut Stage) -> Result<String> {
    let chat = Chat::with_brokers(stage, 2, 0).await?;
    let pids = chat.broker_pids();
    let [a, b] = [stage.servers.url('A')?, stage.servers.url('B')?];
    // The brokers run as long as the stage.
    tokio::spawn(async move {
        let _chat = chat;
        pending::<()>().await;
    });
    Ok(format!(
        "Be Alice and Bob, in two terminals. Write `bob: hi`, and look at `heard_by`:\n\n  \
         cargo run -p ch05-redis-pubsub --bin user -- alice {a}\n  \
         cargo run -p ch05-redis-pubsub --bin user -- bob {b}\n\n\
         Kill one broker, and write again; then kill the other one:\n\n  \
         kill -9 {}\n  \
         kill -9 {}",
        pids[0], pids[1]
    ))
}

fn counts(delivery: &Delivery) -> String {
    format!(
        "{} messages, handed over {} times",
        delivery.published, delivery.handed_over
    )
}
