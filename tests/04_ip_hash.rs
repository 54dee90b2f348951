//! Chapter 4: the same client, the same server.

// All of this file is a test, its helpers too.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, net::Ipv4Addr, net::SocketAddr};

use ch03_socket_polling::experiments::{connect_one_by_one, is_session_unknown, poll_twice};
use ch04_ip_hash::{Addresses, connect_from, ip_hash, per_server, servers_of};
use harness::{
    bench::Bench,
    binary::{Running, command, each_experiment_runs_alone},
    browser::Browser,
    node::OfficialClient,
    observatory::{Observatory, choose},
    pictures::Picture,
    transcript,
};
use insta::assert_snapshot;
use lab::{Client, Socket, Transport, client::PATIENCE};
use proptest::prelude::*;
use rustix::process::Signal;
use serde_json::{Value, json};

const CHAPTER: &str = env!("CARGO_BIN_EXE_ch04-ip-hash");

/// This is also the test that every claim holds: the same `--check`, run once.
#[test]
fn what_a_learner_reads_is_the_same_in_every_run() {
    assert_snapshot!(transcript::of_check(CHAPTER));
}

#[test]
fn each_experiment_can_be_run_alone() {
    each_experiment_runs_alone(CHAPTER);
}

#[tokio::test]
async fn round_robin_sends_the_second_poll_to_another_server() {
    let mut bench = Bench::with_servers(CHAPTER, &[]).await;
    let url = bench.nginx("03-websocket.conf").await;
    let twice = poll_twice(&Client::new("you", &url)).await.unwrap();
    assert!(is_session_unknown(&twice.refusal.unwrap()));
}

#[tokio::test]
async fn ip_hash_keeps_a_client_on_one_server() {
    let mut bench = Bench::with_servers(CHAPTER, &[]).await;
    let url = bench.nginx("04-ip-hash.conf").await;
    for _ in 0..30 {
        let twice = poll_twice(&Client::new("you", &url)).await.unwrap();
        assert_eq!(twice.refusal, None);
        assert_eq!(twice.owner, twice.asked);
    }
    for transport in [Transport::Polling, Transport::Upgrade, Transport::WebSocket] {
        let tally = connect_one_by_one(&url, transport, 10).await;
        assert_eq!(tally.connected, 10, "{:?}", tally.reasons);
    }
}

#[test]
fn the_arithmetic_gives_addresses_of_one_24_one_server() {
    let servers: BTreeSet<_> = (0..=255)
        .map(|last| ip_hash(Ipv4Addr::new(203, 0, 113, last), 3))
        .collect();
    assert_eq!(servers.len(), 1);
}

#[test]
fn the_arithmetic_spreads_many_24s_evenly() {
    let mut counts = [0; 3];
    for third in 0..=255 {
        counts[ip_hash(Ipv4Addr::new(10, 0, third, 1), 3)] += 1;
    }
    assert!(
        counts.iter().all(|count| (85..=86).contains(count)),
        "{counts:?}"
    );
}

proptest! {
    #[test]
    fn the_last_octet_never_counts(address: [u8; 4], last: u8, servers in 1usize..20) {
        let [a, b, c, _] = address;
        let (one, other) = (Ipv4Addr::from(address), Ipv4Addr::new(a, b, c, last));
        prop_assert_eq!(ip_hash(one, servers), ip_hash(other, servers));
        prop_assert!(ip_hash(one, servers) < servers);
    }
}

#[tokio::test]
async fn a_24_is_one_client() {
    let mut bench = Bench::with_servers(CHAPTER, &[]).await;
    let url = bench.nginx("04-ip-hash.conf").await;
    let servers = servers_of(Addresses::OneSubnet, &url, 254).await.unwrap();
    assert!(servers.iter().all(|(_, server)| *server == servers[0].1));
}

#[tokio::test]
async fn many_24s_are_spread_as_the_arithmetic_says() {
    let mut bench = Bench::with_servers(CHAPTER, &[]).await;
    let url = bench.nginx("04-ip-hash.conf").await;
    let addresses = bench.stage.servers.addresses();
    for (address, server) in servers_of(Addresses::ManySubnets, &url, 254).await.unwrap() {
        assert_eq!(server, Some(addresses[ip_hash(address, 3)]), "{address}");
    }
}

