//! Chapter 3: Socket.IO over polling, and how round robin breaks it.

// All of this file is a test, its helpers too.
#![allow(clippy::unwrap_used)]

#[path = "03_caches.rs"]
mod caches;
#[path = "03_handshakes.rs"]
mod handshakes;
#[path = "03_hostile.rs"]
mod hostile;
#[path = "03_old_clients.rs"]
mod old_clients;
#[path = "03_slow_clients.rs"]
mod slow_clients;
#[path = "03_too_long.rs"]
mod too_long;

use std::time::{Duration, Instant};

use ch03_socket_polling::experiments::{
    connect_one_by_one, hold_a_poll, is_session_unknown, poll_twice, talk,
};
use harness::{
    bench::Bench,
    binary::every_claim_holds,
    browser::{Browser, Page},
    node::OfficialClient,
    observatory::Observatory,
    panel,
    pictures::Picture,
    transcript, wire,
};
use insta::assert_snapshot;
use lab::{
    Client, Event, Socket, Transport,
    client::{Packet, Polling, WebSocket},
};
use regex::Regex;
use serde_json::json;

const CHAPTER: &str = env!("CARGO_BIN_EXE_ch03-socket-polling");

#[test]
fn every_claim_of_the_chapter_holds() {
    every_claim_holds(CHAPTER);
}

#[test]
fn what_a_learner_reads_is_the_same_in_every_run() {
    assert_snapshot!(transcript::of_check(CHAPTER));
}

/// The terminal shows only the beginning of long lines. Here they are whole.
#[tokio::test]
async fn handshake_refusal_and_upgrade_are_these_bytes() {
    let mut bench = Bench::with_servers(CHAPTER, &[]).await;
    let alone = bench.stage.servers.url('A').unwrap();
    let round_robin = bench.nginx("02-round-robin.conf").await;
    let (client, handshake) = Client::new("you", &alone).recorded();
    Polling::open(&client).await.unwrap();
    let (client, refused) = Client::new("you", &round_robin).recorded();
    poll_twice(&client).await.unwrap();
    let (client, upgrade) = Client::new("you", &alone).recorded();
    let friend = Client::new("friend", &alone);
    talk(&client, &friend, Transport::Upgrade, 1).await.unwrap();
    let recordings = [
        ("The first request, to one server", handshake.take()),
        ("The first two, through round robin", refused.take()),
        (
            "From polling to a WebSocket, and two messages",
            upgrade.take(),
        ),
    ];
    assert_snapshot!(wire::transcript(&bench.stage, &recordings));
}

/// One server, without nginx.
async fn alone() -> (Bench, String) {
    let mut bench = Bench::new(CHAPTER);
    bench.stage.servers.start(1, &[]).await.unwrap();
    let url = bench.stage.servers.url('A').unwrap();
    (bench, url)
}

