//! Chapter 5: two users, two servers, and Redis in between.
//!
//! ```text
//! cargo run -p ch05-redis-pubsub                      Redis, servers, the experiments; stays up until Ctrl-C
//! cargo run -p ch05-redis-pubsub -- --check           the same, then says what held, exits 0 or 1
//! cargo run -p ch05-redis-pubsub --bin subscriber     the article's subscriber.js
//! cargo run -p ch05-redis-pubsub --bin publisher      the article's publisher.js
//! cargo run -p ch05-redis-pubsub --bin user -- alice  a user at the keyboard
//! LINK=redis PORT=8000 cargo run -p ch05-redis-pubsub one server
//! ```

mod scene;

use std::process::ExitCode;

use ch05_redis_pubsub::{
    brokers::broker,
    chat::serve,
    experiment::{Outcome, alice_writes_to_bob},
    programs::{Publisher, Subscriber, names_one_redis},
};
use lab::{Chapter, Result, Stage};

use crate::scene::SCENE;

fn main() -> ExitCode {
    Chapter::new(
        "Chapter 5 · Redis PUB/SUB: how servers reach each other",
        serve,
    )
    .with_program("subscriber", || Subscriber {}.run())
    .with_program("publisher", || Publisher {}.run())
    .with_program("broker", broker::run)
    .with_page(async |stage| observatory::open(stage, &SCENE).await)
    .run(lesson)
}

async fn lesson(stage: &mut Stage) -> Result<()> {
    stage.note(
        "First Redis, with the article's two programs. Then Alice on one server writes\n\
         to Bob on another; no nginx here. Watch what arrives, and what it took.\n\n",
    );
    names_one_redis()?;
    let redis = stage.start_redis().await?;
    nobody_listens(stage, &redis).await?;
    somebody_listens(stage, &redis).await?;

    servers_that_know_their_own_users(stage).await?;
    a_channel_inside_the_process(stage).await?;
    servers_that_ask_each_other(stage).await?;
    redis_in_between(stage, &redis).await?;

    let redis = stage.redis_for_commands();
    let [a, b] = [stage.server_url('A')?, stage.server_url('B')?];
    stage.try_by_hand(format!(
        "Alice and Bob, in two terminals: write `bob: hi`, and look what it took\n\n  \
         cargo run -p ch05-redis-pubsub --bin user -- alice {a}\n  \
         cargo run -p ch05-redis-pubsub --bin user -- bob {b}\n\n\
         And the article's two programs:\n\n  \
         {redis}cargo run -p ch05-redis-pubsub --bin subscriber\n  \
         {redis}cargo run -p ch05-redis-pubsub --bin publisher"
    ));
    Ok(())
}

async fn nobody_listens(stage: &Stage, redis: &str) -> Result<()> {
    stage.step("publisher, before anybody subscribes");
    let mut publisher = stage.start_program("publisher", &[], &[("REDIS_URL", redis)])?;
    let first = publisher.next_line().await;
    publisher.finish().await?;
    stage.claim(
        "the message reaches nobody, and is gone: Redis keeps none",
        first.as_deref() == Some("(\"hi\" published, subscribers: 0)"),
    );
    Ok(())
}

async fn somebody_listens(stage: &Stage, redis: &str) -> Result<()> {
    stage.step("subscriber first, then publisher: the article's two programs");
    let mut subscriber = stage.start_program("subscriber", &[], &[("REDIS_URL", redis)])?;
    // It says that it has subscribed.
    subscriber.next_line().await;
    let publisher = stage.start_program("publisher", &[], &[("REDIS_URL", redis)])?;
    let heard = [subscriber.next_line().await, subscriber.next_line().await];
    publisher.finish().await?;
    stage.claim(
        "both messages arrive, in order, and the one from before does not",
        heard.map(Option::unwrap_or_default)
            == [
                "Message \"hi\" on channel \"my channel\" arrived!",
                "Message \"hello world\" on channel \"my channel\" arrived!",
            ],
    );
    Ok(())
}

async fn servers_that_know_their_own_users(stage: &mut Stage) -> Result<()> {
    stage.step("The second problem: Alice is on server A, Bob on server B");
    stage.start_servers(3, &[("LINK", "none")]).await?;
    let outcome = write(stage, 'A', 'B').await?;
    stage.claim("her message does not arrive", !outcome.arrived);
    let outcome = write(stage, 'A', 'A').await?;
    stage.claim("with both on server A, it does", outcome.arrived);
    Ok(())
}

async fn a_channel_inside_the_process(stage: &mut Stage) -> Result<()> {
    stage.step("A channel inside the process, as an EventEmitter is: LINK=in-process");
    stage.restart_servers(&[("LINK", "in-process")]).await?;
    let outcome = write(stage, 'A', 'B').await?;
    stage.claim_seen(
        "her own process heard it, and Bob's is another",
        format!("listeners: {}", outcome.effort.heard_by),
        !outcome.arrived && outcome.effort.heard_by == 1,
    );
    Ok(())
}

async fn servers_that_ask_each_other(stage: &mut Stage) -> Result<()> {
    stage.step("Servers ask each other: LINK=direct");
    let peers: Vec<_> = stage
        .server_addresses()
        .iter()
        .map(ToString::to_string)
        .collect();
    stage
        .restart_servers(&[("LINK", "direct"), ("PEERS", &peers.join(","))])
        .await?;
    let near = write(stage, 'A', 'B').await?;
    stage.await_line('B', "delivered").await;
    stage.claim(
        "it arrives: one request, to B",
        near.arrived && near.effort.requests == 1,
    );
    let far = write(stage, 'A', 'C').await?;
    stage.await_line('B', "not here").await;
    stage.await_line('C', "delivered").await;
    stage.claim(
        "with Bob on server C: two requests, to B in vain",
        far.arrived && far.effort.requests == 2,
    );
    stage.note(
        "Up to n - 1 requests a message for n servers, each must know all others,\n\
         and a new server is a change to every one.",
    );
    Ok(())
}

async fn redis_in_between(stage: &mut Stage, redis: &str) -> Result<()> {
    stage.step("The same through Redis: LINK=redis");
    stage
        .restart_servers(&[("LINK", "redis"), ("REDIS_URL", redis)])
        .await?;
    for bob in ['B', 'C'] {
        let outcome = write(stage, 'A', bob).await?;
        stage.claim_seen(
            format!("it arrives at {bob}: published once, and each server looks for its own Bob"),
            format!("heard by {}", outcome.effort.heard_by),
            outcome.arrived && outcome.effort.published == 1 && outcome.effort.heard_by == 3,
        );
    }
    stage.note("No server knows another. All know Redis: chapter 6 asks what if it dies.");
    Ok(())
}

async fn write(stage: &Stage, alice: char, bob: char) -> Result<Outcome> {
    let outcome = alice_writes_to_bob(&stage.server_url(alice)?, &stage.server_url(bob)?).await?;
    stage.show(outcome.seen.clone());
    Ok(outcome)
}
