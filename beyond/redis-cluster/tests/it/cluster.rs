//! The chat on a Redis Cluster: which node carries a message, and what happens when a master dies.
//!
//! The cluster is started from the `redis-server` of this machine, 7.0 or newer.

use std::{
    collections::BTreeSet, fs, net::SocketAddr, os::unix::fs::PermissionsExt, time::Duration,
};

use ch06_full_stack::experiment::{User, write, write_until_heard};
use delivery::{
    Way,
    flow::{Flow, Pace},
};
use drills::Row;
use failures::broadcaster::Broadcaster;
use futures_util::StreamExt;
use harness::{
    bench::Bench,
    binary::{Running, command, is_refused, run},
    listening::on_loopback_alone,
    untested,
};
use lab::{Client, Stage, Transport};
use redis::{Cmd, FromRedisValue, cmd};
use redis_cluster::{
    CHANNEL, Cluster,
    bus::{MESSAGES, cross, over_the_bus},
    cluster::{ChannelHome, find_redis},
    fan_out::{Channels, ROOMS, SENT, fan_out, take_a_shard_down},
    shard_killed::{is_told_of_nearly_all, with_the_resilient_driver, with_the_stock_driver},
};
use redis_driver::{RedisTarget, ResilientDriver};
use rustix::process::{Pid, Signal, kill_process};
use socketioxide_redis::drivers::{ChanItem, Driver, MessageStream};
use tokio::time::{interval, timeout};

const LESSON: &str = env!("CARGO_BIN_EXE_redis-cluster");

/// How long a cluster may take to be whole again.
const PATIENCE: Duration = Duration::from_secs(15);

/// A stage and a cluster; `None` where there is no Redis for it, which is said.
async fn stage() -> Option<(Stage, Cluster)> {
    if let Err(reason) = find_redis().await {
        untested("with a Redis Cluster", &reason.to_string());
        return None;
    }
    let stage = Stage::silent(LESSON).unwrap();
    let cluster = Cluster::start(&stage).await.unwrap();
    Some((stage, cluster))
}

async fn servers(stage: &mut Stage, cluster: &Cluster) {
    let redis = cluster.url();
    let environment = [("REDIS_URL", redis.as_str())];
    stage.servers.start(2, &environment).await.unwrap();
}

async fn user(stage: &Stage, letter: char, name: &str) -> User {
    connect(&stage.servers.url(letter).unwrap(), name).await
}

async fn connect(url: &str, name: &str) -> User {
    let user = User::connect_with(&Client::new(name, url), Transport::WebSocket).await;
    user.unwrap()
}

async fn ask<T: FromRedisValue>(node: SocketAddr, command: &Cmd) -> T {
    let client = redis::Client::open(format!("redis://{node}")).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    command.query_async(&mut connection).await.unwrap()
}

#[tokio::test]
async fn every_claim_of_the_lesson_holds_and_is_stated_once_within_80_columns() {
    if let Err(reason) = find_redis().await {
        return untested("with a Redis Cluster", &reason.to_string());
    }
    let outcome = run(command(LESSON).args(["--check", "--ports", "auto"]));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let lines: Vec<_> = outcome.stdout.lines().collect();
    let claims: Vec<_> = lines
        .iter()
        .filter(|line| line.starts_with("  ✓ ") || line.starts_with("  ! "))
        .collect();
    let summary = format!("  {0} of {0} claims held", claims.len());
    assert_eq!(lines.last().copied(), Some(summary.as_str()), "{outcome:?}");
    let texts: BTreeSet<_> = claims.iter().collect();
    assert_eq!(
        texts.len(),
        claims.len(),
        "a claim is stated twice: {claims:?}"
    );
    for line in lines {
        assert!(line.chars().count() <= 80, "{line:?} is too wide");
    }
}

