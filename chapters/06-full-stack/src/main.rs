//! Chapter 6: nginx, three servers, Redis, and an emitter outside. A message crosses it all.
//!
//! ```text
//! cargo run -p ch06-full-stack                        the whole stack, the experiments; stays up until Ctrl-C
//! cargo run -p ch06-full-stack -- --check             the same, then says what held, exits 0 or 1
//! cargo run -p ch06-full-stack --bin emit -- bob hi   reaches bob, from a process that is no server
//! PORT=8000 cargo run -p ch06-full-stack              one server; ADAPTER=off leaves Redis out
//! ```

mod scene;

use std::{env, process::ExitCode, time::Duration};

use anyhow::{Context, ensure};
use ch06_full_stack::{
    chat::serve,
    emit::Emit,
    experiment::{User, address_for, write, write_until_heard},
    pusher,
};
use clap::Parser;
use lab::{Chapter, Result, Stage, Transport};

use crate::scene::SCENE;

fn main() -> ExitCode {
    Chapter::new(
        "Chapter 6 · the full stack: nginx, three servers, Redis",
        serve,
    )
    .with_program("emit", async || Emit::parse().run().await)
    .with_program("pusher", pusher::run)
    .with_page(async |stage| observatory::open(stage, &SCENE).await)
    .run(lesson)
}

async fn lesson(stage: &mut Stage) -> Result<()> {
    ensure!(
        env::var_os("CHAT_SECRET").is_none(),
        "the lesson's users have no tokens: unset CHAT_SECRET, or start servers one by one, with PORT"
    );
    stage.note(
        "nginx with ip_hash, three servers, Redis between them, and a program outside\n\
         them all. Watch which messages arrive, and what becomes of them when Redis dies.\n\n",
    );
    let redis = stage.start_redis().await?;
    stage.start_servers(3, &[("ADAPTER", "off")]).await?;
    let url = stage.start_nginx("06-full-stack.conf").await?;
    without_the_adapter(stage, &url).await?;

    with_the_adapter(stage, &url, &redis).await?;
    a_user_with_two_devices(stage, &url).await?;
    everybody(stage, &url).await?;
    from_outside(stage, &url, &redis).await?;
    redis_dies(stage, &url).await?;

    let redis = stage.redis_for_commands();
    let [alice, bob] = [0, 1].map(|server| address_for(server, 3));
    let pid = stage.server_pid('B').unwrap_or_default();
    let port = stage.server_addresses()[1].port();
    let [a, b] = [stage.server_url('A')?, stage.server_url('B')?];
    stage.try_by_hand(format!(
        "Alice and Bob in a browser, on servers A and B; and anyone, through nginx\n\n  \
         {a}/pair?bob={b}\n  \
         {url}\n\n\
         Alice and Bob, in two terminals; write `bob: hi`\n\n  \
         cargo run -p ch05-redis-pubsub --bin user -- alice {url} --from {alice}\n  \
         cargo run -p ch05-redis-pubsub --bin user -- bob {url} --from {bob}\n\n\
         From outside; then with server B dead, and back again\n\n  \
         {redis}cargo run -p ch06-full-stack --bin emit -- bob hi\n  \
         kill -9 {pid}\n  \
         {redis}PORT={port} cargo run -p ch06-full-stack"
    ));
    Ok(())
}

async fn without_the_adapter(stage: &Stage, url: &str) -> Result<()> {
    stage.step("ADAPTER=off: Alice's address leads to server A, Bob's to B");
    let (alice, mut bob) = alice_and_bob(stage, url, Transport::Upgrade).await?;
    stage.claim_seen(
        "ip_hash has brought them to two servers",
        format!("alice is {}, bob {}", address_for(0, 3), address_for(1, 3)),
        stage.letter_of(alice.socket.owner) == Some('A')
            && stage.letter_of(bob.socket.owner) == Some('B'),
    );
    let (arrived, seen) = write(&alice, &mut bob, "hi").await?;
    stage.show(seen);
    stage.claim("her message is lost: A knows no Bob", !arrived);
    Ok(())
}

async fn with_the_adapter(stage: &mut Stage, url: &str, redis: &str) -> Result<()> {
    stage.step("ADAPTER=redis: the same two, over each transport");
    stage.restart_servers(&[("REDIS_URL", redis)]).await?;
    for transport in [Transport::Polling, Transport::WebSocket, Transport::Upgrade] {
        let (alice, mut bob) = alice_and_bob(stage, url, transport).await?;
        let (arrived, seen) = write(&alice, &mut bob, "hi").await?;
        stage.show(seen);
        stage.claim(format!("it arrives, with {transport}"), arrived);
    }
    Ok(())
}

