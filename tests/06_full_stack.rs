//! Chapter 6: nginx, three servers, Redis, and an emitter outside.

// All of this file is a test, its helpers too.
#![allow(clippy::unwrap_used)]

mod harness;

use std::{net::Ipv4Addr, time::Duration};

use ch03_socket_polling::{is_session_unknown, poll_twice};
use ch04_ip_hash::ip_hash;
use ch06_full_stack::experiment::{User, address_for, write, write_until_heard};
use harness::{
    bench::Bench,
    binary::{Running, command, every_claim_holds, is_refused},
    browser::{Browser, Page},
    node::OfficialClient,
    observatory::{Observatory, choose},
    pictures::Picture,
    transcript,
};
use insta::assert_snapshot;
use lab::{Client, Transport};
use rustix::process::Signal;
use serde_json::json;

const CHAPTER: &str = env!("CARGO_BIN_EXE_ch06-full-stack");
const EMIT: &str = env!("CARGO_BIN_EXE_emit");

#[test]
fn every_claim_of_the_chapter_holds() {
    every_claim_holds(CHAPTER);
}

#[test]
fn what_a_learner_reads_is_the_same_in_every_run() {
    assert_snapshot!(transcript::of_check(CHAPTER));
}

/// nginx with `ip_hash`, three servers with the adapter, Redis; nginx's URL.
async fn full_stack() -> (Bench, String) {
    let mut bench = Bench::new(CHAPTER);
    let redis = bench.redis().await;
    let environment = [("REDIS_URL", redis.as_str())];
    bench.stage.start_servers(3, &environment).await.unwrap();
    let url = bench.nginx("06-full-stack.conf").await;
    (bench, url)
}

/// The same without the adapter, and without Redis.
async fn without_the_adapter() -> (Bench, String) {
    let mut bench = Bench::with_servers(CHAPTER, &[("ADAPTER", "off")]).await;
    let url = bench.nginx("06-full-stack.conf").await;
    (bench, url)
}

async fn user(url: &str, name: &str, server: usize, transport: Transport) -> User {
    User::connect(url, name, server, transport).await.unwrap()
}

