//! Chapter 6, aside: past one Redis. Three masters share the slots, and one of them dies.
//!
//! ```text
//! cargo run -p ch06-full-stack --bin cluster                on a stage of its own; stays up until Ctrl-C
//! cargo run -p ch06-full-stack --bin cluster -- --check     the same, then says what held, exits 0 or 1
//! ```

use std::process::ExitCode;

use ch06_full_stack::{
    chat,
    cluster::{
        CHANNEL, MESSAGES, cross, over_the_bus,
        rooms::{Channels, ROOMS, SENT, fan_out, silence_a_shard},
    },
    drill::shard_killed,
    emit::Emit,
    experiment::User,
};
use clap::Parser;
use lab::{Chapter, Client, Result, Stage, Transport};

fn main() -> ExitCode {
    Chapter::new("Chapter 6 · Redis Cluster: past one Redis", chat::serve)
        .with_program("emit", async || Emit::parse().run().await)
        .run(lesson)
}

async fn lesson(stage: &mut Stage) -> Result<()> {
    stage.note(
        "Three masters share 16,384 slots, and each has a replica. A channel has a slot, and so\n\
         one master that carries its messages. What is gained, and what happens when it dies?\n\n",
    );
    let redis = stage.start_cluster().await?;
    stage.start_servers(3, &[("REDIS_URL", &redis)]).await?;
    a_message_crosses(stage).await?;
    from_outside(stage, &redis).await?;
    the_bus(stage).await?;
    rooms(stage, &redis).await?;
    a_shard_is_gone(stage, &redis).await?;
    a_master_dies(stage, &redis).await?;

    let home = stage.cluster()?.home_of(CHANNEL).await?;
    let pid = stage.cluster()?.pid(home.address).unwrap_or_default();
    let port = home.address.port();
    let another = stage
        .cluster()?
        .nodes()
        .find(|(_, node)| *node != home.address);
    let another = another.map_or(port, |(_, node)| node.port());
    let [a, b] = [stage.server_url('A')?, stage.server_url('B')?];
    stage.try_by_hand(format!(
        "Alice and Bob in a browser, on servers A and B; and a message to Bob from outside\n\n  \
         {a}/pair?bob={b}\n  \
         REDIS_URL=redis://127.0.0.1:{another} cargo run -p ch06-full-stack --bin emit -- bob hi\n\n\
         Who has which slots, and who listens on the adapter's channel at its master, {name}\n\n  \
         redis-cli -p {port} cluster nodes\n  \
         redis-cli -p {port} pubsub shardnumsub '{CHANNEL}'\n\n\
         Kill that master, write on, and look who has its slots\n\n  \
         kill -9 {pid}\n  \
         redis-cli -p {another} cluster nodes",
        name = home.name,
    ));
    Ok(())
}

async fn a_message_crosses(stage: &mut Stage) -> Result<()> {
    stage.step("Alice on server A writes to Bob on B: who carries it?");
    let [alice, bob] = [("alice", 'A'), ("bob", 'B')].map(|(name, letter)| {
        let url = stage.server_url(letter);
        url.map(|url| Client::new(name, &url))
    });
    let alice = User::connect_with(&alice?, Transport::WebSocket).await?;
    let mut bob = User::connect_with(&bob?, Transport::WebSocket).await?;
    let crossed = cross(stage.cluster()?, &alice, &mut bob).await?;
    let home = crossed.home;
    stage.note(format!(
        "The adapter's channel {CHANNEL} has slot {}, and {} has that slot.",
        home.slot, home.name
    ));
    stage.claim("it arrives", crossed.arrived);
    let by_others = crossed
        .published
        .iter()
        .filter(|(name, _)| *name != home.name);
    let by_others: u64 = by_others.map(|(_, count)| count).sum();
    let by_home = crossed
        .published
        .iter()
        .find(|(name, _)| *name == home.name);
    stage.claim_seen(
        "this master publishes it, and no other node does",
        format!(
            "{} SPUBLISH there, {by_others} elsewhere",
            by_home.map_or(0, |(_, count)| *count)
        ),
        by_home.is_some_and(|(_, count)| *count == 1) && by_others == 0,
    );
    Ok(())
}

