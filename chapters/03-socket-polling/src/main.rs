//! Chapter 3: Socket.IO over long polling, and how round robin breaks it.
//!
//! ```text
//! cargo run -p ch03-socket-polling                three servers, nginx, the experiments; stays up until Ctrl-C
//! cargo run -p ch03-socket-polling -- --check     the same, then says what held, exits 0 or 1
//! PORT=8000 cargo run -p ch03-socket-polling      one server, as in the article
//! ```

use std::{process::ExitCode, time::Duration};

use ch03_socket_polling::{
    connect_at_once, connect_once, connect_one_by_one, handshake, hold_a_poll, is_session_unknown,
    poll_twice, serve, talk,
};
use lab::{Chapter, Client, Event, Result, Stage, Transport, client::Packet};

fn main() -> ExitCode {
    Chapter::new(
        "Chapter 3 · sockets: polling, WebSocket, and round robin in between",
        serve,
    )
    .run(lesson)
}

async fn lesson(stage: &mut Stage) -> Result<()> {
    stage.note(
        "A Socket.IO server: first alone, to see what goes over the wire; then three,\n\
         behind nginx. Watch the letters: which server opens a session, and which one\n\
         is asked about it?\n\n",
    );
    stage.start_servers(3, &[]).await?;
    let alone = stage.server_url('A')?;
    the_open_packet(stage, &alone).await;
    a_held_poll(stage, &alone).await?;
    frames(stage, &alone).await?;
    the_upgrade(stage, &alone).await?;
    three_settings(stage, &alone).await?;

    round_robin_breaks_polling(stage).await?;
    a_websocket_cannot_pass(stage).await?;
    a_websocket_passes(stage).await?;
    polling_is_still_broken(stage).await?;

    let url = stage.nginx_url()?;
    stage.try_by_hand(format!(
        "A page of three clients, one for each setting of transports, and what they send:\n\n  \
         {url}/      through nginx\n  \
         {alone}/      server A alone\n\n\
         A session of your own, and three questions about it. Who knows it?\n\n  \
         S='{url}/socket.io/?EIO=4&transport=polling'\n  \
         SID=$(curl -s \"$S\" | grep -o '\"sid\":\"[^\"]*' | cut -d'\"' -f4)\n  \
         for i in 1 2 3; do curl -s -m 1 \"$S&sid=$SID\"; echo; done\n\n\
         Do it at once: a server gives a client up that does not answer its ping (the 2\n\
         that you see) within 20 s. Ask once more, and the server that knows you has\n\
         nothing to say and holds your poll: that is long polling."
    ));
    Ok(())
}

async fn the_open_packet(stage: &Stage, alone: &str) {
    stage.step("One server, no nginx: the first request");
    let handshake = handshake(alone).await;
    stage.show(handshake.seen);
    if let Some(open) = &handshake.open {
        stage.note(format!(
            "0             the packet's type: open\n\
             sid           the session's ID, in each later request; it is a secret\n\
             upgrades      the server offers {:?} instead of polling\n\
             pingInterval  it asks every {} s whether the client is there (2, then 3 back)\n\
             pingTimeout   and gives it up after {} s without an answer\n\
             maxPayload    {} bytes at most in one request",
            open.upgrades,
            open.ping_interval / 1000,
            open.ping_timeout / 1000,
            open.max_payload,
        ));
    }
    stage.claim(
        "the first answer opens a session and offers upgrades: [\"websocket\"]",
        handshake
            .open
            .is_some_and(|open| open.upgrades == ["websocket"]),
    );
}

