//! Chapter 3's Socket.IO server, and strangers; and what a `socket.id` gives away.

// All of this file is a test, its helpers too.
#![allow(clippy::unwrap_used)]

mod harness;

use std::{net::SocketAddr, time::Duration};

use axum::Router;
use ch01_express_pid::{
    bounds::{ANSWER_TIME, serve_bounded},
    listen_on,
};
use ch03_socket_polling::{
    bounds::MAX_PAYLOAD,
    forge::{forge, forge_websocket},
    handshake,
};
use harness::{
    attack::{drip, grew_at_most, meanwhile, no_http, raise_limit, resident, send},
    bench::Bench,
    binary::every_claim_holds,
    frames::{Frames, no_packets},
    transcript,
};
use insta::assert_snapshot;
use lab::{
    Client, Socket, Transport,
    client::{Error, PATIENCE, Packet, Polling, WebSocket},
};
use serde_json::json;
use socketioxide::{SocketIo, extract::SocketRef};
use tokio::{task::JoinSet, time::sleep};

const CHAPTER: &str = env!("CARGO_BIN_EXE_ch03-socket-polling");
const FORGE: &str = env!("CARGO_BIN_EXE_forge");

/// One server, its address, and its process.
async fn alone() -> (Bench, SocketAddr, u32) {
    let mut bench = Bench::new(CHAPTER);
    bench.stage.start_servers(1, &[]).await.unwrap();
    let address = bench.stage.server_addresses()[0];
    let pid = bench.stage.server_pid('A').unwrap();
    (bench, address, pid)
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// Two who behave: one with long polling, one with a WebSocket.
struct Friends {
    alice: Socket,
    bob: Socket,
}

impl Friends {
    async fn at(address: SocketAddr) -> Self {
        let connect = async |name: &str, transport| {
            let client = Client::new(name, &url(address));
            Socket::connect(&client, transport, None).await.unwrap()
        };
        Self {
            alice: connect("alice", Transport::Polling).await,
            bob: connect("bob", Transport::WebSocket).await,
        }
    }

    /// Each says something, and the other hears it.
    async fn talk(&mut self) {
        self.alice.emit("message", &json!("hi")).unwrap();
        hears(&mut self.bob).await;
        self.bob.emit("message", &json!("hi")).unwrap();
        hears(&mut self.alice).await;
    }
}

/// Messages of others may come in between.
async fn hears(socket: &mut Socket) {
    while socket.hear("message", PATIENCE).await.expect("a message") != "hi" {}
}

async fn raw(address: SocketAddr, method: &str, query: &str, body: &str) -> String {
    let request = format!(
        "{method} /socket.io/?{query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    send(address, request.as_bytes(), PATIENCE)
        .await
        .unwrap_or_else(|| panic!("no end of {method} {query}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_id_that_the_server_did_not_make_is_refused() {
    let (_bench, address, _) = alone().await;
    let mut friends = Friends::at(address).await;
    let open = handshake(&url(address)).await.open.unwrap();
    let attack = async move {
        let almost = format!("{}A", &open.sid[..open.sid.len() - 1]);
        let long = "A".repeat(10_000);
        let forged = [
            "AAAAAAAAAAAAAAAA",
            "",
            "0",
            "%00%00",
            "../../etc/passwd",
            "'%20OR%201=1--",
            "%F0%9F%98%80",
            &long,
            &almost,
        ];
        for sid in forged.iter().filter(|sid| **sid != open.sid) {
            for (method, body) in [("GET", ""), ("POST", "42[\"message\",\"forged\"]")] {
                let query = format!("EIO=4&transport=polling&sid={sid}");
                let answer = raw(address, method, &query, body).await;
                assert!(
                    answer.starts_with("HTTP/1.1 400"),
                    "{method} {sid}: {answer}"
                );
            }
        }
        for query in [
            "",
            "EIO=4",
            "EIO=9&transport=polling",
            "EIO=4&transport=pigeon",
            "transport=polling&EIO=4&EIO=3&sid=&sid=",
        ] {
            let answer = raw(address, "GET", query, "").await;
            assert!(answer.starts_with("HTTP/1.1 400"), "{query}: {answer}");
        }
        let client = Client::new("mallory", &url(address));
        let mut socket = WebSocket::open(&client, Some("AAAAAAAAAAAAAAAA"))
            .await
            .unwrap();
        assert!(socket.receive().await.is_err(), "101, and then nothing");
    };
    meanwhile(attack, async || friends.talk().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_that_make_no_sense_cost_nobody_else_anything() {
    let (_bench, address, pid) = alone().await;
    let mut friends = Friends::at(address).await;
    let before = resident(pid);
    let attack = async move {
        let mallory = Client::new("mallory", &url(address));
        for enters in [false, true] {
            for packet in no_packets() {
                let polling = Polling::open(&mallory).await.unwrap();
                if enters {
                    polling
                        .send(&Packet::Message("0".to_owned()))
                        .await
                        .unwrap();
                }
                let query = format!("EIO=4&transport=polling&sid={}", polling.open.sid);
                let answer = raw(address, "POST", &query, &packet).await;
                assert!(!answer.starts_with("HTTP/1.1 5"), "{packet:.60}: {answer}");

                let mut frames = Frames::open(address).await;
                if enters {
                    frames.text(b"40").await;
                }
                frames.text(packet.as_bytes()).await;
                frames.frame(0x82, packet.as_bytes()).await;
                // Either is right: to end the session, or to make nothing of it.
                frames.text(b"3").await;
            }
            mallory.take_seen();
        }
    };
    meanwhile(attack, async || friends.talk().await).await;
    grew_at_most(pid, before, 32 * 1024);
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_break_the_protocol_end_their_own_connection() {
    let (_bench, address, _) = alone().await;
    let mut friends = Friends::at(address).await;
    let attack = async move {
        let long_ping = [&b"\x89\xfe\x00\x7e\0\0\0\0"[..], &[b'x'; 126]].concat();
        let huge = [&[0x82, 0xff][..], &[0x7f; 8], &[0; 4]].concat();
        for bytes in [
            &b"\x81\x02hi"[..],          // not masked
            b"\x83\x80\0\0\0\0",         // an opcode that is not one
            b"\xf1\x80\0\0\0\0",         // reserved bits
            &long_ping,                  // a ping of 126 bytes
            b"\x09\x80\0\0\0\0",         // a ping in pieces
            b"\x80\x80\0\0\0\0",         // a continuation of nothing
            b"\x81\x82\0\0\0\0\xff\xfe", // no UTF-8
            &huge,                       // as long as can be said
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        ] {
            let mut frames = Frames::open(address).await;
            frames.bytes(bytes).await;
            assert!(frames.ends().await, "{bytes:?}");
        }
    };
    meanwhile(attack, async || friends.talk().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http_is_refused_here_too() {
    let (_bench, address, pid) = alone().await;
    let mut friends = Friends::at(address).await;
    let before = resident(pid);
    let attack = async move {
        for bytes in no_http() {
            assert!(send(address, &bytes, PATIENCE).await.is_some());
        }
    };
    meanwhile(attack, async || friends.talk().await).await;
    grew_at_most(pid, before, 16 * 1024);
}

/// Whether a client may send a message of that many bytes over a WebSocket.
async fn takes(address: SocketAddr, bytes: usize) -> bool {
    let client = Client::new("mallory", &url(address));
    let mut socket = WebSocket::open(&client, None).await.unwrap();
    let text = "x".repeat(bytes);
    let sent = async {
        socket.receive().await?;
        socket.send(&Packet::Message("0".to_owned())).await?;
        message_that_starts(&mut socket, '0').await?;
        let event = Packet::Message(format!("20{}", json!(["echo", text])));
        socket.send(&event).await?;
        message_that_starts(&mut socket, '3').await
    };
    let outcome = sent.await;
    println!("{bytes} bytes: {outcome:?}");
    outcome.is_ok()
}

async fn message_that_starts(socket: &mut WebSocket, kind: char) -> Result<(), Error> {
    loop {
        if let Packet::Message(message) = socket.receive().await?
            && message.starts_with(kind)
        {
            return Ok(());
        }
    }
}

/// A server that acknowledges whatever it is sent.
async fn echo(builder: socketioxide::SocketIoBuilder) -> SocketAddr {
    use socketioxide::extract::AckSender;
    let (layer, io) = builder.build_layer();
    io.ns("/", async |socket: SocketRef| {
        socket.on("echo", async |ack: AckSender| {
            let _gone = ack.send("ok");
        });
    });
    let listener = listen_on(0).await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().layer(layer);
    tokio::spawn(serve_bounded(listener, app, std::future::pending()));
    address
}

#[tokio::test]
async fn a_websocket_message_may_have_megabytes_unless_a_bound_is_set() {
    let by_default = echo(SocketIo::builder()).await;
    let bounded = echo(ch03_socket_polling::bounds::bounded()).await;
    assert!(
        takes(by_default, 10 * 1024 * 1024).await,
        "what the bound is for"
    );
    assert!(takes(bounded, MAX_PAYLOAD / 2).await);
    assert!(!takes(bounded, MAX_PAYLOAD + 1).await);
}

/// 200 WebSockets, each with almost all of a message that may not be so long.
#[tokio::test(flavor = "multi_thread")]
async fn long_messages_do_not_fill_the_memory() {
    let count = raise_limit(200, 4);
    let (_bench, address, pid) = alone().await;
    let mut friends = Friends::at(address).await;
    let before = resident(pid);
    let attack = async move {
        let part = [&[0x01, 0xff][..], &(1_u64 << 20).to_be_bytes(), &[0; 4]].concat();
        let mut parts = Vec::new();
        for _ in 0..count {
            let mut frames = Frames::open(address).await;
            frames.bytes(&part).await;
            frames.bytes(&vec![b'x'; 1 << 19]).await;
            parts.push(frames);
        }
        // And such as polling may send: refused, however much is announced.
        let polling = Polling::open(&Client::new("mallory", &url(address)))
            .await
            .unwrap();
        let head = format!(
            "POST /socket.io/?EIO=4&transport=polling&sid={} HTTP/1.1\r\nHost: x\r\n\
             Connection: close\r\nContent-Length: 10000000000\r\n\r\n4",
            polling.open.sid
        );
        let bytes = [head.into_bytes(), vec![b'x'; 2_000_000]].concat();
        let answer = send(address, &bytes, PATIENCE).await;
        assert!(answer.is_some_and(|answer| !answer.contains(" 200 ")));
        parts
    };
    let _held = meanwhile(attack, async || friends.talk().await).await;
    // Half a megabyte from each would be 100 MB.
    grew_at_most(pid, before, 50 * 1024);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_requests_for_one_session_is_that_sessions_problem() {
    let (_bench, address, pid) = alone().await;
    let mut friends = Friends::at(address).await;
    let before = resident(pid);
    let attack = async move {
        for _ in 0..10 {
            let client = Client::new("mallory", &url(address));
            let polling = Polling::open(&client).await.unwrap();
            polling
                .send(&Packet::Message("0".to_owned()))
                .await
                .unwrap();
            let mut flood = JoinSet::new();
            for number in 0..200 {
                let query = format!("EIO=4&transport=polling&sid={}", polling.open.sid);
                let (method, body) = if number % 2 == 0 {
                    ("GET", "")
                } else {
                    ("POST", "42[\"nothing\",1]")
                };
                flood.spawn(async move { raw(address, method, &query, body).await });
            }
            for answer in flood.join_all().await {
                assert!(!answer.starts_with("HTTP/1.1 5"), "{answer}");
            }
        }
    };
    meanwhile(attack, async || friends.talk().await).await;
    grew_at_most(pid, before, 32 * 1024);
}

/// Each costs 14 KB for 45 s: for so long socketioxide keeps a session that enters no
/// namespace (`connect_timeout`), although it refuses its requests after 20 s.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_are_opened_and_left_are_forgotten() {
    let (_bench, address, pid) = alone().await;
    let mut friends = Friends::at(address).await;
    let mut held = Vec::new();
    for _wave in 0..2 {
        let attack = async move {
            let client = Client::new("mallory", &url(address));
            for _ in 0..2_000 {
                Polling::open(&client).await.unwrap();
            }
        };
        meanwhile(attack, async || friends.talk().await).await;
        held.push(resident(pid).unwrap());
        if held.len() == 1 {
            // Nothing tells that memory is free again, so time must.
            let forgotten = sleep(Duration::from_secs(50));
            meanwhile(forgotten, async || friends.talk().await).await;
        }
    }
    println!("after each 2,000: {held:?} KiB");
    // Kept, they would be 1.7 times as much.
    assert!(held[1] < held[0] + held[0] / 2, "{held:?}");
}

/// A server whose requests have no time limit, and ours: a body that comes byte by byte.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_never_ends_is_waited_for_by_axum_and_not_by_this_server() {
    let (_bench, ours, _) = alone().await;
    let listener = listen_on(0).await.unwrap();
    let axums = listener.local_addr().unwrap();
    let (app, _io) = ch03_socket_polling::app();
    tokio::spawn(async move { axum::serve(listener, app).await });

    // Its session would end after 45 s, but for the answers to pings that another sends.
    let slow = async |address: SocketAddr| {
        let client = Client::new("mallory", &url(address));
        let polling = Polling::open(&client).await.unwrap();
        let head = format!(
            "POST /socket.io/?EIO=4&transport=polling&sid={} HTTP/1.1\r\nHost: x\r\n\
             Content-Length: 90000\r\n\r\n",
            polling.open.sid
        );
        drip(
            address,
            head.as_bytes(),
            b"x",
            ANSWER_TIME + Duration::from_secs(10),
        )
        .await
    };
    let (by_axum, by_us) = tokio::join!(slow(axums), slow(ours));
    assert_eq!(by_axum, None, "this is what the bound is for");
    assert!(by_us.is_some());
}

#[test]
fn every_claim_about_a_stolen_id_holds() {
    every_claim_holds(FORGE);
}

#[test]
fn what_a_learner_reads_of_it_is_the_same_in_every_run() {
    assert_snapshot!(transcript::of_check(FORGE));
}

#[tokio::test]
async fn over_polling_whoever_has_an_id_speaks_as_its_owner() {
    let mut bench = Bench::new(FORGE);
    bench.stage.start_servers(1, &[]).await.unwrap();
    let url = bench.stage.server_url('A').unwrap();
    let forged = forge(&url, "forged").await.unwrap();
    let heard = forged.bob_heard.unwrap();
    assert_eq!(heard["text"], "forged");
    assert_eq!(heard["from"], forged.alice.as_str());
    assert!(format!("{:?}", forged.stolen).contains("1234"));
    let over_websocket = forge_websocket(&url).await.unwrap();
    assert_eq!(over_websocket.unwrap_err().refusal().unwrap().status, 400);
}

/// Chapter 3's own server shows nobody's: the same attempt ends where it begins.
#[tokio::test]
async fn where_no_id_is_shown_there_is_none_to_steal() {
    let (_bench, address, _) = alone().await;
    let Err(Error::Unexpected(why)) = forge(&url(address), "forged").await else {
        panic!("an ID was to be had");
    };
    assert_eq!(why, "no ID is shown");
}
