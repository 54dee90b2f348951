//! Chapter 6 on a Redis Cluster: who carries a message, and what happens when a master goes.
//!
//! The cluster is started from the `redis-server` of this machine, from 7.0 on.

// All of this file is a test, its helpers too.
#![allow(clippy::unwrap_used)]

mod harness;

use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt, time::Duration};

use ch06_full_stack::{
    cluster::{
        CHANNEL, MESSAGES, cross, over_the_bus,
        rooms::{Channels, ROOMS, SENT, fan_out, silence_a_shard},
    },
    delivery::{
        Rung,
        flow::{Flow, Pace},
    },
    drill::shard_killed::both_drivers,
    driver::ResilientDriver,
    experiment::{User, write, write_until_heard},
    place::Place,
};
use futures_util::StreamExt;
use harness::{
    bench::Bench,
    binary::{Running, command, every_claim_holds, is_refused, run},
    node::untested,
};
use lab::{Client, Home, Row, Stage, Transport};
use redis::{Cmd, FromRedisValue, cmd};
use rustix::process::{Pid, Signal, kill_process};
use socketioxide_redis::drivers::{ChanItem, Driver, MessageStream};
use tokio::time::{interval, timeout};

const LESSON: &str = env!("CARGO_BIN_EXE_cluster");
const CHAPTER: &str = env!("CARGO_BIN_EXE_ch06-full-stack");
const DRILL: &str = env!("CARGO_BIN_EXE_drill");
const EMIT: &str = env!("CARGO_BIN_EXE_emit");
const PUSHER: &str = env!("CARGO_BIN_EXE_pusher");

/// How long a cluster may take to be whole again.
const PATIENCE: Duration = Duration::from_secs(15);

/// A stage with a cluster, and what `REDIS_URL` may say; none where there is no Redis for it,
/// which is said.
async fn stage() -> Option<(Stage, String)> {
    if let Err(reason) = lab::cluster_found().await {
        untested("with a Redis Cluster", &reason.to_string());
        return None;
    }
    let mut stage = Stage::silent(CHAPTER).unwrap();
    let urls = stage.start_cluster().await.unwrap();
    Some((stage, urls))
}

async fn user(stage: &Stage, letter: char, name: &str) -> User {
    let client = Client::new(name, &stage.server_url(letter).unwrap());
    let user = User::connect_with(&client, Transport::WebSocket).await;
    user.unwrap()
}

async fn ask<T: FromRedisValue>(node: SocketAddr, command: &Cmd) -> T {
    let client = redis::Client::open(format!("redis://{node}")).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    command.query_async(&mut connection).await.unwrap()
}

#[tokio::test]
async fn every_claim_of_the_lesson_holds() {
    if let Err(reason) = lab::cluster_found().await {
        return untested("with a Redis Cluster", &reason.to_string());
    }
    every_claim_holds(LESSON);
}

/// A `redis-server` that only says its version.
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
async fn several_servers_that_are_no_cluster_are_refused() {
    let mut bench = Bench::new(CHAPTER);
    let redis = bench.redis().await;
    let list = format!("{redis},{redis}");
    for (urls, words) in [
        (list.as_str(), "which are no cluster: name one of them"),
        (
            "redis://127.0.0.1:1,nonsense",
            "REDIS_URL names \"nonsense\"",
        ),
        (
            "redis://127.0.0.1:1,redis://127.0.0.1:2",
            "no Redis answers at redis://127.0.0.1:1,redis://127.0.0.1:2",
        ),
    ] {
        let mut server = command(CHAPTER);
        server.env("PORT", "0");
        let mut emit = command(EMIT);
        emit.args(["bob", "hi"]);
        let mut pusher = command(PUSHER);
        pusher.env("PORT", "0").env("PUSHER_SECRET", "secret");
        for mut program in [server, emit, pusher] {
            is_refused(program.env("REDIS_URL", urls), 1, &[words]);
        }
    }
}

#[tokio::test]
async fn the_chapter_runs_on_a_cluster_and_a_drill_that_cannot_says_so() {
    let Some((_stage, urls)) = stage().await else {
        return;
    };
    let mut chapter = command(CHAPTER);
    chapter
        .args(["--check", "--ports", "auto"])
        .env("REDIS_URL", &urls);
    let outcome = run(&mut chapter);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(
        outcome.stdout.contains("a cluster, from REDIS_URL"),
        "{outcome:?}"
    );

    let mut drill = command(DRILL);
    drill
        .args(["rolling-restart", "--ports", "auto"])
        .env("REDIS_URL", &urls);
    is_refused(
        &mut drill,
        1,
        &["needs one Redis, and REDIS_URL names a cluster"],
    );
}

