//! Chapter 5: two users, two servers, and Redis between them.
//!
//! ```text
//! cargo run -p ch05-redis-pubsub                      Redis, servers, the experiments; stays up until Ctrl-C
//! cargo run -p ch05-redis-pubsub -- --check           the experiments; exits 0 if every claim held, else 1
//! cargo run -p ch05-redis-pubsub -- direct            one experiment (`-- list` prints the names)
//! LINK=redis PORT=8000 cargo run -p ch05-redis-pubsub one server
//! ```

mod questions;

use std::process::ExitCode;

use ch05_redis_pubsub::{
    chat::serve,
    experiment::{Outcome, TEXT, alice_writes_to_bob},
    programs::{Publisher, Subscriber, names_one_redis},
};
use lab::{Event, Lesson, Result, Stage};

use crate::questions::SCENE;

fn main() -> ExitCode {
    Lesson::new(
        "Chapter 5 · Redis PUB/SUB: how servers reach each other",
        serve,
    )
    .intro(
        "First the article's two programs, with Redis between them. Then Alice on one\n\
         server writes to Bob on another. Watch whether her message arrives, and how.",
    )
    .with(
        "too-early",
        "The publisher runs before anyone subscribes",
        too_early,
    )
    .with(
        "article",
        "The subscriber first, then the publisher: the article's two programs",
        article,
    )
    .with(
        "no-link",
        "The second problem: Alice is on server A, Bob on server B (LINK=none)",
        no_link,
    )
    .with(
        "in-process",
        "A channel inside the process, like an EventEmitter (LINK=in-process)",
        in_process,
    )
    .with("direct", "Servers ask each other (LINK=direct)", direct)
    .with("redis", "Redis between the servers (LINK=redis)", redis)
    .with_program("subscriber", || Subscriber {}.run())
    .with_program("publisher", || Publisher {}.run())
    .by_hand(by_hand)
    .with_page(async |stage| observatory::open(stage, &SCENE).await)
    .run()
}

async fn too_early(stage: &mut Stage) -> Result<()> {
    let redis = start_redis(stage).await?;
    let mut publisher = stage.start_program("publisher", &[], &[("REDIS_URL", &redis)])?;
    let first = publisher.next_line().await;
    publisher.finish().await?;
    stage.claim_failure(
        "nobody gets the message, and Redis does not keep it",
        "subscribers: 0",
        first.as_deref() == Some("(\"hi\" published, subscribers: 0)"),
    );
    Ok(())
}

async fn article(stage: &mut Stage) -> Result<()> {
    let redis = start_redis(stage).await?;
    let mut publishers = vec![(
        redis.clone(),
        "both messages arrive, in order, and none from before the subscription",
    )];
    // Another Redis may have only one database.
    if stage.redis.is_own() {
        let claim = "from database 1 both arrive too: databases do not separate channels";
        publishers.push((format!("{redis}/1"), claim));
    }
    let mut subscriber = stage.start_program("subscriber", &[], &[("REDIS_URL", &redis)])?;
    // Its first line says that it has subscribed.
    subscriber.next_line().await;
    for (redis, claim) in publishers {
        let publisher = stage.start_program("publisher", &[], &[("REDIS_URL", &redis)])?;
        let heard = [subscriber.next_line().await, subscriber.next_line().await];
        publisher.finish().await?;
        let [hi, hello] = heard.map(Option::unwrap_or_default);
        stage.claim(
            claim,
            hi.contains("\"hi\"") && hello.contains("\"hello world\""),
        );
    }
    Ok(())
}

async fn no_link(stage: &mut Stage) -> Result<()> {
    stage.servers.replace(3, &[("LINK", "none")]).await?;
    let outcome = write(stage, 'A', 'B').await?;
    stage.claim_failure(
        "her message does not arrive",
        "server A looks among its own users only",
        !outcome.arrived,
    );
    let outcome = write(stage, 'A', 'A').await?;
    stage.claim("with both on server A, it arrives", outcome.arrived);
    Ok(())
}

async fn in_process(stage: &mut Stage) -> Result<()> {
    stage.servers.replace(3, &[("LINK", "in-process")]).await?;
    let outcome = write(stage, 'A', 'B').await?;
    stage.claim_failure(
        "only Alice's own server hears the message",
        format!("listeners: {}", outcome.effort.heard_by),
        !outcome.arrived && outcome.effort.heard_by == 1,
    );
    Ok(())
}

async fn direct(stage: &mut Stage) -> Result<()> {
    stage.servers.stop().await;
    let mut peers = Vec::new();
    for port in [8000, 8001, 8002] {
        peers.push(stage.address(port)?.to_string());
    }
    let link = [("LINK", "direct"), ("PEERS", &peers.join(","))];
    stage.servers.replace(3, &link).await?;
    let near = write(stage, 'A', 'B').await?;
    stage.servers.await_line('B', "delivered").await;
    stage.claim(
        "it arrives: one request, to B",
        near.arrived && near.effort.requests == 1,
    );
    let far = write(stage, 'A', 'C').await?;
    stage.servers.await_line('B', "not here").await;
    stage.servers.await_line('C', "delivered").await;
    stage.claim(
        "with Bob on server C, two requests are needed: B does not have him",
        far.arrived && far.effort.requests == 2,
    );
    stage.note(
        "With n servers, a message needs up to n - 1 requests. Every server must know all\n\
         others, so a new server changes the settings of each.",
    );
    Ok(())
}

async fn redis(stage: &mut Stage) -> Result<()> {
    start_servers_with_redis(stage).await?;
    for bob in ['B', 'C'] {
        let outcome = write(stage, 'A', bob).await?;
        stage.claim_seen(
            format!("it arrives at {bob}: published once, every server looks for Bob"),
            format!("heard by {}", outcome.effort.heard_by),
            outcome.arrived && outcome.effort.published == 1 && outcome.effort.heard_by == 3,
        );
    }
    stage.note("The servers do not know each other. They all need Redis: chapter 6 kills it.");
    Ok(())
}

async fn by_hand(stage: &mut Stage) -> Result<String> {
    start_servers_with_redis(stage).await?;
    let redis = stage.redis.for_commands();
    let (a, b) = (stage.servers.url('A')?, stage.servers.url('B')?);
    Ok(format!(
        "Be Alice and Bob, in two terminals. Write `bob: hi`, and look at the server's answer:\n\n  \
         cargo run -p ch05-redis-pubsub --bin user -- alice {a}\n  \
         cargo run -p ch05-redis-pubsub --bin user -- bob {b}\n\n\
         The article's two programs:\n\n  \
         {redis}cargo run -p ch05-redis-pubsub --bin subscriber\n  \
         {redis}cargo run -p ch05-redis-pubsub --bin publisher"
    ))
}

async fn start_redis(stage: &mut Stage) -> Result<String> {
    names_one_redis()?;
    stage.redis.start().await
}

async fn start_servers_with_redis(stage: &mut Stage) -> Result<()> {
    let redis = start_redis(stage).await?;
    let link = [("LINK", "redis"), ("REDIS_URL", redis.as_str())];
    stage.servers.replace(3, &link).await
}

/// Alice on one server writes to Bob on another.
async fn write(stage: &Stage, alice: char, bob: char) -> Result<Outcome> {
    let outcome = alice_writes_to_bob(&stage.servers.url(alice)?, &stage.servers.url(bob)?).await?;
    stage.record(Event::Message {
        from: "alice".to_owned(),
        to: "bob".to_owned(),
        text: TEXT.to_owned(),
        arrived: outcome.arrived,
    });
    Ok(outcome)
}
