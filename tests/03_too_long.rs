//! A client whose message is too long learns why it is refused or closed.

use std::net::SocketAddr;

use ch03_socket_polling::MAX_PAYLOAD;
use harness::{bench::Bench, browser::Browser, frames::Frames, node::OfficialClient};
use lab::{
    Client, Socket, Transport,
    client::{PATIENCE, Packet, Polling, WebSocket},
};
use lab_server::{bounds::serve_bounded, listen_on};
use serde_json::json;

use crate::{CHAPTER, page_at, wait_status};

const TOO_LONG: &str = "a message may have at most 100000 bytes";

async fn chapter() -> (Bench, SocketAddr) {
    let mut bench = Bench::new(CHAPTER);
    bench.stage.servers.start(1, &[]).await.unwrap();
    let address = bench.stage.servers.addresses()[0];
    (bench, address)
}

/// The chapter's server without what `lab_server` adds.
async fn engineioxide_alone() -> SocketAddr {
    let listener = listen_on(0).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (app, _io) = ch03_socket_polling::app();
    tokio::spawn(serve_bounded(listener, app, std::future::pending()));
    address
}

fn client(address: SocketAddr) -> Client {
    Client::new("you", &format!("http://{address}"))
}

/// An event whose packet, with its `4`, has that many bytes.
fn event(bytes: usize) -> Packet {
    let empty = r#"42["message",""]"#;
    let text = "x".repeat(bytes - empty.len());
    Packet::Message(format!(r#"2["message","{text}"]"#))
}

/// Polls until the namespace's welcome has come.
async fn welcomed(polling: &Polling) {
    let is_welcome = |packet: &Packet| matches!(packet, Packet::Message(_));
    while !polling.poll().await.unwrap().iter().any(is_welcome) {}
}

/// How a WebSocket ends after a message of that many bytes.
async fn end_after(address: SocketAddr, bytes: usize) -> String {
    let mut socket = WebSocket::open(&client(address), None).await.unwrap();
    socket.send(&Packet::Message("0".to_owned())).await.unwrap();
    socket.send(&event(bytes)).await.unwrap();
    loop {
        if let Err(error) = socket.receive().await {
            return error.to_string();
        }
    }
}

#[tokio::test]
async fn a_websocket_with_a_message_that_is_too_long_is_closed_with_1009_and_a_reason() {
    let (_bench, address) = chapter().await;
    // Also if the client goes on sending for long.
    for bytes in [MAX_PAYLOAD + 1, 200_000, 5_000_000] {
        let end = end_after(address, bytes).await;
        let expected = format!("the WebSocket was closed: 1009 {TOO_LONG}");
        assert_eq!(end, expected, "{bytes} bytes");
    }
}

#[tokio::test]
async fn a_message_in_pieces_is_measured_as_a_whole() {
    let (_bench, address) = chapter().await;
    let mut frames = Frames::open(address).await;
    frames.frame(0x01, &vec![b'x'; MAX_PAYLOAD]).await;
    // A ping between the pieces, and then one byte too much.
    frames.frame(0x89, b"").await;
    frames.frame(0x80, b"x").await;
    let end = frames.rest().await;
    let close = [&[0x88, 41, 0x03, 0xf1][..], TOO_LONG.as_bytes()].concat();
    assert!(end.ends_with(&close), "{:?}", String::from_utf8_lossy(&end));
}

#[tokio::test]
async fn a_message_of_the_greatest_length_arrives_over_both_transports() {
    let (_bench, address) = chapter().await;
    let friend = Client::new("friend", &format!("http://{address}"));
    let mut friend = Socket::connect(&friend, Transport::WebSocket, None)
        .await
        .unwrap();
    let polling = Polling::open(&client(address)).await.unwrap();
    let connect = Packet::Message("0".to_owned());
    polling.send(&connect).await.unwrap();
    welcomed(&polling).await;
    polling.send(&event(MAX_PAYLOAD)).await.unwrap();
    friend.hear("message", PATIENCE).await.unwrap();
    let mut socket = WebSocket::open(&client(address), None).await.unwrap();
    socket.send(&connect).await.unwrap();
    // Before the welcome, an event might come too early.
    while !matches!(socket.receive().await.unwrap(), Packet::Message(_)) {}
    socket.send(&event(MAX_PAYLOAD)).await.unwrap();
    friend.hear("message", PATIENCE).await.unwrap();
}

#[tokio::test]
async fn a_post_that_is_too_long_is_refused_with_a_reason_and_its_session_goes_on() {
    let (_bench, address) = chapter().await;
    let polling = Polling::open(&client(address)).await.unwrap();
    polling
        .send(&Packet::Message("0".to_owned()))
        .await
        .unwrap();
    welcomed(&polling).await;
    let held = polling.clone();
    let held = tokio::spawn(async move {
        loop {
            // The first ping may come only now.
            match held.poll().await.unwrap().as_slice() {
                [Packet::Ping(_)] => {}
                other => return other.to_vec(),
            }
        }
    });
    let refused = polling.send(&event(MAX_PAYLOAD + 1)).await.unwrap_err();
    assert_eq!(refused.to_string(), format!("413 {TOO_LONG}"));
    let friend = Client::new("friend", &format!("http://{address}"));
    let friend = Socket::connect(&friend, Transport::WebSocket, None).await;
    let friend = friend.unwrap();
    friend.emit("message", &json!("hi")).unwrap();
    let message = Packet::Message(r#"2["message","hi"]"#.to_owned());
    assert_eq!(held.await.unwrap(), [message]);
}

/// What the polls of twenty sessions get, when each session is ended by a POST of `body`.
///
/// A poll is sent before the POST, but the POST may overtake it. Then the session is unknown.
async fn ended_polls(address: SocketAddr, body: &str) -> Vec<String> {
    let mut came = Vec::new();
    for _ in 0..20 {
        let polling = Polling::open(&client(address)).await.unwrap();
        assert_eq!(polling.poll().await.unwrap(), [Packet::Ping(String::new())]);
        let sid = polling.open.sid;
        let session = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
        let client = client(address);
        let (poll, post) = tokio::join!(
            client.get(&session, PATIENCE),
            client.post(&session, body.to_owned())
        );
        assert!(post.unwrap().status >= 400);
        came.push(poll.unwrap().body);
    }
    came.sort();
    came.dedup();
    came
}

#[tokio::test]
async fn a_held_poll_of_a_session_that_ends_gets_a_close_packet() {
    let (_bench, address) = chapter().await;
    let polls = ended_polls(address, "no packet").await;
    assert!(polls.contains(&"1".to_owned()), "{polls:?}");
    assert!(!polls.contains(&String::new()), "{polls:?}");
}

#[tokio::test]
async fn the_official_client_learns_why() {
    let Some(official) = OfficialClient::find() else {
        return;
    };
    let (_bench, address) = chapter().await;
    for (transport, told) in [
        (
            "websocket",
            json!({ "reason": "transport close", "code": 1009, "text": TOO_LONG }),
        ),
        (
            "polling",
            json!({ "reason": "transport error", "code": 413, "text": TOO_LONG }),
        ),
    ] {
        let options = json!({ "url": format!("http://{address}"), "transports": [transport] });
        let length = (MAX_PAYLOAD + 1).to_string();
        let outcome = official.run(&["lose", &options.to_string(), &length]).await;
        assert_eq!(outcome, told);
    }
}

#[tokio::test]
async fn the_page_says_in_a_sentence_that_a_message_was_too_long() {
    let Some(browser) = Browser::find() else {
        return;
    };
    let (_bench, address) = chapter().await;
    let page = page_at(&browser, &format!("http://{address}")).await;
    for panel in ["polling", "websocket", "default"] {
        let client = format!("[data-panel={panel}]");
        page.click(&format!("{client} [data-act=connect]")).await;
        wait_status(&page, panel, "connected").await;
        // The field takes 200 letters from the keyboard, and more from a script.
        let find = |part: &str| format!("document.querySelector('{client} {part}')");
        let field = find("[data-act=say]");
        page.js(&format!("{field}.value = 'x'.repeat({MAX_PAYLOAD})"))
            .await;
        page.click(&format!("{client} form button")).await;
        let why = find(".why");
        let sentence = "The message was too long for the server.";
        page.wait_js(&format!("{why}.textContent === '{sentence}'"))
            .await;
        // The client connects again by itself. The sentence stays until the next message.
        wait_status(&page, panel, "connected").await;
        assert_eq!(page.js(&format!("{why}.textContent")).await, sentence);
        page.js(&format!("{field}.value = 'short'")).await;
        page.click(&format!("{client} form button")).await;
        page.wait_js(&format!("{why}.textContent === ''")).await;
    }
}

/// If this fails, `lab_server::too_long` may go.
#[tokio::test]
async fn engineioxide_alone_still_ends_a_poll_without_a_packet() {
    let address = engineioxide_alone().await;
    for body in [event(MAX_PAYLOAD + 1).to_string(), "no packet".to_owned()] {
        let polls = ended_polls(address, &body).await;
        assert!(polls.contains(&String::new()), "{polls:?}");
    }
}

/// If this fails, `lab_server::frames` may go.
#[tokio::test]
async fn engineioxide_alone_still_closes_a_websocket_without_a_code() {
    let end = end_after(engineioxide_alone().await, MAX_PAYLOAD + 1).await;
    assert!(!end.contains("1009"), "{end}");
}
