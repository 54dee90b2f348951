//! Hostile clients of chapter 3's server. Other clients notice nothing.
//!
//! Two tests wait for about 48 s each. They wait at the same time, as tests of one program do.

use std::{net::SocketAddr, time::Duration};

use axum::Router;
use ch03_socket_polling::MAX_PAYLOAD;
use harness::{
    attack::{drip, grew_at_most, meanwhile, no_http, raise_limit, resident, send},
    bench::Bench,
    frames::{Frames, no_packets},
};
use lab::{
    Client, Socket, Transport,
    client::{Error, PATIENCE, Packet, Polling, WebSocket},
};
use lab_server::{
    bounds::{ANSWER_TIME, serve_bounded},
    listen_on,
};
use serde_json::json;
use socketioxide::{ParserConfig, SocketIo, extract::SocketRef};
use tokio::{task::JoinSet, time::sleep};

const CHAPTER: &str = env!("CARGO_BIN_EXE_ch03-socket-polling");

/// One server, its address, and its process.
async fn alone() -> (Bench, SocketAddr, u32) {
    let mut bench = Bench::new(CHAPTER);
    bench.stage.servers.start(1, &[]).await.unwrap();
    let address = bench.stage.servers.addresses()[0];
    let pid = bench.stage.servers.pid('A').unwrap();
    (bench, address, pid)
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// Two well-behaved clients: Alice uses long polling, Bob a WebSocket.
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

/// Messages of other clients may come before it.
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
    let client = Client::new("you", &url(address));
    let open = Polling::open(&client).await.unwrap().open;
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
        let refused = WebSocket::open(&client, Some("AAAAAAAAAAAAAAAA")).await;
        let refused = refused.err().expect("a refusal").to_string();
        assert_eq!(
            refused,
            r#"400 {"code":"1","message":"Session ID unknown"}"#
        );
    };
    meanwhile(attack, async || friends.talk().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_packets_do_not_affect_other_clients() {
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
                // The server may end the session or ignore the packet.
                frames.text(b"3").await;
            }
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
            b"\x83\x80\0\0\0\0",         // an opcode that does not exist
            b"\xf1\x80\0\0\0\0",         // reserved bits
            &long_ping,                  // a ping of 126 bytes
            b"\x09\x80\0\0\0\0",         // a ping in pieces
            b"\x80\x80\0\0\0\0",         // a continuation without a start
            b"\x81\x82\0\0\0\0\xff\xfe", // not UTF-8
            &huge,                       // the greatest length possible
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
async fn bytes_that_are_not_http_are_refused() {
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

/// Whether the server accepts a message of that many bytes over a WebSocket.
async fn accepts(address: SocketAddr, bytes: usize) -> bool {
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

/// A server that acknowledges every message.
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
async fn a_websocket_message_may_have_megabytes_without_our_limit() {
    let by_default = echo(SocketIo::builder()).await;
    let bounded = echo(ch03_socket_polling::bounded()).await;
    assert!(
        accepts(by_default, 10 * 1024 * 1024).await,
        "this is why there is a limit"
    );
    assert!(accepts(bounded, MAX_PAYLOAD / 2).await);
    assert!(!accepts(bounded, MAX_PAYLOAD + 1).await);
}

/// 200 WebSockets. Each sends a part of a message that is too long.
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
        // A long message over polling is refused, too.
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
    // 200 parts of half a megabyte are 100 MB.
    grew_at_most(pid, before, 50 * 1024);
}

/// A message whose second attachment never comes. Then the client only answers pings.
async fn unfinished_message(address: SocketAddr) -> Frames {
    let mut frames = Frames::open(address).await;
    frames.text(b"40").await;
    let placeholder = r#"{"_placeholder":true,"num":0}"#;
    let header = format!("452-[\"message\",{placeholder},{placeholder}]");
    frames.text(header.as_bytes()).await;
    frames.frame(0x82, &[b'x'; 1_000]).await;
    frames.text(b"3").await;
    frames
}

/// If this fails for socketioxide's default, attachments may be allowed again, with these limits.
#[tokio::test]
async fn socketioxide_keeps_an_unfinished_message_after_its_time_and_this_server_takes_none() {
    let limits = ParserConfig::common().packet_completion_timeout(Duration::from_millis(1));
    let by_default = echo(SocketIo::builder().with_parser(limits)).await;
    let bounded = echo(ch03_socket_polling::bounded()).await;
    let (kept, refused) = tokio::join!(
        unfinished_message(by_default).await.ends(),
        unfinished_message(bounded).await.ends(),
    );
    assert!(
        !kept,
        "socketioxide 0.18.9 looks at the time only when a frame comes"
    );
    assert!(refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn attachments_do_not_fill_the_memory() {
    let (_bench, address, pid) = alone().await;
    let mut friends = Friends::at(address).await;
    let before = resident(pid);
    let attack = async move {
        let mut open = Vec::new();
        let attachment = vec![b'x'; 99_000];
        for _ in 0..26 {
            let mut frames = Frames::open(address).await;
            frames.text(b"40").await;
            frames.text(b"45200-[\"message\"]").await;
            for _ in 0..100 {
                frames.frame(0x82, &attachment).await;
            }
            frames.text(b"3").await;
            open.push(frames);
        }
        // The same over polling.
        for _ in 0..26 {
            let polling = Polling::open(&Client::new("mallory", &url(address)))
                .await
                .unwrap();
            let query = format!("EIO=4&transport=polling&sid={}", polling.open.sid);
            raw(address, "POST", &query, "40").await;
            raw(address, "POST", &query, "45200-[\"message\"]").await;
            let attachment = format!("b{}", "A".repeat(99_000));
            for _ in 0..10 {
                raw(address, "POST", &query, &attachment).await;
            }
        }
        open
    };
    let _held = meanwhile(attack, async || friends.talk().await).await;
    // Without the limit, it grew by 250 MiB.
    grew_at_most(pid, before, 16 * 1024);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_in_one_session_do_not_affect_other_clients() {
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

/// Each session takes 14 KB for 45 s (`connect_timeout`), if its client connects to no namespace.
/// The server refuses the session's requests after 20 s already.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn the_memory_of_abandoned_sessions_is_freed() {
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
            // There is no event to wait for when memory is freed, so this waits for a time.
            let freed = sleep(Duration::from_secs(47));
            meanwhile(freed, async || friends.talk().await).await;
        }
    }
    println!("after each 2,000: {held:?} KiB");
    // Without that, it would be 1.7 times as much.
    assert!(held[1] < held[0] + held[0] / 2, "{held:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn axum_alone_waits_for_a_slow_body_without_end_and_this_server_closes_it() {
    let (_bench, ours, _) = alone().await;
    let listener = listen_on(0).await.unwrap();
    let axums = listener.local_addr().unwrap();
    let (app, _io) = ch03_socket_polling::app();
    tokio::spawn(async move { axum::serve(listener, app).await });

    let slow = async |address: SocketAddr| {
        let client = Client::new("mallory", &url(address));
        let polling = Polling::open(&client).await.unwrap();
        let head = format!(
            "POST /socket.io/?EIO=4&transport=polling&sid={} HTTP/1.1\r\nHost: x\r\n\
             Content-Length: 90000\r\n\r\n",
            polling.open.sid
        );
        // Long enough to see that axum does not close it at the same time.
        let longer = ANSWER_TIME + Duration::from_secs(3);
        drip(address, head.as_bytes(), b"x", longer).await
    };
    let (by_axum, by_us) = tokio::join!(slow(axums), slow(ours));
    assert_eq!(by_axum, None, "this is why there is a limit");
    assert!(by_us.is_some());
}
