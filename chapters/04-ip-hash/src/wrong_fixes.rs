//! Wrong fixes: configs that people try, what comes of each, and the right one beside it.
//!
//! A drill brings its stage up and calls the functions below it, once with the wrong config
//! and once with the right one. They do not know where nginx comes from: tests call them too.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use ch03_socket_polling::{Tally, connect_one_by_one, is_session_unknown, serve};
use lab::{
    Client, Drills, Result, Row, Socket, Stage, Transport,
    client::{Error, Polling},
};
use tokio::time::{Instant, timeout};

use crate::{Crowd, gather, ip_hash, servers_of, spread};

/// How many clients try each config.
const CLIENTS: u8 = 30;

/// How long clients and servers say nothing.
const IDLE: Duration = Duration::from_secs(3);

/// What is right for most of these.
const RIGHT: &str = "04-ip-hash.conf";

/// The chapter's wrong fixes.
pub fn drills() -> Drills {
    Drills::new("Chapter 4 · wrong fixes, and the right ones", serve)
        .with(
            "arg-sid",
            "hash $arg_sid: the session's ID is to choose the server",
            arg_sid,
        )
        .with(
            "no-upgrade",
            "ip_hash, and the headers of a WebSocket are not passed on",
            no_upgrade,
        )
        .with(
            "read-timeout",
            "proxy_read_timeout is shorter than the servers' ping interval",
            read_timeout,
        )
        .with("backup", "a spare server beside ip_hash", backup)
        .with(
            "workers",
            "several workers that do not share an upstream zone",
            workers,
        )
        .with(
            "realip",
            "ip_hash behind a proxy that nginx does not know",
            realip,
        )
        .with(
            "websocket-only",
            "clients that use WebSocket alone, where a proxy blocks it",
            websocket_only,
        )
}

async fn arg_sid(stage: &mut Stage) -> Result<Vec<Row>> {
    stage.start_servers(3, &[]).await?;
    let (wrong, tally) =
        clients_connect(stage, "04-wrong-arg-sid.conf", Transport::Upgrade).await?;
    let (right, _) = clients_connect(stage, RIGHT, Transport::Upgrade).await?;
    Ok(vec![refused_unless_lucky(wrong, &tally), right])
}

async fn no_upgrade(stage: &mut Stage) -> Result<Vec<Row>> {
    stage.start_servers(3, &[]).await?;
    let wrong = "04-wrong-no-upgrade.conf";
    let (row, tally) = clients_connect(stage, wrong, Transport::WebSocket).await?;
    let you = Client::new("you", &stage.nginx_url()?);
    drop(Socket::connect(&you, Transport::WebSocket, None).await);
    stage.show(you.take_seen());
    let (polling, _) = clients_connect(stage, wrong, Transport::Polling).await?;
    let (right, _) = clients_connect(stage, RIGHT, Transport::WebSocket).await?;
    Ok(vec![all_fail(row, &tally, CUT), polling, right])
}

async fn read_timeout(stage: &mut Stage) -> Result<Vec<Row>> {
    stage.start_servers(3, &[]).await?;
    let mut rows = Vec::new();
    for config in ["04-wrong-read-timeout.conf", RIGHT] {
        let url = stage.start_nginx(config).await?;
        let you = Client::new("you", &url);
        rows.extend([
            idle_websockets(&url, config).await,
            held_polls(&you, config).await?,
        ]);
        stage.show(you.take_seen());
    }
    for wrong in &mut rows[..2] {
        *wrong = wrong.clone().loses_something();
    }
    Ok(rows)
}

async fn backup(stage: &mut Stage) -> Result<Vec<Row>> {
    stage.start_servers(3, &[]).await?;
    Ok(vec![
        nginx_refuses_backup(stage).await,
        a_dies_without_backup(stage).await?,
    ])
}

async fn workers(stage: &mut Stage) -> Result<Vec<Row>> {
    stage.start_servers(3, &[]).await?;
    let servers = stage.server_addresses();
    let mut rows = Vec::new();
    for config in ["04-wrong-workers.conf", "04-workers-zone.conf"] {
        let url = stage.start_nginx(config).await?;
        let (row, counts) = least_busy(&url, config, &servers).await;
        let worse = row.lost;
        stage.note(format!(
            "{worse} of {CLIENTS} came to a server that had more than another; in the end: {counts}"
        ));
        rows.push(row);
    }
    rows[0] = rows[0].clone().loses_something();
    Ok(rows)
}