/// A `redis-server` that only prints its version.
#[test]
fn a_redis_before_7_is_named_and_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("redis-server");
    fs::write(&program, "#!/bin/sh\necho 'Redis server v=6.2.14 sha=0'\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    is_refused(
        command(LESSON)
            .args(["--check", "--ports", "auto"])
            .env("PATH", format!("{}:{path}", folder.path().display())),
        1,
        &["is version 6.2.14", "install redis-server 7.0 or newer"],
    );
}

#[tokio::test]
async fn several_redis_servers_that_are_not_a_cluster_are_refused() {
    let mut bench = Bench::new(LESSON);
    let redis = bench.redis().await;
    let list = format!("{redis},{redis}");
    for (urls, words) in [
        (list.as_str(), "which are not a cluster: name one of them"),
        (
            "redis://127.0.0.1:1,nonsense",
            "REDIS_URL names \"nonsense\"",
        ),
        (
            "redis://127.0.0.1:1,redis://127.0.0.1:2",
            "no Redis answers at redis://127.0.0.1:1,redis://127.0.0.1:2",
        ),
    ] {
        let mut server = command(LESSON);
        server.env("PORT", "0");
        let mut emit = command(LESSON);
        emit.env("LAB_PROGRAM", "emit").args(["bob", "hi"]);
        for mut program in [server, emit] {
            is_refused(program.env("REDIS_URL", urls), 1, &[words]);
        }
    }
}

#[tokio::test]
async fn chapter_6_runs_on_a_cluster_and_a_drill_that_cannot_is_refused() {
    let Some((stage, cluster)) = stage().await else {
        return;
    };
    let redis = cluster.url();
    let environment = [("PORT", "0"), ("REDIS_URL", redis.as_str())];
    let mut programs = Vec::new();
    let mut urls = Vec::new();
    for _ in 0..2 {
        let mut server = stage.start_program("chapter-6", &[], &environment).unwrap();
        let line = loop {
            let line = server.next_line().await.expect("the server starts");
            if line.contains("running on") {
                break line;
            }
        };
        let port = line.split(' ').find_map(|word| word.parse::<u16>().ok());
        urls.push(format!("http://127.0.0.1:{}", port.unwrap()));
        programs.push(server);
    }
    let alice = connect(&urls[0], "alice").await;
    let mut bob = connect(&urls[1], "bob").await;
    assert!(write(&alice, &mut bob, "hi").await.unwrap());

    let refusal = Broadcaster::start(&redis).await.err().unwrap().to_string();
    assert!(
        refusal.contains("needs one Redis, and REDIS_URL names a cluster"),
        "{refusal}"
    );
}

#[tokio::test]
async fn the_master_of_the_channels_slot_publishes_a_message_and_no_other_node_does() {
    let Some((mut stage, cluster)) = stage().await else {
        return;
    };
    servers(&mut stage, &cluster).await;
    let alice = user(&stage, 'A', "alice").await;
    let mut bob = user(&stage, 'B', "bob").await;
    let crossed = cross(&cluster, &alice, &mut bob).await.unwrap();
    assert!(crossed.arrived);
    let slot: u16 = ask(
        crossed.home.address,
        cmd("CLUSTER").arg("KEYSLOT").arg(CHANNEL),
    )
    .await;
    assert_eq!(crossed.home.slot, slot);
    for (name, published) in crossed.published {
        assert_eq!(published, u64::from(name == crossed.home.name), "{name}");
    }
    let (_, listeners): (String, u16) = ask(
        crossed.home.address,
        cmd("PUBSUB").arg("SHARDNUMSUB").arg(CHANNEL),
    )
    .await;
    assert_eq!(listeners, 2, "each server once");
}

#[tokio::test]
async fn publish_goes_to_every_node_and_spublish_only_within_the_shard() {
    let Some((_stage, cluster)) = stage().await else {
        return;
    };
    for (command, receivers) in [("PUBLISH", 5), ("SPUBLISH", 1)] {
        let bus = over_the_bus(&cluster, command).await.unwrap();
        assert_eq!(bus.sent, receivers * MESSAGES, "{command}");
        assert_eq!(bus.receivers() as u64, receivers, "{command}: {bus:?}");
    }
}

