//! Caches between client and server must not keep answers of Socket.IO.

use std::net::SocketAddr;

use harness::{
    attack::head,
    binary::{Running, command},
};
use lab::{Client, client::Polling};
use lab_server::{bounds::serve_bounded, listen_on};

use crate::CHAPTER;

const HANDSHAKE: &str = "GET /socket.io/?EIO=4&transport=polling";

/// The head of an answer, in small letters.
async fn answered(address: SocketAddr, request: &str, headers: &str) -> String {
    let request = format!("{request} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
    let head = head(address, request.as_bytes()).await;
    head.to_ascii_lowercase()
}

const NO_STORE: &str = "\r\ncache-control: no-store\r\n";

/// Each server of this workspace is served by `lab_server::serve_guarded`, as this one is.
#[tokio::test]
async fn no_cache_may_keep_an_answer_of_socket_io() {
    let mut server = Running::start(command(CHAPTER).env("PORT", "0"));
    let ready = server.line_with("running on");
    let port = ready.split(' ').find_map(|word| word.parse::<u16>().ok());
    let address = SocketAddr::from(([127, 0, 0, 1], port.unwrap()));
    let client = Client::new("you", &format!("http://{address}"));
    let sid = Polling::open(&client).await.unwrap().open.sid;
    let poll = format!("{HANDSHAKE}&sid={sid}");
    let sent = poll.replace("GET", "POST");
    for (request, headers, status) in [
        (HANDSHAKE, "", "200"),
        ("GET /socket.io?EIO=4&transport=polling", "", "200"),
        (&poll, "", "200"),
        (&sent, "Content-Length: 1\r\n\r\n3", "200"),
        ("GET /socket.io/?EIO=3&transport=polling", "", "400"),
        ("GET /socket.io/?EIO=4&transport=websocket", "", "400"),
        ("DELETE /socket.io/?EIO=4&transport=polling", "", "400"),
    ] {
        let head = answered(address, request, headers).await;
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{head}");
        assert!(head.contains(NO_STORE), "{request}: {head}");
    }
    // The files of the page are no answers of Socket.IO.
    let head = answered(address, "GET /page.js", "").await;
    assert!(!head.contains(NO_STORE), "{head}");
}

/// If this fails, `lab_server::caches` may go.
#[tokio::test]
async fn engineioxide_alone_still_lets_caches_keep_a_handshake() {
    let listener = listen_on(0).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (app, _io) = ch03_socket_polling::app();
    tokio::spawn(serve_bounded(listener, app, std::future::pending()));
    let head = answered(address, HANDSHAKE, "").await;
    assert!(!head.contains("cache-control"), "{head}");
}
