//! Hostile clients of chapter 1's server, whose limits every chapter's server has.
//!
//! The limits in time are tested with chapter 3's server (`03_slow_clients.rs`), because those tests
//! wait, and so they wait together with others.

use std::{net::SocketAddr, time::Duration};

use harness::{
    attack::{grew_at_most, idle, meanwhile, no_http, raise_limit, resident, send},
    binary::{Running, command},
};
use lab_server::bounds::HEAD_SIZE;

const CHAPTER: &str = env!("CARGO_BIN_EXE_ch01-express-pid");

fn server() -> (Running, SocketAddr) {
    let mut server = Running::start(command(CHAPTER).env("PORT", "0"));
    let line = server.line_with("running on ");
    let port = line.split(' ').nth(3).unwrap().parse().unwrap();
    (server, ([127, 0, 0, 1], port).into())
}

/// A request of a client that behaves.
async fn ask(address: SocketAddr) {
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = send(address, request, Duration::from_secs(5))
        .await
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_http_are_refused_and_disturb_no_other_client() {
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

/// 1,000 heads that never end, each just below the limit.
#[tokio::test(flavor = "multi_thread")]
async fn long_heads_take_no_more_memory_than_the_limit_for_each() {
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
