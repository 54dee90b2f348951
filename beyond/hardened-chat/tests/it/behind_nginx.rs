//! Nothing that one client sends makes nginx give up a server.
//!
//! nginx gives up a server that did not answer, for `fail_timeout`. So one client could take the
//! service from all others.

use std::{net::Ipv4Addr, net::SocketAddr};

use futures_util::{StreamExt, stream::iter};
use harness::{
    attack::{meanwhile, no_http, send},
    bench::Bench,
    frames::{Frames, no_packets},
};
use lab::{
    Client,
    client::{PATIENCE, Polling},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{ALONE, hostile::CHAT};

/// A file that every server has.
const FILE: &str = "/chat.css";

/// nginx passes on at most 1 MiB (`client_max_body_size`).
const LONG: usize = 1_000_000;

/// The address of the hostile client, as a header.
const MALLORY: &str = "X-Forwarded-For: 10.66.0.1";

/// How nginx speaks to the servers.
#[derive(Clone, Copy, Debug)]
enum Speaks {
    AsInChapter6,
    Http10,
    OverKeptConnections,
    WithoutBuffering,
}

/// Chapter 6's config, in which one failure is enough to give up a server until the test ends.
fn edit(config: &str, speaks: Speaks) -> String {
    let strict = [8000, 8001, 8002]
        .into_iter()
        .fold(config.to_owned(), |config, port| {
            let server = format!("server 127.0.0.1:{port}");
            config.replace(&server, &format!("{server} max_fails=1 fail_timeout=1h"))
        });
    match speaks {
        Speaks::AsInChapter6 => strict,
        Speaks::Http10 => strict.replace("proxy_http_version 1.1;", "proxy_http_version 1.0;"),
        Speaks::OverKeptConnections => strict
            .replace("ip_hash;", "ip_hash; keepalive 8;")
            .replace("\"\"      close;", "\"\"      \"\";"),
        Speaks::WithoutBuffering => strict.replace(
            "location / {",
            "location / { proxy_request_buffering off; proxy_buffering off;",
        ),
    }
}

#[derive(Clone, Copy)]
enum Body {
    None,
    Length(usize),
    Chunked(usize),
    /// The client says that it waits for `100 Continue`.
    Expecting(usize),
}

/// A request of the hostile client. nginx closes its connection afterwards.
fn request(method: &str, target: &str, version: &str, body: Body) -> Vec<u8> {
    let head = format!(
        "{method} {target} HTTP/{version}\r\nHost: localhost\r\n{MALLORY}\r\nConnection: close\r\n"
    );
    let (framing, body) = match body {
        Body::None => ("\r\n".to_owned(), String::new()),
        Body::Length(length) => (
            format!("Content-Length: {length}\r\n\r\n"),
            "4".repeat(length),
        ),
        Body::Expecting(length) => (
            format!("Expect: 100-continue\r\nContent-Length: {length}\r\n\r\n"),
            "4".repeat(length),
        ),
        Body::Chunked(length) => (
            "Transfer-Encoding: chunked\r\n\r\n".to_owned(),
            format!("{length:x}\r\n{}\r\n0\r\n\r\n", "4".repeat(length)),
        ),
    };
    format!("{head}{framing}{body}").into_bytes()
}

/// Requests without a session, and to a session that the server does not know.
fn without_a_session() -> Vec<Vec<u8>> {
    let engine = "/socket.io/?EIO=4&transport=polling";
    let unknown = format!("{engine}&sid=AAAAAAAAAAAAAAAA");
    let mut all = Vec::new();
    for method in [
        "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "NONSENSE",
    ] {
        for target in ["/", "/nowhere", FILE, "/socket.io/", engine, &unknown] {
            all.push(request(method, target, "1.1", Body::None));
            all.push(request(method, target, "1.1", Body::Length(60_000)));
        }
    }
    for target in ["/", "/nowhere", FILE, "/socket.io/", engine, &unknown] {
        for body in [
            Body::Length(LONG),
            Body::Chunked(LONG),
            Body::Expecting(LONG),
        ] {
            all.push(request("POST", target, "1.1", body));
        }
        all.push(request("POST", target, "1.0", Body::Length(LONG)));
    }
    // More than a server takes, and less than nginx takes.
    let header = format!("X: {}\r\n", "x".repeat(7_000));
    all.push(
        format!(
            "GET / HTTP/1.1\r\nHost: localhost\r\n{MALLORY}\r\nConnection: close\r\n{}\r\n",
            header.repeat(3)
        )
        .into_bytes(),
    );
    // nginx would wait for the end of a head.
    all.extend(
        no_http()
            .into_iter()
            .map(|bytes| [&bytes, &b"\r\n\r\n"[..]].concat()),
    );
    all
}

/// Requests that ask for a WebSocket. Some of them are wrong.
fn handshakes() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for handshake in [
        "Upgrade: websocket",
        "Upgrade: h2c",
        "Upgrade: websocket\r\nSec-WebSocket-Version: 99\r\nSec-WebSocket-Key: x",
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: \
         dGhlIHNhbXBsZSBub25jZQ==\r\nContent-Length: 3\r\n\r\nabc",
    ] {
        for sid in ["", "&sid=AAAAAAAAAAAAAAAA"] {
            for target in [
                "/",
                "/socket.io/?EIO=4&transport=websocket",
                "/socket.io/?EIO=4&transport=polling",
            ] {
                all.push(
                    format!(
                        "GET {target}{sid} HTTP/1.1\r\nHost: localhost\r\n{MALLORY}\r\n\
                         Connection: close, Upgrade\r\n{handshake}\r\n\r\n"
                    )
                    .into_bytes(),
                );
            }
        }
    }
    all
}

