//! Chapter 6: what a socket that is open and says nothing costs its server.
//!
//! All in one test: it reads the memory of its own process, in which nothing else may go on.

// All of this file is a test, its helpers too.
#![allow(clippy::unwrap_used)]

mod harness;

use std::{future::pending, net::SocketAddr, process};

use axum::{Router, middleware::map_request};
use ch01_express_pid::bounds::serve_bounded;
use ch03_socket_polling::bounds::bounded;
use ch06_full_stack::lean::{READ_BUFFER, keep_little};
use harness::{attack::resident, bench::Bench};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const CHAPTER: &str = env!("CARGO_BIN_EXE_ch06-full-stack");

const SOCKETS: usize = 500;

/// What a browser may send along: a cookie may have 4 KiB (RFC 6265, section 6.1).
const COOKIE: usize = 4_000;

#[tokio::test]
async fn a_request_that_is_kept_keeps_the_buffer_it_was_read_into_and_a_copy_does_not() {
    if resident(process::id()).is_none() {
        println!("not tested: only /proc says how much memory a process holds");
        return;
    }
    let (layer, io) = bounded().ws_read_buffer_size(READ_BUFFER).build_layer();
    io.ns("/", async || {});
    let as_it_comes = serve(Router::new().layer(layer.clone())).await;
    let lean = serve(Router::new().layer(layer).layer(map_request(keep_little))).await;
    // What there is once, whatever comes: not to be counted.
    let _first = [open(as_it_comes, COOKIE).await, open(lean, COOKIE).await];

    // All stay open, so that nobody takes the memory that others leave.
    let (plain_kept, _open) = cost_of_each(as_it_comes, 0).await;
    let (cookie_kept, _open) = cost_of_each(as_it_comes, COOKIE).await;
    let (plain, _open) = cost_of_each(lean, 0).await;
    let (cookie, _open) = cost_of_each(lean, COOKIE).await;
    println!("KiB a socket: {plain_kept:.1}, with a cookie {cookie_kept:.1}");
    println!("with a copy: {plain:.1}, with a cookie {cookie:.1}");
    assert!(plain_kept > plain + 2.0);
    assert!(cookie_kept > cookie + 6.0);
    assert!(plain < 20.0 && cookie < 20.0);

    let mut bench = Bench::new(CHAPTER);
    let environment = [("ADAPTER", "off")];
    bench.stage.start_servers(1, &environment).await.unwrap();
    let chapter = Server {
        address: bench.stage.server_addresses()[0],
        process: bench.stage.server_pid('A').unwrap(),
        hello: r#"40{"user":"a"}"#,
    };
    let _first = [open(chapter, 0).await, open(chapter, COOKIE).await];
    let (plain, _open) = cost_of_each(chapter, 0).await;
    let (cookie, _open) = cost_of_each(chapter, COOKIE).await;
    println!("the chapter's server: {plain:.1}, with a cookie {cookie:.1}");
    assert!(
        cookie < plain + 2.0,
        "the chapter's server keeps its clients' cookies: {cookie:.1} KiB in place of {plain:.1}"
    );
}

/// To be run beside a server under heaptrack; chapter 6's README says how.
#[tokio::test]
#[ignore = "opens two thousand sockets to a server on port 8000"]
async fn sockets_for_a_heap_profile() {
    let server = Server {
        address: ([127, 0, 0, 1], 8000).into(),
        process: process::id(),
        hello: r#"40{"user":"a"}"#,
    };
    let mut sockets = Vec::new();
    for _ in 0..2000 {
        sockets.push(open(server, 0).await);
    }
}

/// A server, and the process whose memory is looked at.
#[derive(Clone, Copy)]
struct Server {
    address: SocketAddr,
    process: u32,
    /// What joins the namespace.
    hello: &'static str,
}

/// Serves within this process.
async fn serve(app: Router) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve_bounded(listener, app, pending()));
    Server {
        address,
        process: process::id(),
        hello: "40",
    }
}

/// Opens sockets; the KiB that each has added to the server's process. If that is this one,
/// the client's end is included.
async fn cost_of_each(server: Server, cookie: usize) -> (f64, Vec<TcpStream>) {
    let mut sockets = Vec::with_capacity(SOCKETS);
    let before = resident(server.process).unwrap();
    for _ in 0..SOCKETS {
        sockets.push(open(server, cookie).await);
    }
    let grown = resident(server.process).unwrap() - before;
    (grown as f64 / SOCKETS as f64, sockets)
}

/// A WebSocket whose namespace is joined; its request has a cookie of so many bytes.
async fn open(server: Server, cookie: usize) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = format!(
        "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {}\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Cookie: {}\r\n\r\n",
        server.address,
        "x".repeat(cookie)
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    until(&mut stream, "\"maxPayload\":").await;
    // As a text frame, masked with zeros (RFC 6455, section 5.3).
    let length = 0x80 | u8::try_from(server.hello.len()).unwrap();
    let join = [&[0x81, length, 0, 0, 0, 0], server.hello.as_bytes()].concat();
    stream.write_all(&join).await.unwrap();
    until(&mut stream, "40{\"sid\":").await;
    stream
}

async fn until(stream: &mut TcpStream, wanted: &str) {
    let mut heard = Vec::new();
    while !String::from_utf8_lossy(&heard).contains(wanted) {
        let read = stream.read_buf(&mut heard).await.unwrap();
        assert!(
            read > 0,
            "closed after {:?}",
            String::from_utf8_lossy(&heard)
        );
    }
}
