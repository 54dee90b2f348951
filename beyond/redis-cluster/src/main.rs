//! Beyond one Redis: three masters share the slots, and one of them dies.
//!
//! ```text
//! cargo run -p redis-cluster                   all experiments; stays up until Ctrl-C
//! cargo run -p redis-cluster -- --check        the same, then says what held; exits 0 or 1
//! cargo run -p redis-cluster -- master-dies    one experiment
//! PORT=8000 cargo run -p redis-cluster         one server
//! ```

use std::{process::ExitCode, rc::Rc};

use ch06_full_stack::{emit::Emit, experiment::User};
use clap::Parser;
use drills::Row;
use lab::{Client, Event, Lesson, Result, Stage, Transport};
use redis_cluster::{
    Cluster,
    bus::{MESSAGES, cross, over_the_bus},
    channel,
    fan_out::{Channels, SENT, fan_out, take_a_shard_down},
    shard_killed::{is_told_of_nearly_all, with_the_resilient_driver, with_the_stock_driver},
};
use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};

fn main() -> ExitCode {
    let cluster = SharedCluster::default();
    // The cluster ends after the servers: otherwise they would report that it is gone.
    let _kept = cluster.clone();
    Lesson::new("Beyond one Redis: a Redis Cluster", delivery::serve)
        .intro(
            "Three masters share 16,384 slots, and each has a replica. A channel has a\n\
             slot, so one master carries all its messages. What do more masters change,\n\
             and what happens when a master dies?\n\n",
        )
        .with(
            "message",
            "Alice on server A writes to Bob on B: which node carries the message?",
            cluster.with(alice_writes_to_bob),
        )
        .with(
            "outside",
            "A program outside the servers writes to Bob",
            cluster.with(from_outside),
        )
        .with(
            "bus",
            "1,000 messages: which nodes receive them?",
            cluster.with(the_bus),
        )
        .with(
            "fan-out",
            "300 messages to 30 rooms, each with members on two servers",
            cluster.with(rooms),
        )
        .with(
            "shard-down",
            "A channel for each room: a shard dies, its replica first",
            cluster.with(a_shard_is_down),
        )
        .with(
            "master-dies",
            "The master of the adapter's channel dies, while all users write",
            cluster.with(a_master_dies),
        )
        .with_program("emit", async || Emit::parse().run().await)
        // Chapter 6's own server: a test checks that it runs on a cluster too.
        .with_program("chapter-6", ch06_full_stack::chat::serve)
        .by_hand(async move |stage| {
            let running = cluster.running(stage).await?;
            by_hand(stage, &running).await
        })
        .run()
}

/// The cluster that all experiments use. The first one starts it.
#[derive(Clone, Default)]
struct SharedCluster(Rc<Mutex<Option<Cluster>>>);

impl SharedCluster {
    /// An experiment on the cluster.
    fn with(
        &self,
        experiment: impl AsyncFn(&mut Stage, &mut Cluster) -> Result<()> + 'static,
    ) -> impl AsyncFn(&mut Stage) -> Result<()> + 'static {
        let shared = self.clone();
        async move |stage: &mut Stage| {
            let mut cluster = shared.running(stage).await?;
            experiment(stage, &mut cluster).await
        }
    }

    async fn running(&self, stage: &Stage) -> Result<MappedMutexGuard<'_, Cluster>> {
        let mut shared = self.0.lock().await;
        let cluster = match shared.take() {
            Some(cluster) => cluster,
            None => Cluster::start(stage).await?,
        };
        Ok(MutexGuard::map(shared, |shared| shared.insert(cluster)))
    }
}

async fn start_servers(stage: &mut Stage, cluster: &Cluster) -> Result<()> {
    let redis = cluster.url();
    stage.servers.start(3, &[("REDIS_URL", &redis)]).await
}

async fn user(stage: &Stage, name: &str, letter: char) -> Result<User> {
    let client = Client::new(name, &stage.servers.url(letter)?);
    Ok(User::connect_with(&client, Transport::WebSocket).await?)
}

