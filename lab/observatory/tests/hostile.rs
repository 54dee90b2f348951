//! The page's server gets hostile requests: from other programs, and from pages of other sites.

// All of this file is a test, its helpers too.
#![allow(clippy::unwrap_used)]

use std::{net::SocketAddr, process, time::Duration};

use harness::{
    attack::{grew_at_most, idle, meanwhile, no_http, raise_limit, resident, send},
    browser::Browser,
};
use lab::{Event, Observer, Stage};
use observatory::{Method, Scene};
use serde_json::json;
use tokio::io::AsyncWriteExt;

const PATIENCE: Duration = Duration::from_secs(5);

const SCENE: Scene = Scene {
    methods: &[Method::file("round robin", "02-round-robin.conf")],
    ..Scene::EMPTY
};

/// Opens the page of an empty stage, and attacks its server.
async fn with_a_page(attack: impl AsyncFnOnce(SocketAddr)) {
    let mut stage = Stage::silent("/nonexistent").unwrap();
    let mut observer = stage.observer();
    tokio::select! {
        opened = observatory::open(&mut stage, &SCENE) => panic!("it ended: {opened:?}"),
        () = async { attack(address(&mut observer).await).await } => {}
    }
}

/// The page's address, as the stage prints it.
async fn address(observer: &mut Observer) -> SocketAddr {
    loop {
        for observed in observer.next(10).await {
            if let Event::Note { text } = observed.event
                && let Some((_, address)) = text.split_once("http://")
            {
                return address.trim().parse().unwrap();
            }
        }
    }
}

/// Asks for a file of the page, as a browser does.
async fn ask(address: SocketAddr) {
    let request =
        format!("GET /observatory.css HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let answer = send(address, request.as_bytes(), PATIENCE).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_senseless_request_is_refused_and_the_page_is_still_served() {
    with_a_page(async |address| {
        let before = resident(process::id());
        let attack = async move {
            for bytes in no_http() {
                assert!(send(address, &bytes, PATIENCE).await.is_some());
            }
            let long = "x".repeat(100_000);
            for (body, status) in [
                ("", 400),
                ("{", 400),
                ("[]", 400),
                ("{\"do\":\"nothing\"}", 400),
                ("{\"do\":1}", 400),
                ("\u{0}", 400),
                (long.as_str(), 413),
            ] {
                let request = format!(
                    "POST /do HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\n\
                     Content-Type: application/json\r\nConnection: close\r\n\
                     Content-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                let answer = send(address, request.as_bytes(), PATIENCE).await.unwrap();
                // A client that is refused while it still sends may see a reset instead.
                let expected = format!("HTTP/1.1 {status}");
                assert!(
                    answer.starts_with(&expected) || answer.is_empty() && status == 413,
                    "{body:.40}: {answer}"
                );
            }
        };
        meanwhile(attack, async || ask(address).await).await;
        grew_at_most(process::id(), before, 64 * 1024);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_that_read_nothing_do_not_delay_the_others() {
    let count = raise_limit(500, 4);
    with_a_page(async |address| {
        let attack = async move {
            let mut viewers = idle(address, count).await;
            for viewer in &mut viewers {
                let request = format!("GET /events HTTP/1.1\r\nHost: {address}\r\n\r\n");
                viewer.write_all(request.as_bytes()).await.unwrap();
            }
            viewers
        };
        let _viewers = meanwhile(attack, async || ask(address).await).await;
    })
    .await;
}

#[tokio::test]
async fn the_log_says_that_a_message_was_too_long() {
    let Some(browser) = Browser::find() else {
        return;
    };
    with_a_page(async |address| {
        let page = browser.page().await;
        page.goto(&format!("http://{address}/")).await;
        let event = json!({
            "event": "forwarded", "client": "10.0.0.1", "status": 413, "tried": [],
            "request": "POST /socket.io/?EIO=4 HTTP/1.1",
        });
        let line = format!("import('./words.js').then(({{ line }}) => line({{}}, {event}, {{}}))");
        let line = page.js(&line).await;
        let said = "The answer is 413 (the message is too long), from nginx";
        assert!(line.as_str().unwrap().contains(said), "{line}");
    })
    .await;
}