#[tokio::test]
async fn with_a_channel_for_each_room_servers_get_only_their_rooms_and_masters_share_the_work() {
    let Some((_stage, cluster)) = stage().await else {
        return;
    };
    for servers in [3, 6] {
        let one = fan_out(&cluster, servers, Channels::One).await.unwrap();
        assert_eq!(one.by_server, vec![SENT; servers], "each server gets all");
        assert_eq!(one.by_master, [SENT as u64], "and one master publishes all");
        let each = fan_out(&cluster, servers, Channels::EachRoom)
            .await
            .unwrap();
        assert_eq!(each.total(), 2 * SENT, "{servers} servers");
        assert_eq!(each.by_master.len(), 3, "{each:?}");
        assert_eq!(each.by_master.iter().sum::<u64>(), SENT as u64);
    }
}

#[tokio::test]
async fn when_a_shard_is_down_the_others_go_on_and_its_senders_are_told() {
    let Some((_stage, mut cluster)) = stage().await else {
        return;
    };
    let seen = take_a_shard_down(&mut cluster).await.unwrap();
    assert_eq!(seen.other_rooms + seen.its_rooms, ROOMS);
    assert!(seen.its_rooms > 0 && seen.other_rooms > 0, "{seen:?}");
    assert_eq!(seen.received, seen.other_rooms, "{seen:?}");
    assert_eq!(seen.sender_told, seen.its_rooms, "{seen:?}");
}

#[tokio::test]
async fn in_a_failover_the_stock_driver_confirms_what_is_lost_and_the_resilient_one_does_not() {
    let Some((mut stage, mut cluster)) = stage().await else {
        return;
    };
    let stage = &mut stage;
    let stock = with_the_stock_driver(stage, &mut cluster).await.unwrap();
    assert!(stock.iter().all(Row::holds), "{stock:#?}");
    let resilient = with_the_resilient_driver(stage, &mut cluster).await;
    let resilient = resilient.unwrap();
    assert!(resilient.iter().all(Row::holds), "{resilient:#?}");
    let between = &resilient[1];
    assert_eq!(between.duplicates, Some(0), "{between:?}");
    assert_eq!(between.out_of_order, Some(0), "{between:?}");
    assert!(is_told_of_nearly_all(between), "{between:?}");
}

/// Numbered messages on one channel, from the driver of one server to that of another.
struct Line {
    sender: ResilientDriver,
    messages: MessageStream<ChanItem>,
    next: u32,
    /// The messages that came, in their order.
    seen: Vec<u32>,
    // A driver receives messages only until it is dropped.
    _receiver: ResilientDriver,
}

impl Line {
    async fn open(cluster: &Cluster) -> Self {
        let target = RedisTarget::at(&cluster.url()).await.unwrap();
        let [sender, receiver] =
            [target.clone(), target].map(|target| ResilientDriver::connect(target, |_notice| {}));
        let (sender, receiver) = (sender.await.unwrap(), receiver.await.unwrap());
        Self {
            sender,
            messages: receiver.subscribe(CHANNEL.to_owned(), 4096).await.unwrap(),
            next: 0,
            seen: Vec::new(),
            _receiver: receiver,
        }
    }

    async fn publish(&mut self) {
        let message = self.next.to_be_bytes().to_vec();
        self.sender
            .publish(CHANNEL.to_owned(), message)
            .await
            .unwrap();
        self.next += 1;
    }

    /// Publishes a hundred times a second until one of these messages arrives.
    async fn delivers(&mut self) {
        let first = self.next;
        let mut turns = interval(Duration::from_millis(10));
        let delivered = async {
            loop {
                self.publish().await;
                tokio::select! {
                    Some((_, message)) = self.messages.next() => {
                        self.seen.push(u32::from_be_bytes(message.try_into().unwrap()));
                    }
                    _ = turns.tick() => {}
                }
                if self.seen.last().is_some_and(|last| *last >= first) {
                    return;
                }
            }
        };
        let delivered = timeout(PATIENCE, delivered).await;
        assert!(delivered.is_ok(), "nothing arrives after message {first}");
    }