async fn a_user_with_two_devices(stage: &Stage, url: &str) -> Result<()> {
    stage.step("A room for each user: Bob has two devices, on servers B and C");
    let alice = User::connect(url, "alice", 0, Transport::Upgrade).await?;
    let mut laptop = User::connect(url, "bob", 1, Transport::Upgrade).await?;
    let mut phone = User::connect(url, "bob", 2, Transport::Polling).await?;
    let mut carol = User::connect(url, "carol", 1, Transport::Upgrade).await?;
    alice.say("bob", "hi, both").await?;
    stage.claim(
        "both hear it",
        laptop.hears("alice", "hi, both").await && phone.hears("alice", "hi, both").await,
    );
    // What she hears next is for her: the other message did not come before it.
    alice.say("carol", "hi, carol").await?;
    stage.claim(
        "and Carol, on server B too, does not",
        carol.hears("alice", "hi, carol").await,
    );
    Ok(())
}

async fn everybody(stage: &Stage, url: &str) -> Result<()> {
    stage.step("To everybody: nine users on three servers, and Alice shouts twice");
    let alice = User::connect(url, "alice", 0, Transport::Upgrade).await?;
    let mut others = Vec::new();
    for number in 0..9 {
        others.push(
            User::connect(
                url,
                &format!("user {number}"),
                number % 3,
                Transport::Upgrade,
            )
            .await?,
        );
    }
    alice.shout("hello world").await?;
    alice.shout("goodbye").await?;
    let mut heard_once = 0;
    for user in &mut others {
        // Next comes the second message: the first did not come twice.
        let once = user.hears("alice", "hello world").await && user.hears("alice", "goodbye").await;
        heard_once += usize::from(once);
    }
    stage.claim_seen(
        "everybody hears both words, each once and in order",
        format!("{heard_once} of 9"),
        heard_once == 9,
    );
    Ok(())
}

async fn from_outside(stage: &Stage, url: &str, redis: &str) -> Result<()> {
    stage.step("From outside: emit, a program that is no Socket.IO server");
    let mut bob = User::connect(url, "bob", 1, Transport::Upgrade).await?;
    let emit = stage.start_program(
        "emit",
        &["bob", "hello from outside"],
        &[("REDIS_URL", redis)],
    )?;
    let arrived = bob.hears("emit", "hello from outside").await;
    emit.finish().await?;
    stage.claim("it reaches Bob, through Redis and his server", arrived);
    Ok(())
}

async fn redis_dies(stage: &mut Stage, url: &str) -> Result<()> {
    stage.step("Redis dies, and comes back");
    if !stage.owns_redis() {
        stage.note("Not tried: this Redis is not the stage's own, so it is left alone.");
        return Ok(());
    }
    let (alice, mut bob) = alice_and_bob(stage, url, Transport::Upgrade).await?;
    let mut ann = User::connect(url, "ann", 0, Transport::Upgrade).await?;

    stage.kill_redis().await;
    stage.await_line('A', "Redis is gone").await;
    let (near, seen) = write(&alice, &mut ann, "still there?").await?;
    stage.show(seen);
    let (far, seen) = write(&alice, &mut bob, "and you?").await?;
    stage.show(seen);
    stage.claim("on one server, messages still arrive", near);
    stage.claim("between servers they do not, and nobody keeps them", !far);

    stage.restart_redis().await?;
    let heard = write_until_heard(&alice, &mut bob, Duration::from_secs(5)).await?;
    stage.await_line('A', "Redis is back").await;
    let seen = heard.map_or("never".to_owned(), |(lost, after)| {
        format!("after {:.2} s, {lost} more lost", after.as_secs_f64())
    });
    stage.claim_seen(
        "between servers they arrive again, and nothing was restarted",
        seen,
        heard.is_some(),
    );
    Ok(())
}

async fn alice_and_bob(stage: &Stage, url: &str, transport: Transport) -> Result<(User, User)> {
    Ok((
        enter(stage, url, "alice", 0, transport).await?,
        enter(stage, url, "bob", 1, transport).await?,
    ))
}

/// Connects a user; if that fails, what was seen says why.
async fn enter(
    stage: &Stage,
    url: &str,
    name: &str,
    server: usize,
    transport: Transport,
) -> Result<User> {
    let client = User::client(url, name, server);
    let user = User::connect_with(&client, transport).await;
    if user.is_err() {
        stage.show(client.take_seen());
    }
    user.with_context(|| format!("{name} cannot connect"))
}
