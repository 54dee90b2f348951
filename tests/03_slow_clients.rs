//! Clients that are slow, or send nothing: the limits in time that every server of this workspace has.
//!
//! Two tests wait for 30 s each, the time that a client has for the head of a request. They
//! wait together with the other slow tests of this program.

use std::{net::SocketAddr, time::Duration};

use axum::{Router, routing::get};
use harness::{
    attack::{all_closed, drip, grew_at_most, idle, meanwhile, raise_limit, resident, send},
    binary::{Running, command},
};
use lab_server::{bounds::HEAD_TIME, listen_on};

const CHAPTER: &str = env!("CARGO_BIN_EXE_ch03-socket-polling");

fn server() -> (Running, SocketAddr) {
    let mut server = Running::start(command(CHAPTER).env("PORT", "0"));
    let line = server.line_with("running on ");
    let port = line.split(' ').nth(4).unwrap().parse().unwrap();
    (server, ([127, 0, 0, 1], port).into())
}

/// A server of axum alone.
async fn as_axum_serves_it() -> SocketAddr {
    let app = Router::new().route("/", get(async || "hi"));
    let listener = listen_on(0).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// A request of a client that behaves.
async fn ask(address: SocketAddr) {
    // Not the page itself: npm may have to fetch its client first.
    let request = b"GET /elements.js HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
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