#[tokio::test]
async fn one_master_publishes_what_crosses_and_it_is_the_one_with_the_channels_slot() {
    let Some((mut stage, urls)) = stage().await else {
        return;
    };
    stage
        .start_servers(2, &[("REDIS_URL", &urls)])
        .await
        .unwrap();
    let alice = user(&stage, 'A', "alice").await;
    let mut bob = user(&stage, 'B', "bob").await;
    let crossed = cross(stage.cluster().unwrap(), &alice, &mut bob)
        .await
        .unwrap();
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
    let Some((mut stage, _)) = stage().await else {
        return;
    };
    let cluster = stage.cluster().unwrap();
    for (command, receivers) in [("PUBLISH", 5), ("SPUBLISH", 1)] {
        let bus = over_the_bus(cluster, command).await.unwrap();
        assert_eq!(bus.sent, receivers * MESSAGES, "{command}");
        let all = bus.received.iter().filter(|count| **count == MESSAGES);
        assert_eq!(all.count() as u64, receivers, "{command}: {bus:?}");
    }
}

#[tokio::test]
async fn with_a_channel_a_room_servers_hear_their_rooms_and_masters_share_the_work() {
    let Some((mut stage, urls)) = stage().await else {
        return;
    };
    let cluster = stage.cluster().unwrap();
    for servers in [3, 6] {
        let one = fan_out(cluster, &urls, servers, Channels::One)
            .await
            .unwrap();
        assert_eq!(
            one.handed,
            vec![SENT; servers],
            "everybody hears everything"
        );
        assert_eq!(one.carried, [SENT as u64], "and one master carries it");
        let each = fan_out(cluster, &urls, servers, Channels::EachRoom)
            .await
            .unwrap();
        assert_eq!(each.total(), 2 * SENT, "{servers} servers");
        assert_eq!(each.carried.len(), 3, "{each:?}");
        assert_eq!(each.carried.iter().sum::<u64>(), SENT as u64);
    }
}

#[tokio::test]
async fn when_a_shard_is_gone_the_others_go_on_and_its_senders_are_told() {
    let Some((mut stage, urls)) = stage().await else {
        return;
    };
    let silence = silence_a_shard(stage.cluster().unwrap(), &urls)
        .await
        .unwrap();
    assert_eq!(silence.elsewhere + silence.gone, ROOMS);
    assert!(silence.gone > 0 && silence.elsewhere > 0, "{silence:?}");
    assert_eq!(silence.heard, silence.elsewhere, "{silence:?}");
    assert_eq!(silence.told, silence.gone, "{silence:?}");
}

#[tokio::test]
async fn in_a_failover_the_stock_driver_holds_up_ones_own_server_and_ours_only_what_cannot_cross() {
    let Some((mut stage, urls)) = stage().await else {
        return;
    };
    let rows = both_drivers(&mut stage, &urls).await.unwrap();
    assert_eq!(rows.len(), 4);
    assert!(rows.iter().all(Row::holds), "{rows:#?}");
    let ours = &rows[3];
    assert_eq!((ours.twice, ours.late), (Some(0), Some(0)), "{ours:?}");
    // Of nearly all that is lost the sender is told: of all but what is published at the new
    // master in the moment before the others have found it.
    assert!(10 * ours.untold.unwrap() <= ours.lost, "{ours:?}");
}

/// Numbered messages on one channel, from one server's driver to another's.
struct Line {
    sender: ResilientDriver,
    heard: MessageStream<ChanItem>,
    next: u32,
    /// What has come, in its order.
    seen: Vec<u32>,
    // It hears nothing any more once it is dropped.
    _receiver: ResilientDriver,
}

