//! Chapter 3: Socket.IO over long polling, and how round robin breaks it.
//!
//! ```text
//! cargo run -p ch03-socket-polling                  servers, nginx, the experiments; stays up until Ctrl-C
//! cargo run -p ch03-socket-polling -- --check       the experiments, then exit code 0 (every claim held) or 1
//! cargo run -p ch03-socket-polling -- held-poll     one experiment alone; `-- list` prints their names
//! PORT=8000 cargo run -p ch03-socket-polling        one server, as in the article
//! ```

mod behind_nginx;
mod questions;

use std::{process::ExitCode, time::Duration};

use ch03_socket_polling::{
    experiments::{hold_a_poll, talk},
    serve,
};
use lab::{
    Client, Event, Lesson, Result, Stage, Transport,
    client::{Packet, Polling},
};

use crate::{behind_nginx::three_servers, questions::SCENE};

fn main() -> ExitCode {
    Lesson::new("Chapter 3 · long polling, WebSocket and round robin", serve)
        .intro(
            "A Socket.IO server: first one server alone, then three behind nginx.\n\
             Watch the letters: which server opens a session, and which server gets the\n\
             next request?",
        )
        .with(
            "handshake",
            "The first request, to one server",
            the_open_packet,
        )
        .with(
            "held-poll",
            "Long polling: the server holds a request until a friend says \"hi\"",
            a_held_poll,
        )
        .with(
            "websocket",
            "WebSocket only: one request, then frames in both directions",
            websocket,
        )
        .with(
            "upgrade",
            "The default: polling first, then an upgrade to WebSocket",
            the_upgrade,
        )
        .with(
            "cost",
            "Connecting, and ten messages in each direction: the three settings compared",
            three_settings,
        )
        .with(
            "round-robin",
            "Polling through nginx: the article's config, round robin",
            behind_nginx::round_robin_breaks_polling,
        )
        .with(
            "no-upgrade",
            "WebSocket only, with the same config: round robin",
            behind_nginx::no_upgrade,
        )
        .with(
            "websocket-passes",
            "WebSocket only, and nginx passes the Upgrade headers on",
            behind_nginx::a_websocket_passes,
        )
        .with(
            "still-broken",
            "Polling and the default, with the Upgrade headers",
            behind_nginx::polling_is_still_broken,
        )
        .by_hand(by_hand)
        .with_page(async |stage| observatory::open(stage, &SCENE).await)
        .run()
}

async fn the_open_packet(stage: &mut Stage) -> Result<()> {
    let url = one_server(stage).await?;
    let open = Polling::open(&stage.client("you", &url)).await?.open;
    stage.note(format!(
        "0             the packet's type: open\n\
         sid           the session ID; every later request contains it; keep it secret\n\
         upgrades      the client may change to one of these transports: {:?}\n\
         pingInterval  the server sends a ping (2) every {} s; the client answers (3)\n\
         pingTimeout   without an answer within {} s, the server ends the session\n\
         maxPayload    a request may carry {} bytes",
        open.upgrades,
        open.ping_interval / 1000,
        open.ping_timeout / 1000,
        open.max_payload,
    ));
    stage.claim(
        "the first answer opens a session and offers upgrades: [\"websocket\"]",
        open.upgrades == ["websocket"],
    );
    Ok(())
}

