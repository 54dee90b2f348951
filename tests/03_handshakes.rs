//! Which requests open a WebSocket, and what the others are told.

use std::net::SocketAddr;

use harness::{attack::head, bench::Bench};
use lab::{
    Client, Socket, Transport,
    client::{Packet, Polling, WebSocket},
};
use lab_server::{bounds::serve_bounded, listen_on};

use crate::CHAPTER;

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const VERSION: &str = "Sec-WebSocket-Version: 13\r\n";
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\n";

/// The first words of the answer to a request for a WebSocket.
async fn asked(address: SocketAddr, version: &str, query: &str, headers: &str) -> String {
    let request = format!(
        "GET /socket.io/?EIO=4&transport=websocket{query} HTTP/{version}\r\nHost: x\r\n{headers}\r\n"
    );
    let head = head(address, request.as_bytes()).await;
    println!("{request}{head}");
    head[9..12].to_owned()
}

/// Requests that RFC 6455, section 4.2.1 does not allow: the version of HTTP, and the headers.
fn broken() -> Vec<(&'static str, String)> {
    let but = |upgrade: &str, key: &str, version: &str| ("1.1", format!("{upgrade}{key}{version}"));
    vec![
        // nginx sends these two, if it is not told to pass the headers on.
        ("1.0", format!("Connection: close\r\n{KEY}{VERSION}")),
        but("Connection: close\r\n", KEY, VERSION),
        but("Upgrade: websocket\r\n", KEY, VERSION),
        but("Connection: Upgrade\r\n", KEY, VERSION),
        but("Connection: Upgrade\r\nUpgrade: h2c\r\n", KEY, VERSION),
        but(UPGRADE, KEY, ""),
        but(UPGRADE, KEY, "Sec-WebSocket-Version: 99\r\n"),
        but(UPGRADE, "Sec-WebSocket-Key: x\r\n", VERSION),
        but(UPGRADE, "Sec-WebSocket-Key: \r\n", VERSION),
        // 18 bytes, not 16.
        but(
            UPGRADE,
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZTEx\r\n",
            VERSION,
        ),
    ]
}

async fn chapter() -> (Bench, SocketAddr) {
    let mut bench = Bench::new(CHAPTER);
    bench.stage.servers.start(1, &[]).await.unwrap();
    let address = bench.stage.servers.addresses()[0];
    (bench, address)
}

#[tokio::test]
async fn a_websocket_that_cannot_begin_is_refused_with_400() {
    let (_bench, address) = chapter().await;
    for (version, headers) in broken() {
        let status = asked(address, version, "", &headers).await;
        assert_eq!(status, "400", "HTTP/{version} {headers}");
    }
    let unknown = format!("{UPGRADE}{KEY}{VERSION}");
    for sid in ["AAAAAAAAAAAAAAAA", "nobody"] {
        let status = asked(address, "1.1", &format!("&sid={sid}"), &unknown).await;
        assert_eq!(status, "400", "{sid}");
    }
}

#[tokio::test]
async fn a_websocket_that_can_begin_gets_101() {
    let (_bench, address) = chapter().await;
    for upgrade in [
        UPGRADE,
        "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n",
        "connection: upgrade\r\nupgrade: WebSocket\r\n",
    ] {
        let headers = format!("{upgrade}{KEY}{VERSION}");
        assert_eq!(asked(address, "1.1", "", &headers).await, "101");
    }
    let client = Client::new("you", &format!("http://{address}"));
    let session = Polling::open(&client).await.unwrap().open.sid;
    let headers = format!("{UPGRADE}{KEY}{VERSION}");
    let status = asked(address, "1.1", &format!("&sid={session}"), &headers).await;
    assert_eq!(status, "101");
}

/// The server asks the library whether a session exists. The session must not notice.
#[tokio::test]
async fn a_session_loses_no_packet_when_it_moves_to_a_websocket() {
    let (_bench, address) = chapter().await;
    let url = format!("http://{address}");
    let polling = Polling::open(&Client::new("you", &url)).await.unwrap();
    polling
        .send(&Packet::Message("0".to_owned()))
        .await
        .unwrap();
    let friend = Client::new("friend", &url);
    let friend = Socket::connect(&friend, Transport::WebSocket, None).await;
    let friend = friend.unwrap();
    friend
        .emit("message", &serde_json::json!("before"))
        .unwrap();
    let mut socket = WebSocket::open(&Client::new("you", &url), Some(&polling.open.sid))
        .await
        .unwrap();
    socket
        .send(&Packet::Ping("probe".to_owned()))
        .await
        .unwrap();
    let pong = socket.receive().await.unwrap();
    assert_eq!(pong, Packet::Pong("probe".to_owned()));
    socket.send(&Packet::Upgrade).await.unwrap();
    let message = Packet::Message(r#"2["message","before"]"#.to_owned());
    while socket.receive().await.unwrap() != message {}
}

#[tokio::test]
async fn a_session_that_has_a_websocket_gets_no_second_one() {
    let (_bench, address) = chapter().await;
    let client = Client::new("you", &format!("http://{address}"));
    let mut socket = WebSocket::open(&client, None).await.unwrap();
    let Packet::Open(open) = socket.receive().await.unwrap() else {
        panic!("no open packet");
    };
    let second = WebSocket::open(&client, Some(&open.sid)).await;
    let refused = second.err().expect("a refusal").to_string();
    assert_eq!(refused, r#"400 {"code":"3","message":"Bad request"}"#);
    // The first one goes on.
    assert_eq!(socket.receive().await.unwrap(), Packet::Ping(String::new()));
}

/// If this fails, `lab_server::handshakes` may go.
#[tokio::test]
async fn engineioxide_alone_still_answers_101_to_anything() {
    let listener = listen_on(0).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (app, _io) = ch03_socket_polling::app();
    tokio::spawn(serve_bounded(listener, app, std::future::pending()));
    for (version, headers) in broken() {
        let status = asked(address, version, "", &headers).await;
        assert_eq!(status, "101", "HTTP/{version} {headers}");
    }
    let unknown = format!("{UPGRADE}{KEY}{VERSION}");
    let status = asked(address, "1.1", "&sid=AAAAAAAAAAAAAAAA", &unknown).await;
    assert_eq!(status, "101");
}
