//! Who gets which messages, in which order.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use crate::wire::{Wire, server};

fn subscriber(addr: SocketAddr) -> Wire {
    let mut subscriber = Wire::to(addr);
    subscriber.ask(
        "SUBSCRIBE news",
        "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n",
    );
    subscriber
}

/// Reads a message in RESP2 and returns its content.
fn read_message(subscriber: &mut Wire) -> String {
    subscriber.expect("*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n");
    subscriber.read_bulk()
}

#[test]
fn three_hundred_broadcasts_at_once_reach_every_subscriber_in_order() {
    let server = server();
    let mut subscribers: Vec<Wire> = (0..5).map(|_| subscriber(server.addr())).collect();
    let mut publisher = Wire::to(server.addr());
    let requests: Vec<String> = (0..300).map(|n| format!("PUBLISH news {n}\r\n")).collect();
    publisher.send(requests.concat());
    publisher.expect(&":5\r\n".repeat(300));
    for subscriber in &mut subscribers {
        for n in 0..300 {
            assert_eq!(read_message(subscriber), n.to_string());
        }
    }
}

#[test]
fn the_messages_of_each_publisher_keep_their_order_among_those_of_others() {
    let server = server();
    let mut subscribers: Vec<Wire> = (0..3).map(|_| subscriber(server.addr())).collect();
    let publishers: Vec<_> = (0..3)
        .map(|publisher| {
            let mut wire = Wire::to(server.addr());
            thread::spawn(move || {
                for n in 0..300 {
                    wire.ask(&format!("PUBLISH news {publisher}-{n}"), ":3\r\n");
                }
            })
        })
        .collect();
    for publisher in publishers {
        publisher.join().unwrap();
    }
    for subscriber in &mut subscribers {
        let mut next = [0; 3];
        for _ in 0..900 {
            let message = read_message(subscriber);
            let (publisher, n) = message.split_once('-').unwrap();
            let next = &mut next[publisher.parse::<usize>().unwrap()];
            assert_eq!(n, next.to_string());
            *next += 1;
        }
    }
}

#[test]
fn a_slow_subscriber_is_dropped_and_costs_the_others_nothing() {
    let server = server();
    let mut slow = subscriber(server.addr());
    let mut fast = subscriber(server.addr());
    let mut publisher = Wire::to(server.addr());
    let megabyte = "x".repeat(1024 * 1024);
    let publish = format!("*3\r\n$7\r\nPUBLISH\r\n$4\r\nnews\r\n$1048576\r\n{megabyte}\r\n");

    // 64 MB: what Redis holds back for a subscriber is 32, and the kernel's buffers
    // take some.
    let mut receivers = Vec::new();
    for _ in 0..64 {
        publisher.send(&publish);
        assert_eq!(read_message(&mut fast), megabyte);
        receivers.push(publisher.read_integer());
    }
    let slow_ones = receivers
        .iter()
        .take_while(|&&receivers| receivers == 2)
        .count();
    assert!((32..64).contains(&slow_ones), "{receivers:?}");
    assert!(
        receivers[slow_ones..]
            .iter()
            .all(|&receivers| receivers == 1),
        "{receivers:?}"
    );

    let received = slow.read_to_end();
    assert!(received.len() < slow_ones * publish.len());
    publisher.say("INFO stats");
    let stats = publisher.read_bulk();
    assert!(
        stats.contains("client_output_buffer_limit_disconnections:1\r\n"),
        "{stats}"
    );
}

#[test]
fn a_large_message_arrives_whole_in_small_pieces() {
    let server = server();
    let mut subscriber = subscriber(server.addr());
    let mut publisher = Wire::to(server.addr());
    let content = "0123456789".repeat(50_000);
    let request = format!("*3\r\n$7\r\nPUBLISH\r\n$4\r\nnews\r\n$500000\r\n{content}\r\n");
    for piece in request.as_bytes().chunks(997) {
        publisher.send(piece);
    }
    publisher.expect(":1\r\n");
    assert_eq!(read_message(&mut subscriber), content);
}

#[test]
fn a_long_pipeline_is_answered_to_a_client_that_reads_meanwhile() {
    let server = server();
    let mut client = Wire::to(server.addr());
    let mut reader = client.reader();
    let content = "x".repeat(60_000);
    // 60 MB of answers, more than any client may be behind.
    let writer = thread::spawn({
        let request = format!("ECHO {content}\r\n");
        move || (0..1000).for_each(|_| client.send(&request))
    });
    for _ in 0..1000 {
        assert_eq!(reader.read_bulk(), content);
    }
    writer.join().unwrap();
}

#[test]
fn a_client_that_sends_without_a_pause_leaves_the_others_their_turn() {
    let server = server();
    let mut busy = Wire::to(server.addr());
    let mut other = Wire::to(server.addr());
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        // Empty lines are read like commands, and have no answer that would pile up.
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                busy.send("\r\n".repeat(50_000));
            }
        });
        let asked = scope
            .spawn(|| (0..100).for_each(|_| other.ask("PING", "+PONG\r\n")))
            .join();
        done.store(true, Ordering::Relaxed);
        asked.unwrap();
    });
}

#[test]
fn a_monitor_sees_each_publish_and_is_no_subscriber() {
    let server = server();
    let mut monitor = Wire::to(server.addr());
    monitor.ask("MONITOR", "+OK\r\n");
    let mut publisher = Wire::to(server.addr());
    publisher.ask("PUBLISH news hi", ":0\r\n");
    let line = monitor.read_line();
    assert!(line.ends_with("\"PUBLISH\" \"news\" \"hi\""), "{line}");
}
