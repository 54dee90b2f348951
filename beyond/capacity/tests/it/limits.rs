//! What a number of sockets needs, by arithmetic; and each limit, reached and lifted on a stage.

use capacity::{
    CONFIG, SHORTAGE,
    arithmetic::{Capacity, DELIVERIES},
    open,
    ports::{PORTS, ports},
    start_with_descriptors, start_with_memory, with_connections,
};
use clap::Parser;
use harness::{
    attack::{NOTICEABLE, idle},
    bench::Bench,
    binary::{Running, command, is_refused, run},
    untested,
};
use lab::{Event, Stage, event::Part};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

const CAPACITY: &str = env!("CARGO_BIN_EXE_capacity");

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    capacity: Capacity,
}

fn capacity(line: &str) -> Capacity {
    let words = std::iter::once("capacity").chain(line.split(' '));
    Line::try_parse_from(words).unwrap().capacity
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
        ("--local-ports 10", ("ports, nginx to the servers", 30)),
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
    // A message to few clients costs Redis the same: every server gets it.
    assert_eq!(room.from_redis(), all.from_redis());
}

#[test]
fn the_report_names_what_it_assumes_and_what_is_full_first() {
    let outcome = run(command(CAPACITY).args(["--sockets", "100000", "--messages", "50"]));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let full = "full first: descriptors of the servers, at 59700 sockets";
    assert!(outcome.stdout.contains(full), "{outcome:?}");
    let slow = format!(
        "too slow: the deliveries need {} servers, and there are 3",
        5_000_000_u64.div_ceil(DELIVERIES)
    );
    assert!(outcome.stdout.contains(&slow), "{outcome:?}");
    let words: Vec<_> = outcome.stdout.split_whitespace().collect();
    let said = words.join(" ");
    for assumed in [
        "memory 8192 MiB --memory",
        "descriptors 20000 --descriptors",
        "workers of nginx 8 --workers: 19900 connections each",
        "ports 28232 --local-ports",
    ] {
        assert!(said.contains(assumed), "no {assumed:?} in {said}");
    }
    assert!(
        outcome
            .stdout
            .lines()
            .all(|line| line.chars().count() <= 80),
        "{}",
        outcome.stdout
    );

    let silent = run(command(CAPACITY).args(["--sockets", "1", "--servers", "1"]));
    assert!(!silent.stdout.contains("deliveries"), "{silent:?}");
    let one = "1 socket on 1 server behind nginx";
    assert!(silent.stdout.starts_with(one), "{silent:?}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    is_refused(command(CAPACITY).args(["--sockets", "0"]), 2, &["0"]);
    // This asks for arithmetic too, and the error says what is missing.
    let missing = ["--sockets <SOCKETS>"];
    is_refused(command(CAPACITY).args(["--messages", "50"]), 2, &missing);
    let much = ["--sockets", "9", "--memory", "8 pounds"];
    is_refused(command(CAPACITY).args(much), 2, &["8GiB"]);
    let many = ["--sockets", "9", "--receivers", "10"];
    is_refused(command(CAPACITY).args(many), 1, &["--receivers 10"]);
}

// ---- on a stage ----

/// What is said only on Linux, on systems that allow a network of one's own.
const OF_PORTS: [&str; 2] = [
    "HTTP status 502",
    "failed (99: Cannot assign requested address) while connecting to upstream",
];

#[test]
fn every_limit_is_reached_and_lifted_with_the_errors_that_the_readme_quotes() {
    let outcome = run(command(CAPACITY).args(["--check", "--ports", "auto"]));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let readme = include_str!("../../README.md");
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
            readme.contains(&format!("`{error}`")),
            "no {error} in the README"
        );
        assert!(outcome.stdout.contains(error), "no {error} in {outcome:?}");
    }
    the_printed_command_works(&outcome.stdout);
}

/// The command that the stage prints when the server without memory has died.
fn the_printed_command_works(stdout: &str) {
    if stdout.contains("Not shown: only Linux") {
        return;
    }
    let line = stdout.lines().find(|line| line.contains("MORE_MEMORY="));
    let line = line.expect("a command that brings the server back").trim();
    let settings = line.strip_suffix(" cargo run -p capacity").unwrap();
    let settings = settings
        .split(' ')
        .map(|word| word.split_once('=').unwrap());
    let mut server = Running::start(command(CAPACITY).envs(settings));
    server.line_with("running on");
}

