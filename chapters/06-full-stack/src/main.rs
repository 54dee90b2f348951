//! Chapter 6: nginx, three servers, Redis, and an emitter outside. Messages cross all of it.
//!
//! ```text
//! cargo run -p ch06-full-stack                        the experiments; stays up until Ctrl-C
//! cargo run -p ch06-full-stack -- --check             the experiments, then exit code 0 (every claim held) or 1
//! cargo run -p ch06-full-stack -- two-devices         one experiment alone; `-- list` prints their names
//! cargo run -p ch06-full-stack --bin emit -- bob hi   writes to Bob from a process that is not a server
//! PORT=8000 cargo run -p ch06-full-stack              one server
//! ```

mod questions;
mod redis_dies;
mod setup;

use std::process::ExitCode;

use ch06_full_stack::{chat::serve, emit::Emit, experiment::address_for};
use clap::Parser;
use lab::{Lesson, Result, Stage, Transport};

use crate::{
    questions::SCENE,
    redis_dies::RESILIENT,
    setup::{alice_and_bob, connect, start_stack, start_with_redis, write_shown},
};

fn main() -> ExitCode {
    Lesson::new(
        "Chapter 6 · the full stack: nginx, three servers, Redis",
        serve,
    )
    .intro(
        "nginx with ip_hash, three servers, Redis between them, and a program outside.\n\
         Watch which messages arrive, and what happens when Redis dies.",
    )
    .with(
        "no-adapter",
        "Without the adapter: Alice on server A writes to Bob on server B",
        without_the_adapter,
    )
    .with(
        "adapter",
        "With the Redis adapter: the same message, over each transport",
        with_the_adapter,
    )
    .with(
        "two-devices",
        "A room for each user: Bob has two devices, on servers B and C",
        two_devices,
    )
    .with(
        "everybody",
        "To everybody: nine users on three servers, and Alice writes to all",
        everybody,
    )
    .with(
        "emit",
        "From outside: emit, a program that is not a Socket.IO server",
        from_outside,
    )
    .with(
        "stock-driver",
        "Redis dies and comes back: the adapter's own driver (DRIVER=stock)",
        redis_dies::with_the_stock_driver,
    )
    .with(
        "resilient-driver",
        "The same with another driver: one line changed (DRIVER=resilient)",
        redis_dies::with_the_resilient_driver,
    )
    .with_program("emit", async || Emit::parse().run().await)
    .by_hand(by_hand)
    .with_page(async |stage| observatory::open(stage, &SCENE).await)
    .run()
}

async fn without_the_adapter(stage: &mut Stage) -> Result<()> {
    start_stack(stage, &[("ADAPTER", "off")]).await?;
    let [alice, mut bob] = alice_and_bob(stage, Transport::Upgrade).await?;
    stage.claim_seen(
        "ip_hash has sent them to two servers",
        format!("Alice is {}, Bob {}", address_for(0, 3), address_for(1, 3)),
        stage.servers.letter_of(alice.socket.owner) == Some('A')
            && stage.servers.letter_of(bob.socket.owner) == Some('B'),
    );
    let arrived = write_shown(stage, &alice, &mut bob, "hi").await?;
    stage.claim_failure(
        "her message is lost",
        "on server A, the room bob is empty",
        !arrived,
    );
    Ok(())
}

async fn with_the_adapter(stage: &mut Stage) -> Result<()> {
    start_with_redis(stage, RESILIENT).await?;
    for transport in [Transport::Polling, Transport::WebSocket, Transport::Upgrade] {
        let [alice, mut bob] = alice_and_bob(stage, transport).await?;
        let arrived = write_shown(stage, &alice, &mut bob, "hi").await?;
        stage.claim(format!("it arrives, transport: {transport}"), arrived);
    }
    Ok(())
}

async fn two_devices(stage: &mut Stage) -> Result<()> {
    start_with_redis(stage, RESILIENT).await?;
    let alice = connect(stage, "alice", 0, Transport::Upgrade).await?;
    let mut laptop = connect(stage, "bob", 1, Transport::Upgrade).await?;
    let mut phone = connect(stage, "bob", 2, Transport::Polling).await?;
    let mut carol = connect(stage, "carol", 1, Transport::Upgrade).await?;
    let on_laptop = write_shown(stage, &alice, &mut laptop, "hi, both").await?;
    let on_phone = phone.hears("alice", "hi, both").await;
    stage.claim("both devices receive her message", on_laptop && on_phone);
    // If this is the first message that Carol receives, she did not receive the other one.
    let is_first = write_shown(stage, &alice, &mut carol, "hi, carol").await?;
    stage.claim("Carol, also on server B, does not receive it", is_first);
    Ok(())
}

async fn everybody(stage: &mut Stage) -> Result<()> {
    start_with_redis(stage, RESILIENT).await?;
    let alice = connect(stage, "alice", 0, Transport::Upgrade).await?;
    let mut others = Vec::new();
    for number in 0..9 {
        let name = format!("user {number}");
        others.push(connect(stage, &name, number % 3, Transport::Upgrade).await?);
    }
    alice.shout("hello world").await?;
    alice.shout("goodbye").await?;
    let mut received_both = 0;
    for user in &mut others {
        // If "goodbye" is next, "hello world" did not come twice.
        let both = user.hears("alice", "hello world").await && user.hears("alice", "goodbye").await;
        received_both += usize::from(both);
    }
    stage.claim_seen(
        "everybody receives both messages, each once and in order",
        format!("{received_both} of 9"),
        received_both == 9,
    );
    Ok(())
}

async fn from_outside(stage: &mut Stage) -> Result<()> {
    start_with_redis(stage, RESILIENT).await?;
    let redis = stage.redis.start().await?;
    let mut bob = connect(stage, "bob", 1, Transport::Upgrade).await?;
    let emit = stage.start_program(
        "emit",
        &["bob", "hello from outside"],
        &[("REDIS_URL", &redis)],
    )?;
    let arrived = bob.hears("emit", "hello from outside").await;
    emit.finish().await?;
    stage.claim("it reaches Bob, through Redis and his server", arrived);
    Ok(())
}

async fn by_hand(stage: &mut Stage) -> Result<String> {
    start_with_redis(stage, RESILIENT).await?;
    let url = stage.nginx.url()?;
    let redis = stage.redis.for_commands();
    let [alice, bob] = [0, 1].map(|server| address_for(server, 3));
    let pid = stage.servers.pid('B').unwrap_or_default();
    let port = stage.servers.addresses()[1].port();
    let [a, b] = [stage.servers.url('A')?, stage.servers.url('B')?];
    Ok(format!(
        "Alice on server A and Bob on server B, in a browser; or anyone, through nginx:\n\n  \
         {a}/pair?bob={b}\n  \
         {url}\n\n\
         Alice and Bob in two terminals. Write `bob: hi`:\n\n  \
         cargo run -p ch05-redis-pubsub --bin user -- alice {url} --from {alice}\n  \
         cargo run -p ch05-redis-pubsub --bin user -- bob {url} --from {bob}\n\n\
         A message from outside. Then kill server B, and start it again:\n\n  \
         {redis}cargo run -p ch06-full-stack --bin emit -- bob hi\n  \
         kill -9 {pid}\n  \
         {redis}PORT={port} cargo run -p ch06-full-stack"
    ))
}
