//! The chapter's pages in a browser: the chat, and the observatory.

use std::net::Ipv4Addr;

use ch04_ip_hash::ip_hash;
use harness::{
    bench::Bench,
    binary::family,
    browser::{Browser, Page},
    listening,
    observatory::{Observatory, choose},
    pictures::Picture,
};
use serde_json::json;

use crate::{CHAPTER, full_stack, without_the_adapter};

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

/// Fills in the form and sends it.
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

/// The list of received messages, the newest first: the lines of each.
async fn heard(page: &Page) -> serde_json::Value {
    page.js(
        "[...document.querySelectorAll('#heard li')].map((item) => item.innerText.split('\\n'))",
    )
    .await
}

/// The tests of the pages rely on this: each kind of fault is found.
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
    page.wait_events(
        "a logged error, a thrown one, and a file that did not load",
        |_| page.complaints().len() == 3,
    )
    .await;
    let found = page.axe().await;
    assert!(
        found.iter().any(|fault| fault.contains("image-alt")),
        "{found:?}"
    );
}

/// What the tests start besides stages: a browser, for example. The tests of this program that run at
/// the same time are looked at too.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_tests_and_their_programs_listen_on_loopback_alone() {
    let Some(browser) = Browser::find() else {
        return;
    };
    let (bench, url) = full_stack().await;
    let _page = chat(&browser, &url, "alice").await;
    let seen = listening::of(&family(std::process::id()));
    listening::assert_loopback_alone(&seen, &[]);
    let server = bench.stage.servers.addresses()[0];
    assert!(
        seen.iter().any(|(_, address)| *address == server),
        "{seen:?}"
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
        let [a, b] = ['A', 'B'].map(|letter| bench.stage.servers.url(letter).unwrap());
        let alice = chat(&browser, &a, "alice").await;
        let bob = chat(&browser, &b, "bob").await;
        let ann = chat(&browser, &b, "ann").await;
        // It is acknowledged in both cases. That does not mean that it arrived.
        send(&alice, "bob", "hi").await;
        if adapter {
            bob.wait_js("document.querySelectorAll('#heard li').length === 1")
                .await;
        }
        // Ann is on Bob's server. Her message comes second, or first if Alice's is lost.
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
    let address = bench.stage.servers.addresses()[owner];
    let letter = bench.stage.servers.letter_of(Some(address)).unwrap();
    let pid = bench.stage.servers.pid(letter).unwrap();
    let expected = format!("■ {letter} PID {pid} on port {}", address.port());
    assert_eq!(named, expected);
}

/// A proxy may serve the page below a path. The page then finds its files there too.
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
    let [a, b] = ['A', 'B'].map(|letter| bench.stage.servers.url(letter).unwrap());
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

    // It shows only pages of this machine.
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
                "nothing is wider than the page"
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
    let url = bench.stage.servers.url('A').unwrap();
    let page = chat(&browser, &url, "alice").await;
    bench.stage.servers.kill('A').await.unwrap();
    page.wait_js("document.querySelector('#connection[data-status=lost]')")
        .await;
    assert_eq!(
        page.js("document.querySelector('#server').textContent")
            .await,
        "none"
    );
    bench.stage.servers.start_one('A').await.unwrap();
    page.wait_js(CONNECTED).await;
}

#[tokio::test]
async fn the_page_says_that_a_message_was_too_long() {
    let Some(browser) = Browser::find() else {
        return;
    };
    let bench = Bench::with_servers(CHAPTER, &[("ADAPTER", "off")]).await;
    let url = bench.stage.servers.url('A').unwrap();
    let page = chat(&browser, &url, "alice").await;
    // The field takes 200 letters from the keyboard, and more from a script.
    page.js("document.querySelector('#text').value = 'x'.repeat(100_000)")
        .await;
    page.click("#send").await;
    let outcome = "document.querySelector('#sent [data-outcome=failed]')";
    page.wait_js(outcome).await;
    assert_eq!(
        page.js(&format!("{outcome}.textContent")).await,
        "✕ The message was too long for the server."
    );
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
    choose(&page, "#addresses", "many-subnets").await;
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
    // Each server reconnects by itself.
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
    let [a, b] = ['A', 'B'].map(|letter| bench.stage.servers.url(letter).unwrap());
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