async fn from_outside(stage: &mut Stage, redis: &str) -> Result<()> {
    stage.step("From outside: emit, which is told of the cluster as the servers are");
    let client = Client::new("bob", &stage.server_url('B')?);
    let mut bob = User::connect_with(&client, Transport::WebSocket).await?;
    let arguments = ["bob", "hello from outside"];
    let emit = stage.start_program("emit", &arguments, &[("REDIS_URL", redis)])?;
    let arrived = bob.hears("emit", "hello from outside").await;
    emit.finish().await?;
    stage.claim("it reaches Bob", arrived);
    Ok(())
}

async fn the_bus(stage: &mut Stage) -> Result<()> {
    stage.step(&format!(
        "{MESSAGES} messages: over which of the nodes do they go?"
    ));
    for (command, receivers, claim) in [
        (
            "PUBLISH",
            5,
            "PUBLISH goes from the master to every other node, to each replica too",
        ),
        (
            "SPUBLISH",
            1,
            "SPUBLISH goes to its own replica, and to no other node",
        ),
    ] {
        let bus = over_the_bus(stage.cluster()?, command).await?;
        let counts: Vec<_> = bus.received.iter().map(u64::to_string).collect();
        stage.claim_seen(
            claim,
            format!("received by redis 1 to 6: {}", counts.join(", ")),
            bus.sent == receivers * MESSAGES
                && bus
                    .received
                    .iter()
                    .filter(|count| **count == MESSAGES)
                    .count() as u64
                    == receivers,
        );
    }
    Ok(())
}

async fn rooms(stage: &mut Stage, redis: &str) -> Result<()> {
    stage.step(&format!(
        "Fan-out: {SENT} messages to {ROOMS} rooms, each with members on two servers"
    ));
    for (servers, channels, claim) in [
        (
            3,
            Channels::One,
            "one channel, 3 servers: each hears everything, one master carries it",
        ),
        (
            12,
            Channels::One,
            "one channel, 12 servers: the same, and four times as much of it",
        ),
        (
            3,
            Channels::EachRoom,
            "a channel a room, 3 servers: they hear their own rooms, all masters carry",
        ),
        (
            12,
            Channels::EachRoom,
            "a channel a room, 12 servers: not one message more",
        ),
    ] {
        let fanned = fan_out(stage.cluster()?, redis, servers, channels).await?;
        let carried: Vec<_> = fanned.carried.iter().map(u64::to_string).collect();
        let (handed, masters) = match channels {
            Channels::One => (servers * SENT, 1),
            Channels::EachRoom => (2 * SENT, 3),
        };
        stage.claim_seen(
            claim,
            format!(
                "handed over {} times; carried: {}",
                fanned.total(),
                carried.join(", ")
            ),
            fanned.total() == handed && fanned.carried.len() == masters,
        );
    }
    stage.note(
        "The Socket.IO adapter for Rust has the one channel: more masters do not help it, and more\n\
         servers hear as much each. Node's has a channel a room, with `subscriptionMode: \"dynamic\"`.",
    );
    Ok(())
}

async fn a_shard_is_gone(stage: &mut Stage, redis: &str) -> Result<()> {
    stage.step("A channel a room, and a shard dies, its replica first: nobody takes its place");
    let silence = silence_a_shard(stage.cluster()?, redis).await?;
    stage.claim_seen(
        "the rooms of the other shards are heard",
        format!("{} of {}", silence.heard, silence.elsewhere),
        silence.heard == silence.elsewhere && silence.heard > 0,
    );
    stage.claim_seen(
        "of its own rooms the sender is told that nothing crosses",
        format!("{} of {}", silence.told, silence.gone),
        silence.told == silence.gone && silence.told > 0,
    );
    Ok(())
}

async fn a_master_dies(stage: &mut Stage, redis: &str) -> Result<()> {
    stage.step("The master of the adapter's channel dies, while users of all servers write");
    let rows = shard_killed::both_drivers(stage, redis).await?;
    let replicas = stage.cluster()?.replicas().await?;
    stage.claim_seen(
        "those that were killed are back, and each master has a replica again",
        replicas.join(", "),
        replicas.len() == 3,
    );
    stage.show_rows(rows)
}