    /// No message came twice or out of order.
    fn is_in_order(&self) {
        let mut pairs = self.seen.windows(2);
        assert!(pairs.all(|pair| pair[0] < pair[1]), "{:?}", self.seen);
    }
}

/// A cluster, a line through it that delivers, and the master of its channel.
async fn line() -> Option<(Stage, Cluster, Line, ChannelHome)> {
    let (stage, cluster) = stage().await?;
    let mut line = Line::open(&cluster).await;
    line.delivers().await;
    let home = cluster.home_of(CHANNEL).await.unwrap();
    Some((stage, cluster, line, home))
}

/// `CLUSTER FAILOVER`: the old master lives on as a replica, and gets all messages of the new one.
#[tokio::test]
async fn when_master_and_replica_change_places_no_message_comes_twice() {
    let Some((_stage, cluster, mut line, home)) = line().await else {
        return;
    };
    let replica = cluster.replica_of(home.address).await.unwrap();
    let () = ask(replica, cmd("CLUSTER").arg("FAILOVER")).await;
    let taken_over = cluster.is_taken_over(home.slot, home.address);
    let mut taken_over = std::pin::pin!(taken_over);
    let mut turns = interval(Duration::from_millis(10));
    // Under traffic.
    loop {
        line.publish().await;
        tokio::select! {
            taken = &mut taken_over => break taken.unwrap(),
            _ = turns.tick() => {}
        }
    }
    cluster.is_replica(home.address).await.unwrap();
    for _ in 0..100 {
        line.delivers().await;
    }
    line.is_in_order();
}

/// `CLUSTER SETSLOT`: the old owner lives on as a master, and ends the subscriptions.
#[tokio::test]
async fn a_channel_moves_with_its_slot() {
    let Some((_stage, cluster)) = stage().await else {
        return;
    };
    let mut line = Line::open(&cluster).await;
    for other in ["x", "y", "{user1}"] {
        line.delivers().await;
        let home = cluster.home_of(CHANNEL).await.unwrap();
        let new = cluster.home_of(other).await.unwrap().address;
        if new == home.address {
            continue;
        }
        let [old_id, new_id]: [String; 2] = [
            ask(home.address, cmd("CLUSTER").arg("MYID")).await,
            ask(new, cmd("CLUSTER").arg("MYID")).await,
        ];
        for [state, id] in [["IMPORTING", &old_id], ["NODE", &new_id]] {
            let mut set_slot = cmd("CLUSTER");
            set_slot.arg("SETSLOT").arg(home.slot).arg(state).arg(id);
            let () = ask(new, &set_slot).await;
        }
        line.delivers().await;
        cluster
            .is_taken_over(home.slot, home.address)
            .await
            .unwrap();
        assert_eq!(cluster.home_of(CHANNEL).await.unwrap().address, new);
        line.delivers().await;
    }
    line.is_in_order();
}

/// `CLUSTER DELSLOTS` at every node: the slot has no master any more.
#[tokio::test]
async fn a_slot_without_a_master_is_found_again_when_a_master_gets_it() {
    let Some((_stage, cluster, mut line, home)) = line().await else {
        return;
    };
    for (_, node) in cluster.nodes() {
        let () = ask(node, cmd("CLUSTER").arg("DELSLOTS").arg(home.slot)).await;
    }
    for _ in 0..10 {
        line.publish().await;
    }
    let mut add = cmd("CLUSTER");
    let () = ask(home.address, add.arg("ADDSLOTS").arg(home.slot)).await;
    line.delivers().await;
    line.is_in_order();
}

