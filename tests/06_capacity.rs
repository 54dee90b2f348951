//! Chapter 6: what so many sockets need, by arithmetic; and where they end, on a stage.

// All of this file is a test, its helpers too.
#![allow(clippy::unwrap_used)]

mod harness;

use std::path::Path;

use ch06_full_stack::{
    capacity::{Capacity, DELIVERIES},
    limits::{
        CONFIG, PORTS, SHORTAGE, crowd, ports, serve_with_descriptors, serve_with_memory,
        with_connections,
    },
};
use clap::Parser;
use harness::{
    attack::{NOTICEABLE, idle},
    bench::Bench,
    binary::{command, is_refused, run},
};
use lab::{Event, Stage, event::Part};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

const CAPACITY: &str = env!("CARGO_BIN_EXE_capacity");

fn capacity(line: &str) -> Capacity {
    Capacity::try_parse_from(std::iter::once("capacity").chain(line.split(' '))).unwrap()
}

#[test]
fn thirty_thousand_sockets_have_room_and_the_servers_descriptors_are_full_first() {
    let capacity = capacity("--sockets 30000");
    assert!(capacity.rooms().iter().all(|(_, room)| *room > 30_000));
    let first = ("descriptors of the servers", 3 * 19_900);
    assert_eq!(capacity.first_full(), first);
}

#[test]
fn what_is_full_first_is_the_least_of_all_rooms() {
    for (options, first) in [
        ("--connections 32 --workers 1", ("worker_connections", 16)),
        ("--ports 10", ("ports, nginx to the servers", 30)),
        ("--memory 36MiB", ("memory", 1_161)),
        (
            "--descriptors 300 --workers 1",
            ("descriptors of nginx", 100),
        ),
    ] {
        let capacity = capacity(&format!("--sockets 30000 {options}"));
        assert_eq!(capacity.first_full(), first, "{options}");
    }
}

#[test]
fn a_message_to_all_is_as_many_deliveries_as_there_are_sockets() {
    let all = capacity("--sockets 100000 --messages 50");
    assert_eq!(all.deliveries(), 5_000_000);
    assert_eq!(
        all.servers_for_deliveries(),
        5_000_000_u64.div_ceil(DELIVERIES)
    );
    let room = capacity("--sockets 100000 --messages 50 --receivers 10");
    assert_eq!(room.deliveries(), 500);
    assert_eq!(room.servers_for_deliveries(), 1);
    // A message to few costs Redis the same: every server hears it.
    assert_eq!(room.heard_from_redis(), all.heard_from_redis());
}