#[tokio::test]
async fn the_page_comes_with_every_file_that_it_names() {
    // Before the first answer of a page its client is fetched, if it is missing. That may take
    // longer than an answer. Without npm the page says so.
    let _without_npm = pages::packages().await;
    let (_bench, url) = alone().await;
    let client = Client::new("you", &url);
    let named = Regex::new(r#"(?:src=|href=|from )"(?:\./)?([\w.]+)""#).unwrap();
    let mut files = vec![String::new()];
    for next in 0.. {
        let Some(file) = files.get(next) else { break };
        let answer = client.get_once(&format!("/{file}")).await.unwrap();
        // The icon is empty: 204.
        assert!([200, 204].contains(&answer.status), "/{file}: {answer:?}");
        for name in named.captures_iter(&answer.body) {
            if !files.iter().any(|known| known == &name[1]) {
                files.push(name[1].to_owned());
            }
        }
    }
    let order = ["recorder.js", "socket.io", "page.js"];
    let page = client.get_once("/").await.unwrap().body;
    assert!(
        order.map(|script| page.find(script)).is_sorted(),
        "the recorder comes before the client: {page}"
    );
    assert!(files.iter().any(|file| file == "packets.js"), "{files:?}");
}

#[tokio::test]
async fn the_first_answer_opens_a_session_and_offers_websocket() {
    let (_bench, url) = alone().await;
    let polling = Polling::open(&Client::new("you", &url)).await.unwrap();
    let open = polling.open;
    assert_eq!(open.upgrades, ["websocket"]);
    assert_eq!((open.ping_interval, open.ping_timeout), (25_000, 20_000));
    assert!(
        open.sid.len() >= 16,
        "a session ID is a secret, so it is long"
    );
}

#[tokio::test]
async fn a_poll_is_held_and_answered_by_an_event() {
    let (_bench, url) = alone().await;
    let pause = Duration::from_millis(300);
    let [client, friend] = ["you", "friend"].map(|name| Client::new(name, &url));
    let poll = hold_a_poll(&client, &friend, "hi", pause).await.unwrap();
    assert!(poll.held >= pause, "{:?}", poll.held);
    assert_eq!(
        poll.packets,
        [Packet::Message(r#"2["message","hi"]"#.to_owned())]
    );
}

#[tokio::test]
async fn over_polling_a_message_is_a_request_and_over_websocket_a_frame() {
    let (_bench, url) = alone().await;
    let traffic = async |transport| {
        let [client, friend] = ["you", "friend"].map(|name| Client::new(name, &url));
        let talk = talk(&client, &friend, transport, 10).await;
        talk.unwrap().traffic
    };
    let polling = traffic(Transport::Polling).await;
    let websocket = traffic(Transport::WebSocket).await;
    assert!(polling.requests > 20 && polling.frames == 0, "{polling:?}");
    assert!(
        websocket.requests == 1 && websocket.frames > 20,
        "{websocket:?}"
    );
    assert!(websocket.bytes_sent * 4 < polling.bytes_sent);
}

#[tokio::test]
async fn the_default_begins_with_polling_and_upgrades() {
    let (_bench, url) = alone().await;
    let (client, seen) = Client::new("you", &url).recorded();
    let friend = Client::new("friend", &url);
    talk(&client, &friend, Transport::Upgrade, 1).await.unwrap();
    let frames = seen.take().into_iter().filter_map(|event| match event {
        Event::Frame { text, .. } => Some(text),
        _ => None,
    });
    let frames: Vec<_> = frames.collect();
    assert_eq!(frames[..3], ["2probe", "3probe", "5"]);
    let message = r#"42["message","hello world"]"#.to_owned();
    assert!(frames.contains(&message), "{frames:?}");
}

#[tokio::test]
async fn the_server_ends_a_session_whose_client_does_not_answer_the_ping() {
    let (_bench, url) = alone().await;
    let mut silent = WebSocket::open(&Client::new("silent", &url), None)
        .await
        .unwrap();
    let Packet::Open(open) = silent.receive().await.unwrap() else {
        panic!("no open packet");
    };
    let alive = Client::new("alive", &url);
    let mut alive = Socket::connect(&alive, Transport::WebSocket, None)
        .await
        .unwrap();

    assert_eq!(silent.receive().await.unwrap(), Packet::Ping(String::new()));
    let asked = Instant::now();
    while silent.receive().await.is_ok() {}
    let ended_after = asked.elapsed();

    let ping_timeout = Duration::from_millis(open.ping_timeout);
    assert!(
        ended_after.abs_diff(ping_timeout) < Duration::from_secs(2),
        "{ended_after:?} and not {ping_timeout:?}"
    );
    let ended = alive.ends(Duration::from_secs(1)).await;
    assert!(!ended, "a client that answers stays connected");
}

#[tokio::test]
async fn behind_round_robin_the_second_poll_is_refused_by_another_server_every_time() {
    let mut bench = Bench::with_servers(CHAPTER, &[]).await;
    let url = bench.nginx("02-round-robin.conf").await;
    for _ in 0..30 {
        let twice = poll_twice(&Client::new("you", &url)).await.unwrap();
        assert!(is_session_unknown(&twice.refusal.unwrap()));
        assert!(twice.owner.is_some() && twice.asked.is_some());
        assert_ne!(twice.owner, twice.asked);
    }
}

#[tokio::test]
async fn the_server_that_owns_the_session_knows_it() {
    let mut bench = Bench::with_servers(CHAPTER, &[]).await;
    let url = bench.nginx("02-round-robin.conf").await;
    // With two of the three servers down, the owner gets every request.
    let alone = bench
        .nginx_with("02-round-robin.conf", down_but_the_first)
        .await;
    assert_eq!(url, alone);
    let twice = poll_twice(&Client::new("you", &alone)).await.unwrap();
    assert_eq!(twice.refusal, None);
}

fn down_but_the_first(config: &str) -> String {
    config
        .replace("127.0.0.1:8001;", "127.0.0.1:8001 down;")
        .replace("127.0.0.1:8002;", "127.0.0.1:8002 down;")
}

#[tokio::test]
async fn a_bare_proxy_pass_breaks_websocket() {
    let mut bench = Bench::with_servers(CHAPTER, &[]).await;
    let url = bench.nginx("02-round-robin.conf").await;
    let client = Client::new("you", &url);
    let connected = Socket::connect(&client, Transport::WebSocket, None).await;
    let error = connected.err().unwrap();
    assert_eq!(error.refusal().map(|answer| answer.status), Some(400));
}

#[tokio::test]
async fn with_the_upgrade_headers_websocket_is_not_affected_by_round_robin() {
    let mut bench = Bench::with_servers(CHAPTER, &[]).await;
    let url = bench.nginx("03-websocket.conf").await;
    let tally = connect_one_by_one(&url, Transport::WebSocket, 30).await;
    assert_eq!(tally.connected, 30, "{:?}", tally.reasons);
}

#[tokio::test]
async fn with_the_upgrade_headers_polling_and_the_default_are_still_broken() {
    let mut bench = Bench::with_servers(CHAPTER, &[]).await;
    let url = bench.nginx("03-websocket.conf").await;
    for transport in [Transport::Polling, Transport::Upgrade] {
        let tally = connect_one_by_one(&url, transport, 30).await;
        assert_eq!(tally.connected, 0);
        for reason in tally.reasons {
            assert!(reason.contains("Session ID unknown"), "{reason}");
        }
    }
}

#[tokio::test]
async fn the_official_client_connects_to_one_server_with_each_setting() {
    let Some(client) = OfficialClient::find() else {
        return;
    };
    let (_bench, url) = alone().await;
    for (transports, ends_with) in [
        (json!(["polling"]), "polling"),
        (json!(["websocket"]), "websocket"),
        (json!(["polling", "websocket"]), "websocket"),
    ] {
        let options = json!({ "url": url, "transports": transports }).to_string();
        let outcome = client.run(&["connect", &options]).await;
        assert_eq!(
            outcome,
            json!({ "connected": true, "transport": ends_with })
        );
    }
}

#[tokio::test]
async fn the_official_client_gets_connect_error_behind_round_robin_unless_it_uses_websocket_alone()
{
    let Some(client) = OfficialClient::find() else {
        return;
    };
    let mut bench = Bench::with_servers(CHAPTER, &[]).await;
    let url = bench.nginx("03-websocket.conf").await;
    for transports in [json!(["polling"]), json!(["polling", "websocket"])] {
        let options = json!({ "url": url, "transports": transports }).to_string();
        let outcome = client.run(&["connect", &options]).await;
        assert_eq!(outcome["connected"], json!(false), "{outcome}");
        assert_eq!(outcome["status"], json!(400), "{outcome}");
        assert!(
            outcome["body"].to_string().contains("Session ID unknown"),
            "{outcome}"
        );
    }
    let options = json!({ "url": url, "transports": ["websocket"] }).to_string();
    let outcome = client.run(&["connect", &options]).await;
    assert_eq!(outcome["connected"], json!(true), "{outcome}");
}

/// The chapter's page.
async fn page_at(browser: &Browser, url: &str) -> Page {
    let page = browser.page().await;
    page.goto(&format!("{url}/")).await;
    page.wait_js("document.querySelector('[data-panel=default]')")
        .await;
    page
}

/// Waits until a panel of the page is `connected`, `refused`, ….
async fn wait_status(page: &Page, panel: &str, status: &str) {
    let status = format!("[data-panel={panel}] [data-status={status}]");
    page.wait_js(&format!("document.querySelector('{status}')"))
        .await;
}

/// The client of a panel connects and says `hello world`. A friend answers `hi`.
async fn talk_on_the_page(page: &Page, panel: &str, friend: &mut Socket) {
    page.click(&format!("[data-panel={panel}] [data-act=connect]"))
        .await;
    wait_status(page, panel, "connected").await;
    if panel == "default" {
        page.wait_events("the upgrade", |events| {
            events.iter().any(|event| {
                event["method"] == "Network.webSocketFrameSent"
                    && event["params"]["response"]["payloadData"] == "5"
            })
        })
        .await;
    }
    page.click(&format!("[data-panel={panel}] [data-act=say]"))
        .await;
    page.type_text("hello world").await;
    page.key("Enter").await;
    let heard = friend.hear("message", Duration::from_secs(5)).await;
    assert_eq!(heard.unwrap(), "hello world");
    friend.emit("message", &json!("hi")).unwrap();
    page.wait_js(&format!(
        "document.querySelector('[data-panel={panel}] [data-heard] li')"
    ))
    .await;
}

async fn friend(url: &str) -> Socket {
    let client = Client::new("friend", url);
    Socket::connect(&client, Transport::WebSocket, None)
        .await
        .unwrap()
}

/// The article opens the browser's network panel three times.
#[tokio::test]
async fn a_browsers_network_panel_shows_the_three_settings() {
    let Some(browser) = Browser::find() else {
        return;
    };
    let (_bench, url) = alone().await;
    let mut friend = friend(&url).await;
    let mut shown = String::new();
    for (panel, setting, held_polls) in [
        ("polling", r#"["polling"]"#, 1),
        ("websocket", r#"["websocket"]"#, 0),
        ("default", "(the default)", 0),
    ] {
        let page = page_at(&browser, &url).await;
        talk_on_the_page(&page, panel, &mut friend).await;
        let network = panel::network(&page, held_polls).await;
        shown.push_str(&format!("── transports: {setting}\n{network}\n"));
    }
    assert_snapshot!(shown);
}

#[tokio::test]
async fn the_page_shows_which_clients_are_refused_behind_round_robin_and_why() {
    let Some(browser) = Browser::find() else {
        return;
    };
    let mut bench = Bench::with_servers(CHAPTER, &[]).await;
    let url = bench.nginx("03-websocket.conf").await;
    for panel in ["polling", "default"] {
        let page = page_at(&browser, &url).await;
        page.click(&format!("[data-panel={panel}] [data-act=connect]"))
            .await;
        wait_status(&page, panel, "refused").await;
        let status = format!("document.querySelector('[data-panel={panel}] [data-status]')");
        page.wait_js(&format!(
            "{status}.textContent.includes('400 Session ID unknown')"
        ))
        .await;
    }
    let page = page_at(&browser, &url).await;
    page.click("[data-panel=websocket] [data-act=connect]")
        .await;
    wait_status(&page, "websocket", "connected").await;
}

/// A proxy may serve the page below a path. Its clients then connect there too.
#[tokio::test]
async fn the_page_works_below_a_prefix_too() {
    let Some(browser) = Browser::find() else {
        return;
    };
    let mut bench = Bench::with_servers(CHAPTER, &[]).await;
    let url = bench
        .nginx_with("03-websocket.conf", |config| {
            config
                .replace("location / {", "location /chat/ {")
                .replace("proxy_pass http://nodes;", "proxy_pass http://nodes/;")
        })
        .await;
    let page = page_at(&browser, &format!("{url}/chat")).await;
    page.click("[data-panel=websocket] [data-act=connect]")
        .await;
    wait_status(&page, "websocket", "connected").await;
    assert_eq!(page.complaints(), [""; 0]);
}

#[tokio::test]
async fn the_page_is_readable_for_everyone_and_asks_no_other_host() {
    let Some(browser) = Browser::find() else {
        return;
    };
    let (_bench, url) = alone().await;
    let page = page_at(&browser, &url).await;
    let mut friend = friend(&url).await;
    for panel in ["polling", "websocket", "default"] {
        talk_on_the_page(&page, panel, &mut friend).await;
    }
    for scheme in ["light", "dark"] {
        page.media(scheme, true).await;
        for width in [360, 1440] {
            page.viewport(width, 900).await;
            assert_eq!(page.axe().await, [""; 0], "{scheme}, {width} wide");
            assert_eq!(
                page.js("document.documentElement.scrollWidth").await,
                width,
                "the page is not wider than the window"
            );
        }
    }
    assert_eq!(page.complaints(), [""; 0]);
    let host = url.trim_start_matches("http://");
    assert_eq!(page.foreign(&[host]), [""; 0]);
}

/// Without npm the page loads the client from the CDN, and allows no other file.
#[tokio::test]
async fn the_client_from_npm_is_the_one_that_the_cdn_must_have() {
    let Some(browser) = Browser::find() else {
        return;
    };
    let (_bench, url) = alone().await;
    let page = page_at(&browser, &url).await;
    let hash = page
        .js(
            "fetch('socket.io.min.js').then((file) => file.arrayBuffer()) \
             .then((bytes) => crypto.subtle.digest('SHA-384', bytes)) \
             .then((hash) => 'sha384-' + btoa(String.fromCharCode(...new Uint8Array(hash))))",
        )
        .await;
    assert_eq!(hash, pages::INTEGRITY);
}

#[tokio::test]
async fn the_page_can_be_used_with_the_keyboard_alone() {
    let Some(browser) = Browser::find() else {
        return;
    };
    let (_bench, url) = alone().await;
    let page = page_at(&browser, &url).await;
    let mut friend = friend(&url).await;
    tab_to(&page, "[data-panel=polling] [data-act=connect]").await;
    page.key("Enter").await;
    wait_status(&page, "polling", "connected").await;
    tab_to(&page, "[data-panel=polling] [data-act=say]").await;
    page.type_text("hello world").await;
    page.key("Enter").await;
    let heard = friend.hear("message", Duration::from_secs(5)).await;
    assert_eq!(heard.unwrap(), "hello world");
    tab_to(&page, "#pause").await;
    page.key(" ").await;
    page.wait_js("document.querySelector('#pause[aria-pressed=true]')")
        .await;
}

/// Presses Tab until an element has the focus, and shows it.
async fn tab_to(page: &Page, selector: &str) {
    for _ in 0..40 {
        page.key("Tab").await;
        let focused = "document.activeElement";
        let is_it = page.js(&format!("{focused}.matches('{selector}')")).await;
        if is_it == true {
            let outline = page
                .js(&format!("getComputedStyle({focused}).outlineStyle"))
                .await;
            assert_eq!(outline, "solid", "the focus on {selector} is visible");
            return;
        }
    }
    panic!("no Tab leads to {selector}");
}

#[test]
fn each_question_of_the_page_is_answered_by_what_happens() {
    let observatory = Observatory::of(CHAPTER);
    let [nobody, spread] = [0, 3];
    assert_eq!(
        observatory.answers(2),
        [
            (nobody, "0 of 9 connected".to_owned()),
            (spread, "9 of 9 connected: A 3, B 3, C 3".to_owned()),
        ]
    );
}

const PICTURE: Picture = Picture {
    name: "03-page",
    page: "chapters/03-socket-polling/page",
    package: "ch03-socket-polling",
};

#[test]
fn the_picture_in_the_readme_shows_the_page_as_it_is() {
    PICTURE.is_current();
}

#[tokio::test]
#[ignore = "takes the picture in the README"]
async fn picture() {
    let browser = Browser::find().expect("a browser");
    let (_bench, url) = alone().await;
    let page = page_at(&browser, &url).await;
    page.viewport(1280, 2100).await;
    let mut friend = friend(&url).await;
    for panel in ["polling", "websocket"] {
        page.click(&format!("[data-panel={panel}] [data-act=connect]"))
            .await;
        wait_status(&page, panel, "connected").await;
        talk_on_the_page(&page, panel, &mut friend).await;
    }
    PICTURE.take(&page).await;
}