impl Line {
    async fn open(urls: &str) -> Self {
        let place = Place::at(urls).await.unwrap();
        let receiver = ResilientDriver::connect(place.clone()).await.unwrap();
        Self {
            sender: ResilientDriver::connect(place).await.unwrap(),
            heard: receiver.subscribe(CHANNEL.to_owned(), 4096).await.unwrap(),
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
    async fn is_heard(&mut self) {
        let first = self.next;
        let mut turns = interval(Duration::from_millis(10));
        let heard = async {
            loop {
                self.publish().await;
                tokio::select! {
                    Some((_, message)) = self.heard.next() => {
                        self.seen.push(u32::from_be_bytes(message.try_into().unwrap()));
                    }
                    _ = turns.tick() => {}
                }
                if self.seen.last().is_some_and(|last| *last >= first) {
                    return;
                }
            }
        };
        let heard = timeout(PATIENCE, heard).await;
        assert!(heard.is_ok(), "nothing is heard after message {first}");
    }

    /// No message came twice, or after a later one.
    fn is_in_order(&self) {
        let mut pairs = self.seen.windows(2);
        assert!(pairs.all(|pair| pair[0] < pair[1]), "{:?}", self.seen);
    }
}

/// A cluster, a line through it on which messages are heard, and who carries them.
async fn line() -> Option<(Stage, Line, Home)> {
    let (mut stage, urls) = stage().await?;
    let mut line = Line::open(&urls).await;
    line.is_heard().await;
    let home = stage.cluster().unwrap().home_of(CHANNEL).await.unwrap();
    Some((stage, line, home))
}

/// `CLUSTER FAILOVER`: the old master lives, as a replica, and is told all that the new one is.
#[tokio::test]
async fn masters_that_change_places_say_nothing_twice() {
    let Some((mut stage, mut line, home)) = line().await else {
        return;
    };
    let cluster = stage.cluster().unwrap();
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
        line.is_heard().await;
    }
    line.is_in_order();
}

/// `CLUSTER SETSLOT`: the old owner lives, as a master, and ends the subscriptions.
#[tokio::test]
async fn a_slot_that_moves_takes_its_channel_with_it() {
    let Some((mut stage, urls)) = stage().await else {
        return;
    };
    let cluster = stage.cluster().unwrap();
    let mut line = Line::open(&urls).await;
    for other in ["x", "y", "{user1}"] {
        line.is_heard().await;
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
        line.is_heard().await;
        cluster
            .is_taken_over(home.slot, home.address)
            .await
            .unwrap();
        assert_eq!(cluster.home_of(CHANNEL).await.unwrap().address, new);
        line.is_heard().await;
    }
    line.is_in_order();
}

/// `CLUSTER DELSLOTS` at every node: there is no master to ask any more.
#[tokio::test]
async fn a_slot_that_nobody_has_is_found_again_when_somebody_has_it() {
    let Some((mut stage, mut line, home)) = line().await else {
        return;
    };
    let cluster = stage.cluster().unwrap();
    for (_, node) in cluster.nodes() {
        let () = ask(node, cmd("CLUSTER").arg("DELSLOTS").arg(home.slot)).await;
    }
    for _ in 0..10 {
        line.publish().await;
    }
    let mut add = cmd("CLUSTER");
    let () = ask(home.address, add.arg("ADDSLOTS").arg(home.slot)).await;
    line.is_heard().await;
    line.is_in_order();
}

/// It keeps its connections open and says nothing: only that it does not answer tells.
#[tokio::test]
async fn a_master_that_hangs_is_left_and_when_it_wakes_nothing_comes_twice() {
    let Some((mut stage, mut line, home)) = line().await else {
        return;
    };
    let cluster = stage.cluster().unwrap();
    let pid = cluster.pid(home.address).unwrap();
    let pid = Pid::from_raw(pid.cast_signed()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    line.is_heard().await;
    kill_process(pid, Signal::CONT).unwrap();
    cluster.is_replica(home.address).await.unwrap();
    for _ in 0..100 {
        line.is_heard().await;
    }
    // What it was told before it hung it says when it wakes: that comes late, but once.
    line.seen.sort_unstable();
    line.is_in_order();
}

#[tokio::test]
async fn the_only_node_that_was_named_may_die() {
    let Some((mut stage, _)) = stage().await else {
        return;
    };
    let home = stage.cluster().unwrap().home_of(CHANNEL).await.unwrap();
    let named = format!("redis://{}", home.address);
    stage
        .start_servers(2, &[("REDIS_URL", &named)])
        .await
        .unwrap();
    let alice = user(&stage, 'A', "alice").await;
    let mut bob = user(&stage, 'B', "bob").await;
    assert!(write(&alice, &mut bob, "hi").await.unwrap().0);

    stage.cluster().unwrap().kill(home.address).await.unwrap();
    let heard = write_until_heard(&alice, &mut bob, PATIENCE).await.unwrap();
    assert!(heard.is_some(), "through another master");

    // Nor need the first in a list live.
    let (_, lives) = stage.cluster().unwrap().nodes().last().unwrap();
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
    assert!(seen, "what emit said");
}

#[tokio::test]
async fn a_server_says_once_that_a_master_is_gone_and_once_that_all_is_well() {
    let Some((mut stage, urls)) = stage().await else {
        return;
    };
    let mut server = Running::start(
        command(CHAPTER)
            .env("PORT", "0")
            .env("REDIS_URL", urls.as_str()),
    );
    server.line_with("running on");
    let cluster = stage.cluster().unwrap();
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
    let Some((mut stage, urls)) = stage().await else {
        return;
    };
    stage
        .start_servers(2, &[("REDIS_URL", &urls)])
        .await
        .unwrap();
    let url = |letter| stage.server_url(letter).unwrap();
    let sender = Client::new("alice", &url('A')).telling(drop);
    let receiver = Client::new("bob", &url('B')).telling(drop);
    let flow = Flow::open(Rung::Kept, &sender, &receiver).await.unwrap();
    let pace = Pace {
        messages: 50,
        every: Duration::from_millis(10),
        patience: PATIENCE,
    };
    let outcome = flow.run(pace).await.unwrap();
    assert_eq!(
        (outcome.sent(), outcome.lost(), outcome.unknown()),
        (50, 0, 0)
    );
}