async fn realip(stage: &mut Stage) -> Result<Vec<Row>> {
    stage.start_servers(3, &[]).await?;
    let servers = stage.server_addresses();
    let mut rows = Vec::new();
    for config in ["04-wrong-realip.conf", RIGHT] {
        let url = stage.start_nginx(config).await?;
        let (row, used) = own_servers(&url, config, &servers).await?;
        stage.note(format!("servers used: {used}"));
        rows.push((row, used));
    }
    let [(wrong, used), (right, _)] = &rows[..] else {
        return Ok(Vec::new());
    };
    Ok(vec![all_on_one(wrong, *used), right.clone()])
}

async fn websocket_only(stage: &mut Stage) -> Result<Vec<Row>> {
    stage.start_servers(3, &[]).await?;
    let blocked = "04-wrong-websocket-only.conf";
    let (wrong, tally) = clients_connect(stage, blocked, Transport::WebSocket).await?;
    let (right, _) = clients_connect(stage, blocked, Transport::Polling).await?;
    Ok(vec![all_fail(wrong, &tally, BLOCKED), right])
}

/// nginx with a config, and clients of one address that connect through it.
async fn clients_connect(
    stage: &mut Stage,
    config: &str,
    transport: Transport,
) -> Result<(Row, Tally)> {
    let url = stage.start_nginx(config).await?;
    let (row, tally) = connects(&url, config, transport).await;
    for (reason, clients) in reasons(&tally) {
        stage.note(format!("{clients} of {CLIENTS}: {reason}"));
    }
    Ok((row, tally))
}

/// Clients of one address connect, one after the other: who does not is lost.
pub async fn connects(url: &str, config: &str, transport: Transport) -> (Row, Tally) {
    let clients = usize::from(CLIENTS);
    let tally = connect_one_by_one(url, transport, clients).await;
    let row = Row::new(format!("connecting, {transport}"), config).counted(
        clients,
        "clients",
        clients - tally.connected,
    );
    (row, tally)
}

/// The row of `hash $arg_sid`: whoever does not happen to get the right server is refused.
#[must_use]
pub fn refused_unless_lucky(row: Row, tally: &Tally) -> Row {
    let unknown =
        |reason: &String| reason.starts_with("400") && reason.contains("Session ID unknown");
    row.loses_something()
        .and(
            "each is refused with 400 Session ID unknown",
            tally.reasons.iter().all(unknown),
        )
        .and("some are lucky", tally.connected > 0)
}

/// How clients fail whose server was not told of a WebSocket. This server says 101 all the
/// same, and the connection is closed; others say 400.
pub const CUT: &str = "the connection broke";

/// How clients fail behind a proxy that blocks WebSockets.
pub const BLOCKED: &str = "403";

/// The row of a WebSocket that does not pass: all fail, and with that reason.
#[must_use]
pub fn all_fail(row: Row, tally: &Tally, reason: &str) -> Row {
    row.loses_something()
        .and("nobody connects", tally.connected == 0)
        .and(
            format!("the reason of each is: {reason}"),
            tally.reasons.iter().all(|said| said.starts_with(reason)),
        )
}

/// Clients say nothing over WebSocket for three seconds: whose connection ends is lost.
pub async fn idle_websockets(url: &str, config: &str) -> Row {
    let (members, failed) = gather(url, Crowd::Spread, CLIENTS, Transport::WebSocket, false).await;
    let (until, connected) = (Instant::now() + IDLE, members.len());
    let mut ended = 0;
    for mut member in members {
        let left = until.saturating_duration_since(Instant::now());
        ended += usize::from(member.socket.ends(left).await);
    }
    Row::new("3 s of silence, websocket", config)
        .counted(connected, "clients", ended)
        .and("everybody connects at first", failed == 0)
}

/// A poll is held, since there is nothing to say: one that is refused meanwhile is lost.
///
/// # Errors
/// When the session does not begin.
pub async fn held_polls(client: &Client, config: &str) -> Result<Row> {
    let polling = Polling::open(client).await?;
    // The first poll brings the first ping, and then there is nothing to say for 25 s.
    polling.poll().await?;
    let row = Row::new("3 s of silence, polling", config);
    let Ok(answer) = timeout(IDLE, polling.poll()).await else {
        return Ok(row.counted(1, "poll", 0));
    };
    // nginx gives up a server that is silent, and asks another one (`proxy_next_upstream`).
    let refusal = answer.as_ref().err().and_then(Error::refusal);
    let by_another = refusal
        .is_some_and(|refusal| is_session_unknown(refusal) && refusal.server() != polling.owner);
    Ok(row
        .counted(1, "poll", 1)
        .and("another server refuses it: Session ID unknown", by_another))
}

