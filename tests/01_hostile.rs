//! Hostile clients of chapter 1's server, whose limits every chapter's server has.
//!
//! Two tests wait for 30 s each, the time that a client has for the head of a request. They
//! wait at the same time, as tests of one program do.

use std::{net::SocketAddr, time::Duration};

use ch01_express_pid::app;
use harness::{
    attack::{
        all_closed, drip, grew_at_most, idle, meanwhile, no_http, raise_limit, resident, send,
    },
    binary::{Running, command},
};
use lab_server::{
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

/// The same application, served by axum alone.
async fn as_axum_serves_it() -> SocketAddr {
    let listener = listen_on(0).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app()).await });
    address
}

/// A request of a client that behaves.
async fn ask(address: SocketAddr) {
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = send(address, request, Duration::from_secs(5))
        .await
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}

#[tokio::test]
async fn axum_alone_waits_for_a_slow_request_without_end_and_this_server_closes_it() {
    let (_server, ours) = server();
    let axums = as_axum_serves_it().await;
    let begun = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ";
    // Long enough to see that axum does not close it at the same time.
    let longer = HEAD_TIME + Duration::from_secs(3);
    let (by_axum, slow, silent) = tokio::join!(
        drip(axums, begun, b"x", longer),
        drip(ours, begun, b"x", longer),
        drip(ours, b"", b"", longer),
    );
    assert_eq!(by_axum, None, "this is why there is a limit");
    for after in [slow.unwrap(), silent.unwrap()] {
        assert!(after + Duration::from_secs(1) >= HEAD_TIME, "{after:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_connections_disturb_no_other_client_and_are_closed_in_time() {
    let count = raise_limit(10_000, 2);
    let (server, address) = server();
    let before = resident(server.pid());
    let connections = meanwhile(idle(address, count), async || ask(address).await).await;
    // 11 KiB each were measured: hyper's first read buffer, and a task.
    grew_at_most(server.pid(), before, count * 20);
    let closed = all_closed(connections, HEAD_TIME + Duration::from_secs(10));
    assert!(meanwhile(closed, async || ask(address).await).await);
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