/// It keeps its connections open and does not answer.
#[tokio::test]
async fn a_master_that_hangs_is_given_up_and_when_it_wakes_no_message_comes_twice() {
    let Some((_stage, cluster, mut line, home)) = line().await else {
        return;
    };
    let pid = cluster.pid(home.address).unwrap();
    let pid = Pid::from_raw(pid.cast_signed()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    line.delivers().await;
    kill_process(pid, Signal::CONT).unwrap();
    cluster.is_replica(home.address).await.unwrap();
    for _ in 0..100 {
        line.delivers().await;
    }
    // When it wakes, it publishes the messages that it got before: out of order, but once.
    line.seen.sort_unstable();
    line.is_in_order();
}

#[tokio::test]
async fn the_only_node_that_redis_url_names_may_die() {
    let Some((mut stage, mut cluster)) = stage().await else {
        return;
    };
    let home = cluster.home_of(CHANNEL).await.unwrap();
    let named = format!("redis://{}", home.address);
    stage
        .servers
        .start(2, &[("REDIS_URL", &named)])
        .await
        .unwrap();
    let alice = user(&stage, 'A', "alice").await;
    let mut bob = user(&stage, 'B', "bob").await;
    assert!(write(&alice, &mut bob, "hi").await.unwrap());

    cluster.kill(home.address).await.unwrap();
    let heard = write_until_heard(&alice, &mut bob, PATIENCE).await.unwrap();
    assert!(heard.is_some(), "through another master");

    // In a list, the first node may be dead too.
    let (_, lives) = cluster.nodes().last().unwrap();
    let list = format!("{named},redis://{lives}");
    let emit = [("REDIS_URL", list.as_str())];
    let emit = stage
        .start_program("emit", &["bob", "from outside"], &emit)
        .unwrap();
    emit.finish().await.unwrap();
    let mut seen = false;
    while let Some(message) = bob.socket.hear("message", Duration::from_secs(2)).await {
        seen |= message["text"] == "from outside";
        if seen {
            break;
        }
    }
    assert!(seen, "the message of emit");
}

#[tokio::test]
async fn a_server_logs_once_that_a_master_is_gone_and_once_that_it_is_back() {
    let Some((_stage, mut cluster)) = stage().await else {
        return;
    };
    let mut server = Running::start(
        command(LESSON)
            .env("PORT", "0")
            .env("REDIS_URL", cluster.url()),
    );
    server.line_with("running on");
    for _ in 0..2 {
        let home = cluster.home_of(CHANNEL).await.unwrap();
        cluster.kill(home.address).await.unwrap();
        let said = server.line_with("Redis");
        assert!(
            said.starts_with(&format!("Redis at {} is gone: messages", home.address)),
            "{said}"
        );
        assert_eq!(server.line_with("Redis"), "Redis is back");
        cluster
            .is_taken_over(home.slot, home.address)
            .await
            .unwrap();
        cluster.restart(home.address).await.unwrap();
        cluster.is_replica(home.address).await.unwrap();
    }
    server.signal(Signal::TERM);
    assert_eq!(server.end(), Some(0));
}

#[tokio::test]
async fn the_history_is_kept_in_a_cluster_too() {
    let Some((mut stage, cluster)) = stage().await else {
        return;
    };
    servers(&mut stage, &cluster).await;
    let url = |letter| stage.servers.url(letter).unwrap();
    let sender = Client::new("alice", &url('A'));
    let receiver = Client::new("bob", &url('B'));
    let flow = Flow::open(Way::Kept, &sender, &receiver).await.unwrap();
    let pace = Pace {
        messages: 50,
        every: Duration::from_millis(10),
        patience: PATIENCE,
    };
    let outcome = flow.run(pace).await.unwrap();
    assert_eq!(
        (outcome.sent(), outcome.lost(), outcome.sender_not_sure()),
        (50, 0, 0)
    );
}

#[tokio::test]
async fn the_cluster_and_its_bus_listen_on_loopback_alone() {
    if let Err(reason) = find_redis().await {
        untested("with a Redis Cluster", &reason.to_string());
        return;
    }
    let mut lesson = command(LESSON);
    lesson.args(["message", "--check", "--ports", "auto"]);
    on_loopback_alone(&mut lesson, &[("■ C", &["redis-cluster", "redis-server"])]);
}
