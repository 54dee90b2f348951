//! Chapter 6: what so many sockets need, by arithmetic.

// All of this file is a test, its helpers too.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "harness/binary.rs"]
mod binary;

use binary::{command, is_refused, run};
use ch06_full_stack::capacity::{Capacity, DELIVERIES};
use clap::Parser;

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
        ("--memory 36MiB", ("memory", 1_025)),
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
}

#[test]
fn what_makes_no_sense_is_refused() {
    is_refused(command(CAPACITY).args(["--sockets", "0"]), 2, &["0"]);
    let much = ["--sockets", "9", "--memory", "8 pounds"];
    is_refused(command(CAPACITY).args(much), 2, &["8GiB"]);
    let many = ["--sockets", "9", "--receivers", "10"];
    is_refused(command(CAPACITY).args(many), 1, &["--receivers 10"]);
}