async fn a_held_poll(stage: &mut Stage) -> Result<()> {
    let url = one_server(stage).await?;
    let pause = Duration::from_secs(1);
    let friend = Client::new("friend", &url);
    let poll = hold_a_poll(&stage.client("you", &url), &friend, "hi", pause).await?;
    stage.note(
        "40 connects: 4 is a message, 0 is Socket.IO's connect. 42 is an event.\n\
         2 and 3 are ping and pong. ␞ separates the packets of one answer.",
    );
    stage.claim_seen(
        "the server holds the last GET until the friend speaks",
        format!("{:.2} s", poll.held.as_secs_f64()),
        poll.held >= pause,
    );
    stage.claim(
        "the answer is the friend's message",
        poll.packets == [Packet::Message(r#"2["message","hi"]"#.to_owned())],
    );
    Ok(())
}

async fn websocket(stage: &mut Stage) -> Result<()> {
    let url = one_server(stage).await?;
    let friend = Client::new("friend", &url);
    let talk = talk(&stage.client("you", &url), &friend, Transport::WebSocket, 1).await?;
    let line = format!("{} connected", talk.id);
    stage.claim(
        "the server's console says `<id> connected`",
        stage.servers.await_line('A', &line).await,
    );
    stage.claim(
        "there is one request, answered 101 Switching Protocols; the rest are frames",
        talk.traffic.requests == 1,
    );
    Ok(())
}

async fn the_upgrade(stage: &mut Stage) -> Result<()> {
    let url = one_server(stage).await?;
    let friend = Client::new("friend", &url);
    let (client, seen) = stage.client("you", &url).recorded();
    let talk = talk(&client, &friend, Transport::Upgrade, 1).await?;
    stage.note(
        "2probe, 3probe: client and server test the WebSocket. 6 ends the held poll.\n\
         5 moves the session to the WebSocket.",
    );
    let a_poll_ends_with_noop = seen.take().iter().any(|event| {
        matches!(event, Event::Exchange(exchange)
            if exchange.outcome.as_ref().is_ok_and(|answered| answered.body.ends_with('6')))
    });
    stage.claim(
        "the session moves from polling to a WebSocket",
        a_poll_ends_with_noop && talk.traffic.frames > 2,
    );
    Ok(())
}

async fn three_settings(stage: &mut Stage) -> Result<()> {
    let url = one_server(stage).await?;
    let mut requests = Vec::new();
    stage.note("transports      HTTP requests   frames   bytes sent   bytes received");
    for (transport, setting) in [
        (Transport::Polling, "[\"polling\"]"),
        (Transport::WebSocket, "[\"websocket\"]"),
        (Transport::Upgrade, "(the default)"),
    ] {
        // These requests are too many to show.
        let [client, friend] = ["you", "friend"].map(|name| Client::new(name, &url));
        let traffic = talk(&client, &friend, transport, 10).await?.traffic;
        stage.note(format!(
            "{setting:15} {:13}   {:6}   {:10}   {:14}",
            traffic.requests, traffic.frames, traffic.bytes_sent, traffic.bytes_received
        ));
        requests.push(traffic.requests);
    }
    stage.claim(
        "over polling, each message is a request; over WebSocket, no message is",
        requests[0] > 20 && requests[1] == 1 && requests[2] < 10,
    );
    Ok(())
}

/// Server A, without nginx.
async fn one_server(stage: &mut Stage) -> Result<String> {
    stage.servers.start(1, &[]).await?;
    stage.servers.url('A')
}

async fn by_hand(stage: &mut Stage) -> Result<String> {
    let url = three_servers(stage, "03-websocket.conf").await?;
    let alone = stage.servers.url('A')?;
    Ok(format!(
        "A page with three clients, one for each setting of transports. It shows what\n\
         they send:\n\n  \
         {url}/      through nginx\n  \
         {alone}/      server A alone\n\n\
         Open a session, and ask for its packets three times. Which server knows it?\n\n  \
         S='{url}/socket.io/?EIO=4&transport=polling'\n  \
         SID=$(curl -s \"$S\" | grep -o '\"sid\":\"[^\"]*' | cut -d'\"' -f4)\n  \
         for i in 1 2 3; do curl -s -m 1 \"$S&sid=$SID\"; echo; done\n\n\
         The 2 is a ping. You do not answer it, so the server ends the session after 20 s.\n\
         Run the loop again before that: the server that knows you has nothing to send,\n\
         and holds your request. That is long polling."
    ))
}