async fn alice_writes_to_bob(stage: &mut Stage, cluster: &mut Cluster) -> Result<()> {
    start_servers(stage, cluster).await?;
    let alice = user(stage, "alice", 'A').await?;
    let mut bob = user(stage, "bob", 'B').await?;
    let crossed = cross(cluster, &alice, &mut bob).await?;
    stage.record(Event::Message {
        from: "alice".to_owned(),
        to: "bob".to_owned(),
        text: "hi".to_owned(),
        arrived: crossed.arrived,
    });
    let home = crossed.home;
    stage.note(format!(
        "The adapter's channel {} has slot {}.\n{} has that slot.",
        channel(),
        home.slot,
        home.name
    ));
    stage.claim("the message arrives", crossed.arrived);
    let (at_home, elsewhere): (Vec<_>, Vec<_>) = crossed
        .published
        .iter()
        .partition(|(name, _)| *name == home.name);
    let [at_home, elsewhere] =
        [at_home, elsewhere].map(|nodes| nodes.iter().map(|(_, count)| count).sum::<u64>());
    stage.claim_seen(
        "the master of that slot publishes it, and no other node does",
        format!("SPUBLISH: {at_home} there, {elsewhere} elsewhere"),
        (at_home, elsewhere) == (1, 0),
    );
    Ok(())
}

async fn from_outside(stage: &mut Stage, cluster: &mut Cluster) -> Result<()> {
    start_servers(stage, cluster).await?;
    let mut bob = user(stage, "bob", 'B').await?;
    let text = "hello from outside";
    let redis = cluster.url();
    let emit = stage.start_program("emit", &["bob", text], &[("REDIS_URL", &redis)])?;
    let arrived = bob.hears("emit", text).await;
    emit.finish().await?;
    stage.claim(
        "with the same REDIS_URL as the servers, it reaches Bob",
        arrived,
    );
    Ok(())
}

async fn the_bus(stage: &mut Stage, cluster: &mut Cluster) -> Result<()> {
    for (command, receivers, claim) in [
        (
            "PUBLISH",
            5,
            "PUBLISH: the master sends each message to all five other nodes",
        ),
        (
            "SPUBLISH",
            1,
            "SPUBLISH: the master sends each message only to its own replica",
        ),
    ] {
        let bus = over_the_bus(cluster, command).await?;
        let counts: Vec<_> = bus.received.iter().map(u64::to_string).collect();
        stage.claim_seen(
            claim,
            format!("received by redis 1 to 6: {}", counts.join(", ")),
            bus.receivers() == receivers && bus.sent == receivers as u64 * MESSAGES,
        );
    }
    Ok(())
}

async fn rooms(stage: &mut Stage, cluster: &mut Cluster) -> Result<()> {
    for (servers, channels, claim) in [
        (
            3,
            Channels::One,
            "one channel, 3 servers: each server gets all, one master publishes all",
        ),
        (
            12,
            Channels::One,
            "one channel, 12 servers: four times as many messages in all",
        ),
        (
            3,
            Channels::EachRoom,
            "a channel for each room, 3 servers: all masters share the work",
        ),
        (
            12,
            Channels::EachRoom,
            "a channel for each room, 12 servers: not one message more",
        ),
    ] {
        let seen = fan_out(cluster, servers, channels).await?;
        let by_master: Vec<_> = seen.by_master.iter().map(u64::to_string).collect();
        let (total, masters) = match channels {
            Channels::One => (servers * SENT, 1),
            Channels::EachRoom => (2 * SENT, 3),
        };
        stage.claim_seen(
            claim,
            format!(
                "the servers got {}; published by master: {}",
                seen.total(),
                by_master.join(", ")
            ),
            seen.total() == total && seen.by_master.len() == masters,
        );
    }
    stage.note(
        "The Rust adapter uses one channel. So more masters do not help it, and each\n\
         new server gets all messages. Node's adapter has a channel for each room,\n\
         with the option `subscriptionMode: \"dynamic\"`.",
    );
    Ok(())
}