#[tokio::test]
async fn behind_a_proxy_everybody_is_one_client_unless_nginx_is_told_the_real_address() {
    let mut bench = Bench::with_servers(CHAPTER, &[]).await;
    let servers_used = |servers: Vec<(Ipv4Addr, Option<SocketAddr>)>| {
        let used: BTreeSet<_> = servers.into_iter().map(|(_, server)| server).collect();
        used.len()
    };
    let untold = |config: &str| {
        config.replace(
            "listen 3000;",
            "listen 3000; real_ip_header X-Nobody-Sends-This;",
        )
    };
    let url = bench.nginx_with("04-ip-hash.conf", untold).await;
    assert_eq!(
        servers_used(servers_of(Addresses::ManySubnets, &url, 30).await.unwrap()),
        1
    );

    let url = bench.nginx("04-ip-hash.conf").await;
    assert_eq!(
        servers_used(servers_of(Addresses::ManySubnets, &url, 30).await.unwrap()),
        3
    );
}

#[tokio::test]
async fn a_dead_server_takes_its_sessions_and_leaves_the_others() {
    let mut bench = Bench::with_servers(CHAPTER, &[]).await;
    let url = bench.nginx("04-ip-hash.conf").await;
    let a = bench.stage.servers.addresses().first().copied();
    let (clients, failed) =
        connect_from(Addresses::ManySubnets, &url, 12, Transport::Upgrade, false).await;
    assert_eq!(failed, 0);
    bench.stage.servers.kill('A').await.unwrap();
    for mut client in clients {
        if client.socket.owner == a {
            assert!(client.socket.ends(PATIENCE).await);
            let again = Client::at("you", &url, client.address);
            let again = Socket::connect(&again, Transport::Upgrade, None)
                .await
                .unwrap();
            assert_ne!(again.owner, a);
            assert_ne!(again.id, client.socket.id, "a new session");
        } else {
            client.socket.emit("message", &json!("still here")).unwrap();
        }
    }
}

/// How many servers get clients of a group of thirty.
#[derive(Clone, Copy, Debug)]
enum Use {
    Nobody,
    One,
    Several,
    All,
}
use Use::{All, Nobody, One, Several};

/// A row of the chapter's table: one method, and what must happen to each group of clients.
async fn row(config: &str, transport: Transport, cookies: bool, expected: [Use; 3]) {
    let mut bench = Bench::with_servers(CHAPTER, &[]).await;
    let url = bench.nginx(config).await;
    let groups = [Addresses::One, Addresses::OneSubnet, Addresses::ManySubnets];
    for (group, expected) in groups.into_iter().zip(expected) {
        let (connected, failed) = connect_from(group, &url, 30, transport, cookies).await;
        let used = per_server(&connected).len();
        let fits = match expected {
            Nobody => connected.is_empty(),
            One => failed == 0 && used == 1,
            Several => failed == 0 && used > 1,
            All => failed == 0 && used == 3,
        };
        assert!(
            fits,
            "{config}, {group:?}: {failed} failed, {used} servers, not {expected:?}"
        );
    }
}

#[tokio::test]
async fn round_robin_connects_nobody() {
    row("03-websocket.conf", Transport::Upgrade, false, [Nobody; 3]).await;
}

#[tokio::test]
async fn least_conn_connects_nobody() {
    row("04-least-conn.conf", Transport::Upgrade, false, [Nobody; 3]).await;
}

#[tokio::test]
async fn ip_hash_connects_everybody_and_spreads_only_24s() {
    row(
        "04-ip-hash.conf",
        Transport::Upgrade,
        false,
        [One, One, All],
    )
    .await;
}

#[tokio::test]
async fn hash_of_the_whole_address_spreads_a_24() {
    row(
        "04-consistent-hash.conf",
        Transport::Upgrade,
        false,
        [One, Several, Several],
    )
    .await;
}

#[tokio::test]
async fn a_cookie_spreads_even_one_address() {
    row("04-cookie.conf", Transport::Upgrade, true, [All; 3]).await;
}

#[tokio::test]
async fn a_cookie_is_of_no_use_to_a_client_that_keeps_none() {
    row("04-cookie.conf", Transport::Upgrade, false, [Nobody; 3]).await;
}

#[tokio::test]
async fn websocket_alone_is_spread_without_stickiness() {
    row("03-websocket.conf", Transport::WebSocket, false, [All; 3]).await;
}

#[tokio::test]
async fn the_official_client_connects_through_ip_hash_with_each_setting() {
    let Some(client) = OfficialClient::find() else {
        return;
    };
    let mut bench = Bench::with_servers(CHAPTER, &[]).await;
    let url = bench.nginx("04-ip-hash.conf").await;
    for transports in [
        json!(["polling"]),
        json!(["websocket"]),
        json!(["polling", "websocket"]),
    ] {
        for address in ["10.0.1.1", "10.0.2.1", "10.0.3.1"] {
            let options = json!({ "url": url, "transports": transports, "forwardedFor": address })
                .to_string();
            let outcome = client.run(&["connect", &options]).await;
            assert_eq!(outcome["connected"], json!(true), "{outcome}");
        }
    }
}

