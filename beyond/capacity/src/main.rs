//! What limits the number of open sockets?
//!
//! ```text
//! cargo run -p capacity                                        each limit, reached and lifted
//! cargo run -p capacity -- memory                              one of them
//! cargo run -p capacity -- --check                             all of them; exits 0 or 1
//! cargo run -p capacity -- --sockets 100000 --messages 50      starts nothing: what 100,000 sockets need
//! ```

use std::process::ExitCode;

use capacity::{
    arithmetic::Capacity,
    experiments::{connections, descriptors, memory, outgoing_ports},
    ports, serve,
};
use lab::Lesson;

fn main() -> ExitCode {
    Lesson::new("Capacity: what limits the number of open sockets?", serve)
        .intro(
            "Each limit is made so small that dozens or hundreds of sockets reach it. Then it is\n\
             lifted. The order is the one in which 30,000 sockets usually reach them.\n\n",
        )
        .with_program(ports::PROGRAM, ports::in_a_network_of_its_own)
        .with(
            "descriptors",
            "A server that may have 64 descriptors, and one that may have 200",
            descriptors,
        )
        .with(
            "connections",
            "An nginx worker with 32 connections, and one with 200",
            connections,
        )
        .with(
            "outgoing-ports",
            "A network with 8 ports for outgoing connections",
            outgoing_ports,
        )
        .with(
            "memory",
            "A server that may use 4 MiB more than at its start, and one that may use 64",
            memory,
        )
        .by_hand(async |_stage| {
            Ok(
                "What 100,000 sockets need, and which limit they reach first\n\n  \
                 cargo run -p capacity -- --sockets 100000 --messages 50"
                    .to_owned(),
            )
        })
        .run_with(|capacity: Capacity| {
            capacity
                .is_asked_for()
                .then(|| lab::exit_code(capacity.report().map(lab_server::log)))
        })
}