/// Sends bytes, and breaks the connection after the first bytes of the answer.
async fn begin(address: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let answered = timeout(PATIENCE, stream.read(&mut [0; 100])).await;
    answered.expect("an answer").unwrap();
}

async fn attack(nginx: SocketAddr, speaks: Speaks) {
    let long_wait = 2 * PATIENCE;
    let requests = iter(without_a_session());
    requests
        .for_each_concurrent(8, async |bytes| {
            let begin = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
            let answer = send(nginx, &bytes, long_wait).await;
            assert!(answer.is_some(), "no end of {begin}");
        })
        .await;
    for bytes in handshakes() {
        begin(nginx, &bytes).await;
    }
    let mallory = Client::at(
        "mallory",
        &format!("http://{nginx}"),
        Ipv4Addr::new(10, 66, 0, 1),
    );
    let bodies = [
        Body::Length(LONG),
        Body::Chunked(LONG),
        Body::Expecting(LONG),
    ];
    for body in bodies {
        let polling = Polling::open(&mallory).await.unwrap();
        let own = format!(
            "/socket.io/?EIO=4&transport=polling&sid={}",
            polling.open.sid
        );
        let answer = send(nginx, &request("POST", &own, "1.1", body), long_wait).await;
        assert!(answer.is_some_and(|answer| answer.contains(" 413 ")));
    }
    for packet in no_packets() {
        let polling = Polling::open(&mallory).await.unwrap();
        let own = format!(
            "/socket.io/?EIO=4&transport=polling&sid={}",
            polling.open.sid
        );
        let _answer = mallory.post(&own, packet.clone()).await;
        // A WebSocket needs HTTP/1.1 on each part of the way.
        let frames = Frames::asked(nginx).await;
        assert_eq!(frames.is_none(), matches!(speaks, Speaks::Http10));
        if let Some(mut frames) = frames {
            frames.text(packet.as_bytes()).await;
            frames.frame(0x82, packet.as_bytes()).await;
            frames.bytes(b"no frame").await;
        }
    }
}

/// One client for each server, with an address that `ip_hash` sends there.
async fn bystanders(url: &str, servers: &[SocketAddr]) -> Vec<(Client, SocketAddr)> {
    let mut bystanders: Vec<(Client, SocketAddr)> = Vec::new();
    for third in 0..=255 {
        let client = Client::at("bystander", url, Ipv4Addr::new(10, 0, third, 1));
        let server = client.get_once(FILE).await.unwrap().server().unwrap();
        if bystanders.iter().all(|(_, other)| *other != server) {
            bystanders.push((client, server));
        }
    }
    assert_eq!(bystanders.len(), servers.len(), "one for each server");
    bystanders
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_one_client_sends_makes_nginx_give_up_a_server() {
    let _alone = ALONE.lock().await;
    for speaks in [
        Speaks::AsInChapter6,
        Speaks::Http10,
        Speaks::OverKeptConnections,
        Speaks::WithoutBuffering,
    ] {
        let mut bench = Bench::with_servers(CHAT, &[("ADAPTER", "off")]).await;
        let url = bench
            .nginx_with("06-full-stack.conf", |config| edit(config, speaks))
            .await;
        let nginx = url.trim_start_matches("http://").parse().unwrap();
        let bystanders = bystanders(&url, &bench.stage.servers.addresses()).await;
        let ask = async || {
            for (client, server) in &bystanders {
                let answer = client.get_once(FILE).await.unwrap();
                assert_eq!(
                    (answer.status, &answer.tried),
                    (200, &vec![*server]),
                    "{speaks:?}"
                );
            }
        };
        meanwhile(attack(nginx, speaks), ask).await;
    }
}