/// A server that may have that many descriptors. Returns its URL.
async fn server(stage: &mut Stage, descriptors: usize) -> String {
    start_with_descriptors(stage, descriptors).await.unwrap();
    stage.servers.url('A').unwrap()
}

#[tokio::test]
async fn a_server_without_descriptors_accepts_new_sockets_once_some_are_free() {
    let mut bench = Bench::new(CAPACITY);
    let url = server(&mut bench.stage, 64).await;
    let mut full = open(&[&url], 64).await;
    assert!(
        full.error.is_some() && full.users.len() > 40,
        "{}",
        full.users.len()
    );
    assert!(bench.stage.servers.await_line('A', SHORTAGE).await);
    full.users.truncate(20);
    assert_eq!(open(&[&url], 10).await.users.len(), 10);

    let url = server(&mut bench.stage, 200).await;
    assert_eq!(open(&[&url], 64).await.users.len(), 64);
}

#[tokio::test]
async fn a_server_without_descriptors_says_so_once_while_clients_come_and_go() {
    let mut bench = Bench::new(CAPACITY);
    server(&mut bench.stage, 64).await;
    let address = bench.stage.servers.addresses()[0];
    // More than it can accept. The last ones wait, in the order in which they came.
    let mut clients = idle(address, 70).await;
    assert!(bench.stage.servers.await_line('A', SHORTAGE).await);
    let mut accepted = 0;
    while answers(&mut clients[accepted]).await {
        accepted += 1;
    }
    assert!(accepted > 40, "{accepted} were accepted");
    // Each client that leaves makes room for the next one. Then no descriptor is free again.
    for number in 0..5 {
        drop(clients.remove(0));
        assert!(
            hears(&mut clients[accepted - 1]).await,
            "after {number} were gone"
        );
        ask(&mut clients[accepted]).await;
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

/// How often server A has said that it accepts no more connections.
fn shortages(stage: &Stage) -> usize {
    let events = stage.observer().so_far().into_iter();
    let said = events.filter(|observed| {
        matches!(&observed.event, Event::Said { part: Part::Server('A'), line }
            if line.contains(SHORTAGE))
    });
    said.count()
}

#[tokio::test]
async fn an_nginx_worker_needs_two_connections_for_a_socket() {
    let mut bench = Bench::with_servers(CAPACITY, &[("ADAPTER", "off")]).await;
    let url = bench
        .nginx_with(CONFIG, |config| with_connections(config, 32))
        .await;
    let full = open(&[&url], 64).await;
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
    assert_eq!(open(&[&url], 64).await.users.len(), 64);
}

#[tokio::test]
async fn nginx_has_as_many_ports_for_each_server_as_there_are() {
    let bench = Bench::new(CAPACITY);
    let Some([one, three]) = ports(&bench.stage).await.unwrap() else {
        untested(
            "the ports from nginx to a server",
            "this system does not allow `unshare -Urn`",
        );
        return;
    };
    assert_eq!(one.open, PORTS, "{one:?}");
    assert!(one.line.as_ref().unwrap().contains("failed (99"), "{one:?}");
    assert_eq!((three.open, three.client), (2 * PORTS, None));
}

#[tokio::test]
async fn a_server_without_memory_dies_and_with_more_holds_them_all() {
    let mut bench = Bench::new(CAPACITY);
    for (mebibytes, is_enough) in [(4, false), (64, true)] {
        let stage = &mut bench.stage;
        if !start_with_memory(stage, mebibytes * 1024).await.unwrap() {
            untested(
                "a server without memory",
                "only Linux tells how much memory a process has",
            );
            return;
        }
        let url = stage.servers.url('A').unwrap();
        let opened = open(&[&url], 500).await;
        assert_eq!(opened.users.len() == 500, is_enough, "{}", opened.told());
        let said = is_enough || stage.servers.await_line('A', "memory allocation of").await;
        assert!(said, "with {mebibytes} MiB it failed for another reason");
    }
}