#[test]
fn each_question_of_the_page_is_answered_by_what_happens() {
    let observatory = Observatory::after(CHAPTER, &["round-robin"]);
    let [nobody, one_server, spread] = [0, 2, 3];
    let answers = observatory.answers(3);
    assert_eq!(answers[0], (nobody, "0 of 9 connected".to_owned()));
    assert_eq!(answers[1].0, spread, "{}", answers[1].1);
    assert_eq!(answers[2].0, one_server, "{}", answers[2].1);
    assert_eq!(observatory.end(), Some(0));
}

#[test]
fn nobody_but_the_page_can_act_on_the_stage() {
    let observatory = Observatory::after(CHAPTER, &["round-robin"]);
    let host = observatory.host.clone();
    let kill = r#"{"do":"kill-server","letter":"A"}"#;
    for (host, origin) in [
        (host.as_str(), "http://evil.example"),
        (host.as_str(), "null"),
        ("evil.example", "http://evil.example"),
    ] {
        let (status, _) = observatory.post(host, origin, kill);
        assert_eq!(status, 403, "{host} {origin}");
    }
    // A server that runs cannot be started: A was not killed.
    let (status, answer) = observatory.act(&json!({ "do": "start-server", "letter": "A" }));
    assert_eq!(
        (status, &answer["error"]),
        (409, &json!("server A runs already"))
    );
    for senseless in [
        json!({ "do": "kill-server", "letter": "Z" }),
        json!({ "do": "method", "name": "../../etc/passwd" }),
        json!({ "do": "add-clients", "count": 61, "transport": "polling", "addresses": "many-subnets" }),
        json!({ "do": "say", "from": "nobody", "text": "hi" }),
    ] {
        let (status, answer) = observatory.act(&senseless);
        assert_eq!(status, 409, "{senseless} {answer}");
        assert!(answer["error"].is_string(), "{senseless} {answer}");
    }
    let (status, answer) = observatory.act(&json!({ "do": "rm -rf" }));
    assert_eq!(status, 400, "{answer}");
    let giant = format!(r#"{{"do":"{}"}}"#, "x".repeat(10_000));
    let (status, _) = observatory.post(&host, &format!("http://{host}"), &giant);
    assert_eq!(status, 413);
}

#[tokio::test]
async fn in_the_observatory_ip_hash_connects_whom_round_robin_refused() {
    let Some(browser) = Browser::find() else {
        return;
    };
    let observatory = Observatory::after(CHAPTER, &["round-robin"]);
    let page = observatory.open(&browser).await;

    choose(&page, "#method", "round robin").await;
    page.click("#apply-method").await;
    page.wait_js("document.querySelector('#diff').textContent.includes('ip_hash;')")
        .await;
    // One alone: of several at once, some get in by luck.
    choose(&page, "#transport", "polling").await;
    choose(&page, "#count", "1").await;
    page.click("#add-clients").await;
    page.wait_js("document.querySelector('[data-client=\"client 1\"][data-status=refused]')")
        .await;
    page.wait_js("document.querySelector('#why').textContent.includes('400 Session ID unknown')")
        .await;
    page.wait_js("Number(document.querySelector('#ledger [data-figure=refused]').textContent) > 1")
        .await;

    choose(&page, "#method", "ip_hash").await;
    page.click("#apply-method").await;
    page.wait_js("document.querySelector('[data-client=\"client 1\"][data-status=connected]')")
        .await;

    let own = observatory.host.as_str();
    assert_eq!(page.complaints(), [""; 0]);
    assert_eq!(page.foreign(&[own]), [""; 0]);
}

#[tokio::test]
async fn a_page_that_is_opened_later_shows_nobody_who_is_gone() {
    let Some(browser) = Browser::find() else {
        return;
    };
    let observatory = Observatory::after(CHAPTER, &["round-robin"]);
    let page = observatory.open(&browser).await;
    choose(&page, "#transport", "polling").await;
    choose(&page, "#count", "6").await;
    page.click("#add-clients").await;
    page.wait_js("document.querySelectorAll('[data-client][data-status=connected]').length === 6")
        .await;
    page.click("#remove-clients").await;
    page.wait_js("document.querySelectorAll('[data-client]').length === 0")
        .await;

    let later = observatory.open(&browser).await;
    // The log has what happened before: so the picture has had it as well.
    later
        .wait_js("document.querySelector('#log').textContent.includes('client 6')")
        .await;
    later
        .wait_js("document.querySelectorAll('[data-client]').length === 0")
        .await;
}

#[tokio::test]
async fn a_server_that_is_started_by_hand_is_drawn_as_one_that_runs() {
    let Some(browser) = Browser::find() else {
        return;
    };
    let observatory = Observatory::after(CHAPTER, &["round-robin"]);
    let page = observatory.open(&browser).await;
    page.click("button[data-kill=A]").await;
    let dead = "document.querySelector('[data-server=A][data-up=false]')";
    page.wait_js(dead).await;
    let mut by_hand = command(CHAPTER);
    by_hand.env("PORT", &observatory.port);
    let by_hand = Running::start(&mut by_hand);
    page.wait_js(
        "document.querySelector('[data-server=A][data-up=true]')?.textContent.includes('by hand')",
    )
    .await;
    for order in [
        json!({ "do": "start-server", "letter": "A" }),
        json!({ "do": "predict", "question": 0, "answer": 0 }),
    ] {
        let (status, answer) = observatory.act(&order);
        let why = "server A was started by hand: end it in its own terminal first";
        assert_eq!((status, &answer["error"]), (409, &json!(why)), "{order}");
    }
    by_hand.signal(Signal::TERM);
    by_hand.end();
    page.wait_js(dead).await;
}

#[tokio::test]
async fn in_the_observatory_a_killed_server_is_drawn_and_its_clients_come_back() {
    let Some(browser) = Browser::find() else {
        return;
    };
    let observatory = Observatory::after(CHAPTER, &["round-robin"]);
    let page = observatory.open(&browser).await;
    let all_connected =
        "document.querySelectorAll('[data-client][data-status=connected]').length === 6";
    choose(&page, "#transport", "websocket").await;
    choose(&page, "#count", "6").await;
    choose(&page, "#addresses", "many-subnets").await;
    page.click("#add-clients").await;
    page.wait_js(all_connected).await;

    page.click("button[data-kill=A]").await;
    page.wait_js("document.querySelector('[data-server=A][data-up=false]')")
        .await;
    page.wait_js(&format!(
        "{all_connected} && document.querySelector('#log').textContent.includes('kill -9')"
    ))
    .await;
    page.click("button[data-start=A]").await;
    page.wait_js("document.querySelector('[data-server=A][data-up=true]')")
        .await;
    assert_eq!(page.complaints(), [""; 0]);
}

#[tokio::test]
async fn in_the_observatory_a_config_that_nginx_refuses_changes_nothing() {
    let Some(browser) = Browser::find() else {
        return;
    };
    let observatory = Observatory::after(CHAPTER, &["round-robin"]);
    let page = observatory.open(&browser).await;
    choose(&page, "#method", "ip_hash with a backup").await;
    page.click("#apply-method").await;
    page.wait_js(
        "document.querySelector('#error').textContent\
         .includes('balancing method does not support parameter \"backup\"')",
    )
    .await;
    page.wait_js("document.querySelector('#error').textContent.includes('goes on with ip_hash')")
        .await;
    page.wait_js("document.querySelector('#method').value === 'ip_hash'")
        .await;
    choose(&page, "#count", "1").await;
    page.click("#add-clients").await;
    page.wait_js("document.querySelector('[data-client][data-status=connected]')")
        .await;
}

#[tokio::test]
async fn the_observatory_plays_the_lesson_again() {
    let Some(browser) = Browser::find() else {
        return;
    };
    let observatory = Observatory::after(CHAPTER, &["round-robin", "ip-hash"]);
    let page = observatory.open(&browser).await;
    page.click("#lesson").await;
    page.wait_js("document.body.dataset.lesson === 'true'")
        .await;
    page.click("#pause").await;
    let step_until = async |condition: &str| {
        page.js(&format!(
            "(async () => {{ while (!({condition})) {{ document.querySelector('#forward').click(); \
             await new Promise(requestAnimationFrame); }} }})()"
        ))
        .await
    };
    let why = "document.querySelector('#why').textContent";
    step_until(&format!(
        "{why}.startsWith('The session of “you” is on') && {why}.includes('(round robin)')"
    ))
    .await;
    assert_eq!(
        page.js("document.querySelectorAll('#picture .client').length")
            .await,
        json!(1)
    );
    let second = "Experiment: ip_hash: the same servers, the same two requests.";
    step_until(&format!(
        "document.querySelector('#news').textContent === '{second}'"
    ))
    .await;
    // And from there it plays by itself.
    page.click("#pause").await;
    page.wait_js(
        "document.querySelector('#log').textContent\
         .includes('✓ both requests reach the same server, and both are answered')",
    )
    .await;

    page.click("#lesson").await;
    page.wait_js("document.querySelector('#stage').textContent.startsWith('Live: ')")
        .await;
    assert_eq!(page.complaints(), [""; 0]);
}

#[tokio::test]
async fn the_observatory_can_be_paused_stepped_back_and_taken_away() {
    let Some(browser) = Browser::find() else {
        return;
    };
    let observatory = Observatory::after(CHAPTER, &["round-robin"]);
    let page = observatory.open(&browser).await;
    choose(&page, "#transport", "websocket").await;
    choose(&page, "#count", "1").await;
    page.click("#add-clients").await;
    let is_connected =
        "document.querySelector('[data-client=\"client 1\"][data-status=connected]')";
    page.wait_js(is_connected).await;
    page.click("button[data-kill=A]").await;
    page.wait_js("document.querySelector('[data-server=A][data-up=false]')")
        .await;

    page.click("#pause").await;
    // To the first thing that happened: nobody had come, and A lived.
    page.js("document.querySelector('#step').value = 0").await;
    page.js("document.querySelector('#step').dispatchEvent(new Event('input'))")
        .await;
    page.wait_js("document.querySelector('[data-server=A][data-up=true]')")
        .await;
    page.wait_js(&format!("!{is_connected}")).await;
    page.click("#pause").await;
    page.wait_js("document.querySelector('[data-server=A][data-up=false]')")
        .await;

    page.js("window.saved = []; const link = URL.createObjectURL; \
         URL.createObjectURL = (file) => { saved.push(file); return link(file); }")
        .await;
    page.click("#export-trace").await;
    page.click("#export-picture").await;
    let trace = page.js("saved[0].text()").await;
    let trace: Value = serde_json::from_str(trace.as_str().expect("text")).expect("JSON");
    let kinds: Vec<_> = trace["events"]
        .as_array()
        .expect("events")
        .iter()
        .filter_map(|event| event["event"].as_str())
        .collect();
    for kind in ["asked", "exchange", "frame", "down"] {
        assert!(kinds.contains(&kind), "{kind} is in the trace: {kinds:?}");
    }
    let picture = page.js("saved[1].text()").await;
    let picture = picture.as_str().expect("text");
    for part in ["<svg ", ">nginx<", ">dead<", "</svg>"] {
        assert!(
            picture.contains(part),
            "{part} is in the picture: {picture}"
        );
    }
    assert_eq!(page.complaints(), [""; 0]);
}

#[tokio::test]
async fn the_observatory_is_for_everyone() {
    let Some(browser) = Browser::find() else {
        return;
    };
    let observatory = Observatory::after(CHAPTER, &["round-robin"]);
    let page = observatory.open(&browser).await;
    // By keyboard: to the first answer, and what came of it.
    page.js("document.querySelector('#question').scrollIntoView()")
        .await;
    while page.js("document.activeElement.dataset.answer").await != json!("0") {
        page.key("Tab").await;
    }
    page.key("Enter").await;
    page.wait_js("document.querySelector('#verdict').textContent.includes('0 of 9 connected')")
        .await;
    for (scheme, width) in [
        ("light", 1440),
        ("dark", 1440),
        ("light", 360),
        ("dark", 360),
    ] {
        page.media(scheme, true).await;
        page.viewport(width, 900).await;
        assert_eq!(page.axe().await, [""; 0], "{scheme}, {width} px");
        let wider = page
            .js("document.documentElement.scrollWidth > window.innerWidth")
            .await;
        assert_eq!(wider, json!(false), "at {width} px nothing is cut off");
    }
    assert_eq!(page.complaints(), [""; 0]);
}

const PICTURE: Picture = Picture {
    name: "04-observatory",
    page: "lab/observatory/page",
    package: "ch04-ip-hash",
};

#[test]
fn the_picture_in_the_readme_shows_the_page_as_it_is() {
    PICTURE.is_current();
}

#[tokio::test]
#[ignore = "takes the picture in the README"]
async fn picture() {
    let browser = Browser::find().expect("a browser");
    let observatory = Observatory::after(CHAPTER, &["round-robin"]);
    let page = observatory.open(&browser).await;
    page.viewport(1440, 1000).await;
    page.click("#question [data-answer='0']").await;
    page.wait_js("document.querySelector('#verdict').textContent.includes('0 of 9')")
        .await;
    PICTURE.take(&page).await;
}
