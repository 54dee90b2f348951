//! Strangers: what they send, and what they leave unsaid, costs the others nothing.

use std::{
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::wire::{Wire, server};

/// The longest that somebody who behaves may have to wait, on a machine with other work.
const NOTICEABLE: Duration = Duration::from_secs(5);

/// Publishes to a subscriber again and again while `attack` goes on.
fn meanwhile<T: Send>(addr: SocketAddr, attack: impl FnOnce() -> T + Send) -> T {
    let mut subscriber = Wire::to(addr);
    let mut publisher = Wire::to(addr);
    subscriber.ask(
        "SUBSCRIBE news",
        "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n",
    );
    thread::scope(|scope| {
        let attack = scope.spawn(attack);
        loop {
            let started = Instant::now();
            publisher.ask("PUBLISH news hi", ":1\r\n");
            subscriber.expect("*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$2\r\nhi\r\n");
            assert!(
                started.elapsed() < NOTICEABLE,
                "a message took {:?}",
                started.elapsed()
            );
            if attack.is_finished() {
                return attack.join().unwrap();
            }
        }
    })
}

#[test]
fn nobody_notices_thousands_of_idle_clients() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    )
    .unwrap();
    let allowed = limit.maximum.map_or(usize::MAX, |most| {
        usize::try_from(most).unwrap_or(usize::MAX)
    });
    // Server and clients are one process here, which needs two descriptors for each.
    let count = 5_000.min(allowed / 5);
    println!("{count} clients: this process may have {allowed} descriptors");
    let server = server();
    let addr = server.addr();
    let idle = meanwhile(addr, || {
        (0..count)
            .map(|_| TcpStream::connect(addr).unwrap())
            .collect::<Vec<_>>()
    });
    assert_eq!(idle.len(), count);
    meanwhile(addr, || drop(idle));
}

#[test]
fn requests_that_are_never_finished_wait_beside_those_that_are() {
    let server = server();
    let addr = server.addr();
    let begun = meanwhile(addr, || {
        [
            "*",
            "*3\r\n$7\r\nPUBLISH\r\n",
            "*2\r\n$4\r\nECHO\r\n$67000000\r\nxxx",
            "*1048576\r\n",
            "PUBLISH news \"",
        ]
        .iter()
        .cycle()
        .take(200)
        .map(|bytes| {
            let mut client = Wire::to(addr);
            client.send(bytes);
            client
        })
        .collect::<Vec<_>>()
    });
    meanwhile(addr, || drop(begun));
}

/// Each may send 64 MiB; eight that never finish would have half a gigabyte.
#[test]
fn those_who_begin_too_much_are_dropped_and_a_small_request_goes_through() {
    let server = server();
    let addr = server.addr();
    let part = vec![b'x'; 60 * 1024 * 1024];
    let mut greedy: Vec<_> = (0..8)
        .map(|_| {
            let mut client = Wire::to(addr);
            client.send("*3\r\n$7\r\nPUBLISH\r\n$4\r\nnews\r\n$64000000\r\n");
            client.send_what_is_taken(&part);
            client
        })
        .collect();
    let mut small = Wire::to(addr);
    small.send("*2\r\n$4\r\nECHO\r\n$2\r\n");
    small.send("hi\r\n");
    small.expect("$2\r\nhi\r\n");
    // The last rest of a message ends what its sender began, if it was not dropped.
    let answered = greedy.iter_mut().filter_map(|client| {
        client.send_what_is_taken(&vec![b'x'; 64_000_000 - part.len()]);
        client.send_what_is_taken(b"\r\n");
        client.take(4)
    });
    let answered = answered.count();
    assert!((1..8).contains(&answered), "{answered} of 8");
}

#[test]
fn what_is_no_request_ends_its_own_connection() {
    let server = server();
    let addr = server.addr();
    meanwhile(addr, || {
        let nested = "*1\r\n".repeat(100_000);
        let endless = "x".repeat(200_000);
        for bytes in [
            &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
            b"*1\r\n$-5\r\n",
            b"*-9999999999999999999\r\n",
            b"*1\r\n$99999999999\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\r\n\x00\xff*\r\n",
            nested.as_bytes(),
            endless.as_bytes(),
        ] {
            for _ in 0..20 {
                let mut client = Wire::to(addr);
                client.send_what_is_taken(bytes);
                let answer = client.finish_whatever_was_taken();
                assert!(answer.is_empty() || answer.starts_with('-'), "{answer:?}");
            }
        }
    });
}