/// `PUBSUB CHANNELS` after each server's start: a name in it that is new is that server's.
#[tokio::test]
async fn each_server_listens_on_one_channel_of_all_and_two_of_its_own() {
    let mut bench = Bench::new(CHAPTER);
    let redis = bench.redis().await;
    let environment = [("REDIS_URL", redis.as_str())];
    let client = redis::Client::open(redis.as_str()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut names: Vec<(String, String)> = Vec::new();
    let mut listened_on = String::new();
    for (count, letter) in (1..).zip(['A', 'B', 'C']) {
        let stage = &mut bench.stage;
        stage.start_servers(count, &environment).await.unwrap();
        let channels: Vec<String> = redis::cmd("PUBSUB")
            .arg("CHANNELS")
            .query_async(&mut connection)
            .await
            .unwrap();
        // `socket.io-request#/#`, and with a server's own name `socket.io-request#/#…#`.
        for channel in &channels {
            let name = channel.split('#').nth(2).unwrap_or_default();
            if !name.is_empty() && names.iter().all(|(known, _)| known != name) {
                names.push((name.to_owned(), format!("[{letter}]")));
            }
        }
        let redact = |channel: &String| {
            let redacted = names.iter();
            redacted.fold(channel.clone(), |text, (name, letter)| {
                text.replace(name, letter)
            })
        };
        let mut channels: Vec<_> = channels.iter().map(redact).collect();
        channels.sort();
        listened_on.push_str(&format!("── {count} up\n{}\n", channels.join("\n")));
    }
    assert_snapshot!(listened_on);
}

#[tokio::test]
async fn without_the_adapter_a_message_to_another_server_is_lost() {
    let (_bench, url) = without_the_adapter().await;
    let alice = user(&url, "alice", 0, Transport::Upgrade).await;
    let mut bob = user(&url, "bob", 1, Transport::Upgrade).await;
    let mut ann = user(&url, "ann", 0, Transport::Upgrade).await;
    assert_ne!(alice.socket.owner, bob.socket.owner);
    assert!(!write(&alice, &mut bob, "hi").await.unwrap().0);
    assert!(
        write(&alice, &mut ann, "hi").await.unwrap().0,
        "her own server"
    );
}

#[tokio::test]
async fn the_adapter_carries_it_over_each_transport() {
    let (_bench, url) = full_stack().await;
    for transport in [Transport::Polling, Transport::WebSocket, Transport::Upgrade] {
        let alice = user(&url, "alice", 0, transport).await;
        let mut bob = user(&url, "bob", 1, transport).await;
        assert_ne!(alice.socket.owner, bob.socket.owner);
        assert!(
            write(&alice, &mut bob, "hi").await.unwrap().0,
            "{transport}"
        );
    }
}

#[tokio::test]
async fn a_user_hears_on_every_device_and_nobody_else_does() {
    let (_bench, url) = full_stack().await;
    let alice = user(&url, "alice", 0, Transport::Upgrade).await;
    let mut laptop = user(&url, "bob", 1, Transport::Upgrade).await;
    let mut phone = user(&url, "bob", 2, Transport::Polling).await;
    let mut carol = user(&url, "carol", 1, Transport::Upgrade).await;
    alice.say("bob", "hi, both").await.unwrap();
    alice.say("carol", "hi, carol").await.unwrap();
    assert!(laptop.hears("alice", "hi, both").await);
    assert!(phone.hears("alice", "hi, both").await);
    assert!(
        carol.hears("alice", "hi, carol").await,
        "and nothing before it"
    );
}

#[tokio::test]
async fn a_broadcast_reaches_everybody_once_and_in_order() {
    let (_bench, url) = full_stack().await;
    let alice = user(&url, "alice", 0, Transport::Upgrade).await;
    let mut others = Vec::new();
    for number in 0..9 {
        let name = format!("user {number}");
        others.push(user(&url, &name, number % 3, Transport::Upgrade).await);
    }
    for word in ["one", "two", "three"] {
        alice.shout(word).await.unwrap();
    }
    for other in &mut others {
        for word in ["one", "two", "three"] {
            assert!(other.hears("alice", word).await, "{} {word}", other.name);
        }
    }
}

#[tokio::test]
async fn the_emitter_reaches_a_user_from_outside() {
    let mut bench = Bench::new(CHAPTER);
    let redis = bench.redis().await;
    let environment = [("REDIS_URL", redis.as_str())];
    bench.stage.start_servers(3, &environment).await.unwrap();
    let url = bench.nginx("06-full-stack.conf").await;
    let mut bob = user(&url, "bob", 1, Transport::Upgrade).await;
    let emit = bench
        .stage
        .start_program("emit", &["bob", "from outside"], &environment)
        .unwrap();
    assert!(bob.hears("emit", "from outside").await);
    emit.finish().await.unwrap();
}

#[tokio::test]
async fn the_adapter_shares_messages_and_not_sessions() {
    let (mut bench, url) = full_stack().await;
    let client = Client::at("you", &url, address_for(0, 3));
    assert_eq!(poll_twice(&client).await.unwrap().refusal, None);

    let url = bench
        .nginx_with("06-full-stack.conf", |config| {
            config.replace("ip_hash;", "")
        })
        .await;
    let twice = poll_twice(&Client::new("you", &url)).await.unwrap();
    assert!(is_session_unknown(&twice.refusal.unwrap()));
}

#[tokio::test]
async fn while_redis_is_away_a_server_delivers_to_its_own_and_afterwards_to_all() {
    let (mut bench, url) = full_stack().await;
    let alice = user(&url, "alice", 0, Transport::Upgrade).await;
    let mut ann = user(&url, "ann", 0, Transport::Upgrade).await;
    let mut bob = user(&url, "bob", 1, Transport::Upgrade).await;

    bench.kill_redis().await;
    assert!(bench.stage.await_line('A', "Redis is gone").await);
    assert!(write(&alice, &mut ann, "still there?").await.unwrap().0);
    assert!(!write(&alice, &mut bob, "and you?").await.unwrap().0);

    bench.restart_redis().await;
    let heard = write_until_heard(&alice, &mut bob, Duration::from_secs(5)).await;
    assert!(heard.unwrap().is_some(), "messages cross again");
    assert!(
        write(&bob, &mut ann, "back").await.unwrap().0,
        "and the other way"
    );
}

/// Closing sockets tells Redis, and one that is gone does not answer.
#[tokio::test]
async fn a_server_ends_when_asked_although_redis_is_gone() {
    let mut bench = Bench::new(CHAPTER);
    let redis = bench.redis().await;
    let mut server = Running::start(
        command(CHAPTER)
            .env("PORT", "0")
            .env("REDIS_URL", redis.as_str()),
    );
    let line = server.line_with("running on");
    let port = line.split_whitespace().nth(4).unwrap();
    let url = format!("http://127.0.0.1:{port}");
    let _bob = user(&url, "bob", 1, Transport::WebSocket).await;

    bench.kill_redis().await;
    server.line_with("Redis is gone");
    server.signal(Signal::TERM);
    assert_eq!(server.end(), Some(0));
}

#[tokio::test]
async fn the_official_client_writes_to_another_server_with_each_setting() {
    let Some(client) = OfficialClient::find() else {
        return;
    };
    for (adapter, (_bench, url)) in [
        (false, without_the_adapter().await),
        (true, full_stack().await),
    ] {
        for transports in [
            json!(["polling"]),
            json!(["websocket"]),
            json!(["polling", "websocket"]),
        ] {
            let [alice, bob] = [("alice", 0), ("bob", 1)].map(|(name, server)| {
                json!({
                    "url": url,
                    "transports": transports,
                    "forwardedFor": address_for(server, 3),
                    "user": name,
                })
                .to_string()
            });
            let outcome = client.run(&["write", &alice, &bob, "hi"]).await;
            assert_eq!(outcome, json!({ "connected": true, "arrived": adapter }));
        }
    }
}

/// A user's page, connected.
async fn chat(browser: &Browser, url: &str, user: &str) -> Page {
    let page = browser.page().await;
    page.goto(&format!("{url}/?user={user}")).await;
    page.wait_js(CONNECTED).await;
    page
}

const CONNECTED: &str = "document.querySelector('[data-status=connected]') \
    && document.querySelector('#server').textContent.includes('PID')";

const ACKNOWLEDGED: &str =
    "document.querySelector('#sent li:first-child [data-outcome=acknowledged]')";

/// Fills in the form, and sends it.
async fn send(page: &Page, to: &str, text: &str) {
    for (field, words) in [("#to", to), ("#text", text)] {
        page.click(field).await;
        page.js(&format!("document.querySelector('{field}').select()"))
            .await;
        page.type_text(words).await;
    }
    page.click("#send").await;
    page.wait_js(ACKNOWLEDGED).await;
}

/// What stands in the list of what was heard, line by line, the newest first.
async fn heard(page: &Page) -> serde_json::Value {
    page.js(
        "[...document.querySelectorAll('#heard li')].map((item) => item.innerText.split('\\n'))",
    )
    .await
}

/// So that what the tests of the pages do not see is not there.
#[tokio::test]
async fn a_page_with_every_fault_is_found_out() {
    let Some(browser) = Browser::find() else {
        return;
    };
    let page = browser.page().await;
    page.goto(
        "data:text/html,<img src=http://example.com/x.png><script>console.error(1); throw 2</script>",
    )
    .await;
    assert_eq!(page.foreign(&["127.0.0.1"]), ["http://example.com/x.png"]);
    page.wait_events("what is logged, what is thrown, what did not load", |_| {
        page.complaints().len() == 3
    })
    .await;
    let found = page.axe().await;
    assert!(
        found.iter().any(|fault| fault.contains("image-alt")),
        "{found:?}"
    );
}

#[tokio::test]
async fn in_a_browser_a_message_crosses_servers_with_the_adapter_and_not_without() {
    let Some(browser) = Browser::find() else {
        return;
    };
    for (adapter, (bench, _)) in [
        (false, without_the_adapter().await),
        (true, full_stack().await),
    ] {
        let [a, b] = ['A', 'B'].map(|letter| bench.stage.server_url(letter).unwrap());
        let alice = chat(&browser, &a, "alice").await;
        let bob = chat(&browser, &b, "bob").await;
        let ann = chat(&browser, &b, "ann").await;
        // Acknowledged in either case: that does not mean delivered.
        send(&alice, "bob", "hi").await;
        if adapter {
            bob.wait_js("document.querySelectorAll('#heard li').length === 1")
                .await;
        }
        // Ann is on Bob's server. What he hears of her is the next thing, or the first.
        send(&ann, "bob", "hello").await;
        bob.wait_js("document.querySelector('#heard').innerText.includes('hello')")
            .await;
        let expected = if adapter {
            json!([["ann", "hello"], ["alice", "hi"]])
        } else {
            json!([["ann", "hello"]])
        };
        assert_eq!(heard(&bob).await, expected, "adapter: {adapter}");
        for page in [alice, bob, ann] {
            assert_eq!(page.complaints(), [""; 0]);
        }
    }
}

#[tokio::test]
async fn through_nginx_the_page_names_the_server_that_holds_its_connection() {
    let Some(browser) = Browser::find() else {
        return;
    };
    let (bench, url) = full_stack().await;
    let page = chat(&browser, &url, "alice").await;
    let named = page
        .js("document.querySelector('#server').textContent")
        .await;
    let owner = ip_hash(Ipv4Addr::LOCALHOST, 3);
    let address = bench.stage.server_addresses()[owner];
    let letter = bench.stage.letter_of(Some(address)).unwrap();
    let pid = bench.stage.server_pid(letter).unwrap();
    let expected = format!("■ {letter} PID {pid} on port {}", address.port());
    assert_eq!(named, expected);
}

/// Where a proxy gives a page a path of its own, the page asks for everything below it.
#[tokio::test]
async fn the_page_works_below_a_prefix_too() {
    let Some(browser) = Browser::find() else {
        return;
    };
    let mut bench = Bench::with_servers(CHAPTER, &[("ADAPTER", "off")]).await;
    let url = bench
        .nginx_with("06-full-stack.conf", |config| {
            config
                .replace("location / {", "location /chat/ {")
                .replace("proxy_pass http://nodes;", "proxy_pass http://nodes/;")
        })
        .await;
    let page = chat(&browser, &format!("{url}/chat"), "alice").await;
    assert_eq!(page.complaints(), [""; 0]);
}

#[tokio::test]
async fn side_by_side_alice_and_bob_are_on_two_servers() {
    let Some(browser) = Browser::find() else {
        return;
    };
    let (bench, _) = full_stack().await;
    let [a, b] = ['A', 'B'].map(|letter| bench.stage.server_url(letter).unwrap());
    let page = browser.page().await;
    page.goto(&format!("{a}/pair?bob={b}")).await;
    for frame in [&a, &b] {
        page.wait_js_in(frame, CONNECTED).await;
    }
    page.js_in(&a, "document.querySelector('#text').value = 'hi'")
        .await;
    page.js_in(&a, "document.querySelector('#say').requestSubmit()")
        .await;
    page.wait_js_in(
        &b,
        "document.querySelector('#heard').innerText.includes('hi')",
    )
    .await;
    assert_eq!(page.axe().await, [""; 0]);
    assert_eq!(page.complaints(), [""; 0]);
    let hosts = [&a, &b].map(|url| url.trim_start_matches("http://"));
    assert_eq!(page.foreign(&hosts), [""; 0]);

    // Only pages of this machine are shown there.
    for elsewhere in ["http://example.com", "javascript:alert(1)", "//example.com"] {
        let page = browser.page().await;
        page.goto(&format!("{a}/pair?bob={elsewhere}")).await;
        page.wait_js("document.body.innerText.includes('Not an address of this machine')")
            .await;
        assert_eq!(
            page.js("document.querySelectorAll('[src^=http]').length")
                .await,
            0
        );
        assert_eq!(page.foreign(&hosts), [""; 0]);
    }
}

#[tokio::test]
async fn the_chat_can_be_used_with_the_keyboard_alone() {
    let Some(browser) = Browser::find() else {
        return;
    };
    let (bench, url) = without_the_adapter().await;
    let page = browser.page().await;
    page.goto(&url).await;
    page.wait_js("document.activeElement.id === 'name'").await;
    page.type_text("alice").await;
    page.key("Enter").await;
    page.wait_js(CONNECTED).await;
    for control in ["to", "text", "send", "shout"] {
        page.key("Tab").await;
        assert_eq!(page.js("document.activeElement.id").await, control);
        assert_eq!(
            page.js("getComputedStyle(document.activeElement).outlineStyle")
                .await,
            "solid",
            "the focus on {control} is seen"
        );
        if control == "text" {
            page.type_text("hi").await;
        }
    }
    page.key(" ").await;
    page.wait_js(ACKNOWLEDGED).await;
    assert_eq!(page.js("document.activeElement.id").await, "text");
    page.type_text("again").await;
    page.key("Enter").await;
    page.wait_js("document.querySelectorAll('#sent [data-outcome=acknowledged]').length === 2")
        .await;
    drop(bench);
}

#[tokio::test]
async fn the_chat_page_is_readable_for_everyone() {
    let Some(browser) = Browser::find() else {
        return;
    };
    let (_bench, url) = without_the_adapter().await;
    let host = url.trim_start_matches("http://");
    let page = chat(&browser, &url, "alice").await;
    let friend = chat(&browser, &url, "bob").await;
    send(&page, "bob", "hi").await;
    send(
        &friend,
        "alice",
        "a long word: 0123456789012345678901234567890123456789012345678901234567890",
    )
    .await;
    page.wait_js("document.querySelector('#heard li')").await;
    for scheme in ["light", "dark"] {
        page.media(scheme, true).await;
        for width in [360, 1440] {
            page.viewport(width, 900).await;
            assert_eq!(page.axe().await, [""; 0], "{scheme}, {width} wide");
            assert_eq!(
                page.js("document.documentElement.scrollWidth").await,
                width,
                "nothing stands out at the side"
            );
        }
    }
    assert_eq!(page.complaints(), [""; 0]);
    assert_eq!(page.foreign(&[host]), [""; 0]);
}

#[tokio::test]
async fn the_page_says_that_its_server_is_gone_and_comes_back_with_it() {
    let Some(browser) = Browser::find() else {
        return;
    };
    let mut bench = Bench::with_servers(CHAPTER, &[("ADAPTER", "off")]).await;
    let url = bench.stage.server_url('A').unwrap();
    let page = chat(&browser, &url, "alice").await;
    bench.stage.kill_server('A').await.unwrap();
    page.wait_js("document.querySelector('#connection[data-status=lost]')")
        .await;
    assert_eq!(
        page.js("document.querySelector('#server').textContent")
            .await,
        "none"
    );
    bench.stage.start_server('A').await.unwrap();
    page.wait_js(CONNECTED).await;
}

#[test]
fn an_adapter_that_makes_no_sense_is_named() {
    is_refused(
        command(CHAPTER).env("PORT", "0").env("ADAPTER", "usb"),
        1,
        &["ADAPTER=usb"],
    );
}

#[test]
fn a_redis_that_does_not_answer_is_named() {
    for command in [
        command(CHAPTER).env("PORT", "0"),
        command(EMIT).args(["bob", "hi"]),
    ] {
        is_refused(
            command.env("REDIS_URL", "redis://127.0.0.1:1"),
            1,
            &["no Redis answers at redis://127.0.0.1:1"],
        );
    }
}

#[test]
fn emit_says_what_it_takes() {
    is_refused(&mut command(EMIT), 2, &["<USER>", "<TEXT>"]);
}

#[test]
fn each_question_of_the_page_is_answered_by_what_happens() {
    let observatory = Observatory::of(CHAPTER);
    let [arrives, lost, nobody] = [0, 1, 0];
    assert_eq!(
        observatory.answers(3),
        [
            (
                lost,
                "what alice on A wrote did not reach bob on B".to_owned()
            ),
            (arrives, "what alice on A wrote reached bob on B".to_owned()),
            (nobody, "0 of 9 connected".to_owned()),
        ]
    );
}

#[tokio::test]
async fn in_the_observatory_redis_dies_and_messages_cross_again_when_it_is_back() {
    let Some(browser) = Browser::find() else {
        return;
    };
    let observatory = Observatory::of(CHAPTER);
    let page = observatory.open(&browser).await;
    choose(&page, "#transport", "websocket").await;
    choose(&page, "#count", "3").await;
    choose(&page, "#crowd", "spread").await;
    page.click("#add-clients").await;
    page.wait_js("document.querySelectorAll('[data-client][data-status=connected]').length === 3")
        .await;
    choose(&page, "#say-from", "alice").await;
    choose(&page, "#say-to", "bob").await;

    page.click("#redis-stop").await;
    page.wait_js("!document.querySelector('#redis-start').disabled")
        .await;
    page.click("#say").await;
    page.wait_js("document.querySelector('#ledger [data-figure=lost]').textContent === '1'")
        .await;

    page.click("#redis-start").await;
    // Each server comes back by itself.
    for server in ["A", "B"] {
        page.wait_js(&format!(
            "document.querySelector('#log').textContent.includes('{server} writes: Redis is back')"
        ))
        .await;
    }
    page.click("#say").await;
    page.wait_js("document.querySelector('#ledger [data-figure=delivered]').textContent === '1'")
        .await;
    assert_eq!(page.complaints(), [""; 0]);
}

const PICTURE: Picture = Picture {
    name: "06-chat",
    page: "chapters/06-full-stack/page",
    package: "ch06-full-stack",
};

#[test]
fn the_picture_in_the_readme_shows_the_page_as_it_is() {
    PICTURE.is_current();
}

#[tokio::test]
#[ignore = "takes the picture in the README"]
async fn picture() {
    let browser = Browser::find().expect("a browser");
    let (bench, _) = full_stack().await;
    let [a, b] = ['A', 'B'].map(|letter| bench.stage.server_url(letter).unwrap());
    let page = browser.page().await;
    page.viewport(1440, 800).await;
    page.goto(&format!("{a}/pair?bob={b}")).await;
    for frame in [&a, &b] {
        page.wait_js_in(frame, CONNECTED).await;
    }
    for (from, to, text) in [(&a, &b, "hi"), (&b, &a, "hello")] {
        page.js_in(
            from,
            &format!("document.querySelector('#text').value = '{text}'"),
        )
        .await;
        page.js_in(from, "document.querySelector('#say').requestSubmit()")
            .await;
        page.wait_js_in(
            to,
            &format!("document.querySelector('#heard').innerText.includes('{text}')"),
        )
        .await;
    }
    PICTURE.take(&page).await;
}