async fn a_held_poll(stage: &Stage, alone: &str) -> Result<()> {
    stage.step("Long polling: your request waits, and after a second a friend says \"hi\"");
    let pause = Duration::from_secs(1);
    let poll = hold_a_poll(alone, "hi", pause).await?;
    stage.show(poll.seen);
    stage.note(
        "40 connects (4 is a message, 0 in it says connect), 42 is an event, 2 and 3\n\
         are ping and pong. Several packets in one answer are joined by ␞.",
    );
    stage.claim_seen(
        "the last GET was held until there was something to say",
        format!("{:.2} s", poll.held.as_secs_f64()),
        poll.held >= pause,
    );
    stage.claim(
        "and its answer is what the friend said",
        poll.packets == [Packet::Message(r#"2["message","hi"]"#.to_owned())],
    );
    Ok(())
}

async fn frames(stage: &Stage, alone: &str) -> Result<()> {
    stage.step("WebSocket only: one connection, frames both ways");
    let talk = talk(alone, Transport::WebSocket, 1).await?;
    stage.show(talk.seen);
    let line = format!("{} connected", talk.id);
    stage.claim(
        "the server's console says `<id> connected`",
        stage.await_line('A', &line).await,
    );
    stage.claim(
        "one request, answered 101 Switching Protocols; then frames alone",
        talk.traffic.requests == 1,
    );
    Ok(())
}

async fn the_upgrade(stage: &Stage, alone: &str) -> Result<()> {
    stage.step("The default: begin with polling, then upgrade");
    let talk = talk(alone, Transport::Upgrade, 1).await?;
    let ends_with_noop = talk.seen.iter().any(|event| {
        matches!(event, Event::Exchange(exchange)
            if exchange.outcome.as_ref().is_ok_and(|answered| answered.body.ends_with('6')))
    });
    stage.show(talk.seen);
    stage.note(
        "2probe, 3probe: does a WebSocket get through? 6 ends the poll that is held,\n\
         and with 5 the session moves.",
    );
    stage.claim(
        "the session moves from polling to a WebSocket",
        ends_with_noop && talk.traffic.frames > 2,
    );
    Ok(())
}

async fn three_settings(stage: &Stage, alone: &str) -> Result<()> {
    stage.step("The three settings of `transports`: connecting, and ten messages each way");
    let mut requests = Vec::new();
    stage.note("transports      HTTP requests   frames   bytes sent   bytes received");
    for (transport, setting) in [
        (Transport::Polling, "[\"polling\"]"),
        (Transport::WebSocket, "[\"websocket\"]"),
        (Transport::Upgrade, "(the default)"),
    ] {
        let traffic = talk(alone, transport, 10).await?.traffic;
        stage.note(format!(
            "{setting:15} {:13}   {:6}   {:10}   {:14}",
            traffic.requests, traffic.frames, traffic.bytes_sent, traffic.bytes_received
        ));
        requests.push(traffic.requests);
    }
    stage.claim(
        "over polling each message is a request; over WebSocket none is",
        requests[0] > 20 && requests[1] == 1 && requests[2] < 10,
    );
    Ok(())
}

async fn round_robin_breaks_polling(stage: &mut Stage) -> Result<()> {
    stage.step("Polling through round robin, the article's config: two requests");
    let url = stage.start_nginx("02-round-robin.conf").await?;
    two_requests(stage, &url).await?;
    stage.note("The session lives in the memory of the server that opened it, nowhere else.");
    nobody_connects(stage, &url, Transport::Polling).await;
    let tally = connect_at_once(&url, Transport::Polling, 90).await;
    stage.note(format!(
        "Of 90 at once, {} connect by luck: the turns of others bring them back.",
        tally.connected
    ));
    Ok(())
}

async fn a_websocket_cannot_pass(stage: &Stage) -> Result<()> {
    stage.step("WebSocket only, with the same config");
    let (connected, seen) = connect_once(&stage.nginx_url()?, Transport::WebSocket).await;
    stage.show(seen);
    stage.note(
        "A bare `proxy_pass` speaks HTTP/1.0 to the server, and keeps the header Upgrade\n\
         to itself. This server says 101 all the same; no frame comes after it.",
    );
    let seen = match &connected {
        Ok(()) => "one came".to_owned(),
        Err(error) => error.to_string(),
    };
    stage.claim_seen("no open packet comes", seen, connected.is_err());
    Ok(())
}

async fn a_websocket_passes(stage: &mut Stage) -> Result<()> {
    stage.step("WebSocket only, with HTTP/1.1 and the Upgrade headers passed on");
    let url = stage.start_nginx("03-websocket.conf").await?;
    let (_, seen) = connect_once(&url, Transport::WebSocket).await;
    stage.show(seen);
    let tally = connect_one_by_one(&url, Transport::WebSocket, 30).await;
    stage.claim_seen(
        "everybody connects: one connection is one server",
        format!("{} of 30", tally.connected),
        tally.connected == 30,
    );
    Ok(())
}

async fn polling_is_still_broken(stage: &Stage) -> Result<()> {
    stage.step("Polling, and the default that begins with it, with the same config");
    let url = stage.nginx_url()?;
    two_requests(stage, &url).await?;
    for transport in [Transport::Polling, Transport::Upgrade] {
        nobody_connects(stage, &url, transport).await;
    }
    Ok(())
}

async fn two_requests(stage: &Stage, url: &str) -> Result<()> {
    let twice = poll_twice(&Client::new("you", url)).await?;
    let refused = twice.refusal.as_ref().is_some_and(is_session_unknown);
    stage.show(twice.seen);
    stage.claim_seen(
        "another server than the session's owner is asked: Session ID unknown",
        format!(
            "{} owns it, {} was asked",
            stage.name_of(twice.owner),
            stage.name_of(twice.asked)
        ),
        refused && twice.owner != twice.asked,
    );
    Ok(())
}

async fn nobody_connects(stage: &Stage, url: &str, transport: Transport) {
    let tally = connect_one_by_one(url, transport, 30).await;
    stage.claim_seen(
        format!("one after the other, nobody connects with {transport}"),
        format!("{} of 30", tally.connected),
        tally.connected == 0,
    );
}