#[test]
fn the_report_names_what_is_full_first() {
    let outcome = run(command(CAPACITY).args(["--sockets", "100000", "--messages", "50"]));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let full = "full first: descriptors of the servers, at 59700 sockets";
    assert!(outcome.stdout.contains(full), "{outcome:?}");
    let slow = format!(
        "too slow: so many deliveries take {} servers, and these are 3",
        5_000_000_u64.div_ceil(DELIVERIES)
    );
    assert!(outcome.stdout.contains(&slow), "{outcome:?}");
    let silent = run(command(CAPACITY).args(["--sockets", "100000"]));
    assert!(!silent.stdout.contains("deliveries"), "{silent:?}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    is_refused(command(CAPACITY).args(["--sockets", "0"]), 2, &["0"]);
    // A calculation all the same, and it says what is missing.
    let missing = ["--sockets <SOCKETS>"];
    is_refused(command(CAPACITY).args(["--messages", "50"]), 2, &missing);
    let much = ["--sockets", "9", "--memory", "8 pounds"];
    is_refused(command(CAPACITY).args(much), 2, &["8GiB"]);
    let many = ["--sockets", "9", "--receivers", "10"];
    is_refused(command(CAPACITY).args(many), 1, &["--receivers 10"]);
}

// ---- on a stage ----

/// What only Linux says, where it gives a user a network of his own.
const OF_PORTS: [&str; 2] = [
    "HTTP status 502",
    "failed (99: Cannot assign requested address) while connecting to upstream",
];

#[test]
fn every_limit_is_met_and_lifted_with_the_errors_that_the_page_quotes() {
    let outcome = run(command(CAPACITY).args(["--check", "--ports", "auto"]));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let page = include_str!("../chapters/06-full-stack/CAPACITY.md");
    let mut quoted = vec![
        "no answer within 5 s",
        "no more connections can be taken for now: Too many open files (os error 24)",
        "[alert] 32 worker_connections are not enough",
    ];
    if !outcome.stdout.contains("Not shown: this system") {
        quoted.extend(OF_PORTS);
    }
    for error in quoted {
        assert!(
            page.contains(&format!("`{error}`")),
            "no {error} in the page"
        );
        assert!(outcome.stdout.contains(error), "no {error} in {outcome:?}");
    }
}

/// A server that may have so many descriptors; its URL.
async fn server(stage: &mut Stage, descriptors: usize) -> String {
    let binary = Path::new(CAPACITY);
    serve_with_descriptors(stage, binary, descriptors)
        .await
        .unwrap();
    stage.server_url('A').unwrap()
}

#[tokio::test]
async fn a_server_without_descriptors_takes_new_sockets_once_some_are_free() {
    let mut bench = Bench::new(CAPACITY);
    let url = server(&mut bench.stage, 64).await;
    let mut full = crowd(&[&url], 64).await;
    assert!(
        full.error.is_some() && full.users.len() > 40,
        "{}",
        full.users.len()
    );
    assert!(bench.stage.await_line('A', SHORTAGE).await);
    full.users.truncate(20);
    assert_eq!(crowd(&[&url], 10).await.users.len(), 10);

    let url = server(&mut bench.stage, 200).await;
    assert_eq!(crowd(&[&url], 64).await.users.len(), 64);
}

#[tokio::test]
async fn a_server_without_descriptors_says_so_once_while_clients_come_and_go() {
    let mut bench = Bench::new(CAPACITY);
    server(&mut bench.stage, 64).await;
    let address = bench.stage.server_addresses()[0];
    // More than it can take: the last of them wait, in the order in which they came.
    let mut crowd = idle(address, 70).await;
    assert!(bench.stage.await_line('A', SHORTAGE).await);
    let mut taken = 0;
    while answers(&mut crowd[taken]).await {
        taken += 1;
    }
    assert!(taken > 40, "{taken} were taken");
    // With each that goes, the next gets in, and then there is no descriptor left again.
    for number in 0..5 {
        drop(crowd.remove(0));
        assert!(
            hears(&mut crowd[taken - 1]).await,
            "after {number} were gone"
        );
        ask(&mut crowd[taken]).await;
    }
    assert_eq!(shortages(&bench.stage), 1);
}

async fn ask(connection: &mut TcpStream) {
    let request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    connection.write_all(request).await.unwrap();
}

/// Whether an answer comes.
async fn hears(connection: &mut TcpStream) -> bool {
    let mut first = [0];
    let answer = timeout(NOTICEABLE, connection.read_exact(&mut first)).await;
    answer.is_ok_and(|read| read.is_ok())
}

async fn answers(connection: &mut TcpStream) -> bool {
    ask(connection).await;
    hears(connection).await
}

/// How often server A has said that it takes no more connections.
fn shortages(stage: &Stage) -> usize {
    let events = stage.observer().so_far().into_iter();
    let said = events.filter(|observed| {
        matches!(&observed.event, Event::Said { part: Part::Server('A'), line }
            if line.contains(SHORTAGE))
    });
    said.count()
}

#[tokio::test]
async fn an_nginx_worker_spends_two_connections_on_a_socket() {
    let mut bench = Bench::with_servers(CAPACITY, &[("ADAPTER", "off")]).await;
    let url = bench
        .nginx_with(CONFIG, |config| with_connections(config, 32))
        .await;
    let full = crowd(&[&url], 64).await;
    assert!(full.error.is_some());
    assert!(
        (12..=16).contains(&full.users.len()),
        "{}",
        full.users.len()
    );
    drop(full);
    let url = bench
        .nginx_with(CONFIG, |config| with_connections(config, 200))
        .await;
    assert_eq!(crowd(&[&url], 64).await.users.len(), 64);
}

#[tokio::test]
async fn nginx_has_as_many_ports_for_each_server_as_there_are() {
    let bench = Bench::new(CAPACITY);
    let Some([one, three]) = ports(&bench.stage).await.unwrap() else {
        println!("not tried: this system gives nobody a network of his own");
        return;
    };
    assert_eq!(one.held, PORTS, "{one:?}");
    assert!(one.line.as_ref().unwrap().contains("failed (99"), "{one:?}");
    assert_eq!((three.held, three.client), (2 * PORTS, None));
}

#[tokio::test]
async fn a_server_without_memory_dies_and_with_more_holds_them_all() {
    let mut bench = Bench::new(CAPACITY);
    let binary = Path::new(CAPACITY);
    for (mebibytes, is_enough) in [(4, false), (64, true)] {
        let stage = &mut bench.stage;
        if !serve_with_memory(stage, binary, mebibytes * 1024)
            .await
            .unwrap()
        {
            println!("not tried: only Linux says how much memory a process starts with");
            return;
        }
        let url = stage.server_url('A').unwrap();
        let crowd = crowd(&[&url], 500).await;
        assert_eq!(crowd.users.len() == 500, is_enough, "{}", crowd.told());
        let said = is_enough || stage.await_line('A', "memory allocation of").await;
        assert!(said, "with {mebibytes} MiB it ended for another reason");
    }
}