/// nginx is to start with a `backup` beside `ip_hash`, and does not.
pub async fn nginx_refuses_backup(stage: &mut Stage) -> Row {
    const WORDS: &str = "balancing method does not support parameter \"backup\"";
    let config = "04-wrong-backup.conf";
    let refusal = stage.switch_nginx(config).await.err();
    let refusal = refusal.map(|error| error.to_string());
    if let Some(refusal) = &refusal {
        stage.note(refusal.clone());
    }
    Row::new("nginx starts", config)
        .counted(1, "start", usize::from(refusal.is_some()))
        .loses_something()
        .and(
            format!("it says {WORDS}"),
            refusal.is_some_and(|refusal| refusal.contains(WORDS)),
        )
}

/// What the spare server was wanted for: A is dead, and its clients connect elsewhere.
///
/// # Errors
/// When nginx does not start.
pub async fn a_dies_without_backup(stage: &mut Stage) -> Result<Row> {
    let url = stage.start_nginx(RIGHT).await?;
    stage.kill_server('A').await?;
    let (members, failed) = gather(&url, Crowd::Spread, CLIENTS, Transport::Upgrade, false).await;
    let row = Row::new("A is dead, connecting", RIGHT)
        .counted(CLIENTS.into(), "clients", failed)
        .and("B and C have them all", spread(&members).len() == 2);
    stage.start_server('A').await?;
    Ok(row)
}

/// Clients open a WebSocket each, and keep it: who is not given the server that has the
/// fewest is lost. Also says how many each server has in the end.
pub async fn least_busy(url: &str, config: &str, servers: &[SocketAddr]) -> (Row, String) {
    let mut sockets = Vec::new();
    let mut counts: BTreeMap<_, usize> = servers.iter().map(|server| (*server, 0)).collect();
    let mut on_a_busier_one = 0;
    for number in 1..=CLIENTS {
        let client = Client::new(format!("client {number}"), url);
        let Ok(socket) = Socket::connect(&client, Transport::WebSocket, None).await else {
            continue;
        };
        if let Some(server) = socket.owner {
            let fewest = counts.values().copied().min().unwrap_or_default();
            let count = counts.entry(server).or_default();
            on_a_busier_one += usize::from(*count > fewest);
            *count += 1;
        }
        sockets.push(socket);
    }
    let row = Row::new("given to the least busy, websocket", config)
        .counted(CLIENTS.into(), "clients", on_a_busier_one)
        .and("everybody connects", sockets.len() == usize::from(CLIENTS));
    let counts: Vec<_> = counts.values().map(ToString::to_string).collect();
    (row, counts.join("/"))
}

/// Clients, each of a /24 of its own, open a session: who does not get the server of that
/// /24 is lost. Also says how many servers they use.
///
/// # Errors
/// When a handshake fails.
pub async fn own_servers(url: &str, config: &str, servers: &[SocketAddr]) -> Result<(Row, usize)> {
    let asked = servers_of(url, Crowd::Spread, CLIENTS).await?;
    let elsewhere = asked.iter().filter(|(address, server)| {
        *server != servers.get(ip_hash(*address, servers.len())).copied()
    });
    let used: BTreeSet<_> = asked.iter().map(|(_, server)| server).collect();
    let row = Row::new("30 /24s, each to its server", config).counted(
        asked.len(),
        "clients",
        elsewhere.count(),
    );
    Ok((row, used.len()))
}

/// The row of a proxy that is not known: everybody is one client.
#[must_use]
pub fn all_on_one(row: &Row, used: usize) -> Row {
    row.clone()
        .loses_something()
        .and("all are on one server", used == 1)
}

/// Why clients did not connect: each reason with how many had it.
fn reasons(tally: &Tally) -> BTreeMap<&str, usize> {
    let mut reasons = BTreeMap::new();
    for reason in &tally.reasons {
        // The rest of an error page says no more.
        let (first, _page) = reason.split_once('<').unwrap_or((reason, ""));
        *reasons.entry(first.trim_end()).or_default() += 1;
    }
    reasons
}