async fn a_shard_is_down(stage: &mut Stage, cluster: &mut Cluster) -> Result<()> {
    let seen = take_a_shard_down(cluster).await?;
    stage.claim_seen(
        "the rooms of the other shards get their messages",
        format!("{} of {}", seen.received, seen.other_rooms),
        seen.received == seen.other_rooms && seen.received > 0,
    );
    stage.claim_failure(
        "the rooms of that shard get no messages",
        format!("{} rooms", seen.its_rooms),
        seen.its_rooms > 0 && seen.sender_told == seen.its_rooms,
    );
    stage.claim_seen(
        "and the sender is told of each of these",
        format!("{} of {}", seen.sender_told, seen.its_rooms),
        seen.sender_told == seen.its_rooms && seen.sender_told > 0,
    );
    Ok(())
}

async fn a_master_dies(stage: &mut Stage, cluster: &mut Cluster) -> Result<()> {
    let [within, between] = with_the_stock_driver(stage, cluster).await?;
    stage.claim_seen(
        "stock driver: within a server nothing is lost, and no message waits",
        losses(&within),
        within.holds(),
    );
    stage.claim_failure(
        "stock driver: messages between servers are lost",
        losses(&between),
        between.holds(),
    );
    let [within, between] = with_the_resilient_driver(stage, cluster).await?;
    stage.claim_seen(
        "ResilientDriver: within a server nothing is lost, and no message waits",
        losses(&within),
        within.holds(),
    );
    stage.claim_seen(
        "ResilientDriver: all servers reach each other again",
        recovery(&between),
        between.holds(),
    );
    stage.claim_seen(
        "ResilientDriver: until then, the sender is told of nearly all lost messages",
        losses(&between),
        is_told_of_nearly_all(&between),
    );
    let replicas = cluster.replicas().await?;
    stage.claim_seen(
        "the killed nodes are back, and each master has a replica again",
        replicas.join(", "),
        replicas.len() == 3,
    );
    Ok(())
}

fn losses(row: &Row) -> String {
    let mut text = format!("{} of {} messages lost", row.lost, row.sent);
    for (count, what) in [
        (row.lost_told_ok, "confirmed to the sender"),
        (row.duplicates, "duplicates"),
    ] {
        if let Some(count) = count.filter(|count| *count > 0) {
            text = format!("{text}, {count} {what}");
        }
    }
    text
}

fn recovery(row: &Row) -> String {
    let after = row.recovered_after.map_or("never".to_owned(), |time| {
        format!("after {:.1} s", time.as_secs_f64())
    });
    format!("recovered {after}")
}

async fn by_hand(stage: &mut Stage, cluster: &Cluster) -> Result<String> {
    start_servers(stage, cluster).await?;
    let home = cluster.home_of(&channel()).await?;
    let pid = cluster.pid(home.address).unwrap_or_default();
    let port = home.address.port();
    let mut nodes = cluster.nodes();
    let other = nodes.find(|(_, node)| *node != home.address);
    let other = other.map_or(port, |(_, node)| node.port());
    let [a, b] = [stage.servers.url('A')?, stage.servers.url('B')?];
    Ok(format!(
        "Alice and Bob in a browser, on servers A and B; and a message to Bob from outside\n\n  \
         {a}/pair?bob={b}\n  \
         REDIS_URL=redis://127.0.0.1:{other} \\\n    \
         cargo run -p ch06-full-stack --bin emit -- bob hi\n\n\
         The slots of each node, and the subscribers of the adapter's channel at {name}\n\n  \
         redis-cli -p {port} cluster nodes\n  \
         redis-cli -p {port} pubsub shardnumsub '{channel}'\n\n\
         Kill this master, go on writing, and see which node has its slots now\n\n  \
         kill -9 {pid}\n  \
         redis-cli -p {other} cluster nodes",
        name = home.name,
        channel = channel(),
    ))
}
