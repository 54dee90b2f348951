//! Chapter 1's server, to which every chapter's requests come, and strangers.

// All of this file is a test, its helpers too.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "harness/attack.rs"]
mod attack;
#[allow(dead_code)]
#[path = "harness/binary.rs"]
mod binary;

use std::{net::SocketAddr, time::Duration};

use attack::{
    all_closed, drip, grew_at_most, idle, meanwhile, no_http, raise_limit, resident, send,
};
use binary::{Running, command};
use ch01_express_pid::{
    app,
    bounds::{HEAD_SIZE, HEAD_TIME},
    listen_on,
};

const CHAPTER: &str = env!("CARGO_BIN_EXE_ch01-express-pid");

fn server() -> (Running, SocketAddr) {
    let mut server = Running::start(command(CHAPTER).env("PORT", "0"));
    let line = server.line_with("running on ");
    let port = line.split(' ').nth(3).unwrap().parse().unwrap();
    (server, ([127, 0, 0, 1], port).into())
}

/// The same application as axum serves it by itself.
async fn as_axum_serves_it() -> SocketAddr {
    let listener = listen_on(0).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app()).await });
    address
}

/// Somebody who behaves.
async fn ask(address: SocketAddr) {
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = send(address, request, Duration::from_secs(5))
        .await
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}

#[tokio::test]
async fn axum_waits_for_ever_for_a_request_that_was_begun_and_this_server_does_not() {
    let (_server, ours) = server();
    let axums = as_axum_serves_it().await;
    let patience = HEAD_TIME + Duration::from_secs(10);
    let begun = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ";
    let (by_axum, by_us, says_nothing) = tokio::join!(
        drip(axums, begun, b"x", patience),
        drip(ours, begun, b"x", patience),
        drip(ours, b"", b"", patience),
    );
    assert_eq!(by_axum, None, "this is what the bound is for");
    for after in [by_us.unwrap(), says_nothing.unwrap()] {
        assert!(after + Duration::from_secs(1) >= HEAD_TIME, "{after:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_ten_thousand_idle_connections_nobody_notices_anything_and_they_are_let_go() {
    let count = raise_limit(10_000, 2);
    let (server, address) = server();
    let before = resident(server.pid());
    let connections = meanwhile(idle(address, count), async || ask(address).await).await;
    // 11 KiB each were measured: hyper's first read buffer, and a task.
    grew_at_most(server.pid(), before, count * 20);
    let patience = HEAD_TIME + Duration::from_secs(10);
    let closed = all_closed(connections, patience);
    assert!(meanwhile(closed, async || ask(address).await).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http_is_refused_and_costs_nobody_anything() {
    let (server, address) = server();
    let before = resident(server.pid());
    let attack = async move {
        for _ in 0..20 {
            for bytes in no_http() {
                let answer = send(address, &bytes, Duration::from_secs(5)).await;
                let answer = answer.unwrap_or_else(|| {
                    panic!(
                        "it stays open: {:?}",
                        String::from_utf8_lossy(&bytes[..60.min(bytes.len())])
                    )
                });
                assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
            }
        }
    };
    meanwhile(attack, async || ask(address).await).await;
    grew_at_most(server.pid(), before, 16 * 1024);
}

/// 1,000 heads that are each just not too long, and never end.
#[tokio::test(flavor = "multi_thread")]
async fn long_heads_take_no_more_than_what_was_set_aside_for_each() {
    let count = raise_limit(1_000, 4);
    let (server, address) = server();
    let before = resident(server.pid());
    let begun = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(HEAD_SIZE - 100));
    let attack = async move {
        let mut connections = idle(address, count).await;
        for connection in &mut connections {
            tokio::io::AsyncWriteExt::write_all(connection, begun.as_bytes())
                .await
                .unwrap();
        }
        connections
    };
    let _held = meanwhile(attack, async || ask(address).await).await;
    grew_at_most(server.pid(), before, count * 3 * HEAD_SIZE / 1024);
}
