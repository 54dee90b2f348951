//! Drills with sockets: servers are replaced, or one is killed, with clients connected.

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;
use drills::{ReconnectingClient, Row, Signal, replace_one_by_one};
use lab::{Stage, Transport};

use crate::{
    broadcaster::ServersRedis,
    clients::{ClientRecord, ClientRecords, Clients, EACH, TRANSPORTS},
};

/// A client must be back after its first attempt, before which it waits up to 1.5 s. A time would
/// judge the machine too, which may be busy.
pub(crate) const FIRST_ATTEMPT: u32 = 1;
/// When all servers are replaced one by one, another server may stop, or its own may come back,
/// during the handshake. A client waits up to 1.5 s before its first attempt, 3 s before its
/// second, and 5 s before its third.
const THIRD_ATTEMPT: u32 = 3;
/// How long a server is away, as if a release were copied, or Node.js loaded its modules.
const AWAY: Duration = Duration::from_secs(1);

/// Drill: all servers are replaced.
pub async fn replaced(stage: &mut Stage) -> Result<Vec<Row>> {
    let redis = start_servers(stage).await?;
    let mut rows = Vec::new();
    for (config, signal) in [
        ("06-full-stack.conf", Signal::Term),
        ("beyond/06-max-fails-0.conf", Signal::Term),
        ("beyond/06-max-fails-0.conf", Signal::Kill),
    ] {
        let url = stage.nginx.start(config).await?;
        let replaced = replace_under_sockets(stage, &url, &redis, EACH, config, signal).await?;
        rows.extend(replaced.into_iter().map(|row| match (config, row.what) {
            ("06-full-stack.conf", "sockets") => row.loses_something(),
            _ => row,
        }));
    }
    Ok(rows)
}

/// Drill: one server is killed.
pub async fn server_killed(stage: &mut Stage) -> Result<Vec<Row>> {
    let redis = start_servers(stage).await?;
    let config = "06-full-stack.conf";
    let url = stage.nginx.start(config).await?;
    kill_under_sockets(stage, &url, &redis, EACH, config).await
}

/// Starts Redis and three servers.
pub(crate) async fn start_servers(stage: &mut Stage) -> Result<ServersRedis> {
    let redis = stage.redis.start().await?;
    stage.servers.start(3, &[("REDIS_URL", &redis)]).await?;
    Ok(ServersRedis::of(stage, redis))
}

/// Replaces all servers, with `each` clients of each transport connected.
pub async fn replace_under_sockets(
    stage: &mut Stage,
    url: &str,
    redis: &ServersRedis,
    each: usize,
    config: &str,
    signal: Signal,
) -> Result<Vec<Row>> {
    let clients = Clients::connect(url, redis, each).await?;
    let all_ended = replace_one_by_one(stage, signal, AWAY).await?;
    clients.recover().await;
    let records = clients.finish().await?;
    show_refusals(stage, &records);
    let event = format!("all replaced, {}", signal.name());
    let mut rows: Vec<_> = TRANSPORTS
        .into_iter()
        .map(|transport| sockets(&event, config, &records, transport, THIRD_ATTEMPT, |_| true))
        .map(|row| row.and("each server ended within 5 s", all_ended))
        .collect();
    rows.push(messages(&event, config, &records));
    Ok(rows)
}

/// Kills server B, waits until its clients are back, and starts it again. What nginx does to the
/// sessions then is in rows of its own.
pub async fn kill_under_sockets(
    stage: &mut Stage,
    url: &str,
    redis: &ServersRedis,
    each: usize,
    config: &str,
) -> Result<Vec<Row>> {
    let b = stage.servers.addresses().get(1).copied();
    let clients = Clients::connect(url, redis, each).await?;
    stage.servers.kill('B').await?;
    clients.recover().await;
    stage.servers.start_one('B').await?;
    // A polling client had its first session on B and its second elsewhere. Its third is on B.
    let polls_on_b = |client: &ReconnectingClient| {
        let sessions = client.sessions();
        let began_on_b = sessions.first().is_some_and(|session| session.server == b);
        began_on_b && client.transport() == Transport::Polling
    };
    clients.are_connected(polls_on_b, 3).await;
    clients.recover().await;
    let records = clients.finish().await?;
    show_refusals(stage, &records);
    let event = "one server, kill -9";
    let was_on_b = |client: &ClientRecord| first_server(client) == b;
    let mut rows: Vec<_> = TRANSPORTS
        .into_iter()
        .map(|transport| sockets(event, config, &records, transport, FIRST_ATTEMPT, was_on_b))
        .collect();
    rows.push(messages(event, config, &records));
    for transport in TRANSPORTS {
        let of_b = records.of(transport).filter(|client| was_on_b(client));
        let (broken, kept): (Vec<_>, Vec<_>) = of_b.partition(|client| client.sessions.len() > 2);
        let row = Row::new(format!("that server returns: {transport}"), config)
            .counted(broken.len() + kept.len(), "sessions", broken.len())
            .and(
                "each client is back after its first attempt",
                broken
                    .iter()
                    .all(|client| client.attempts().all(|attempts| attempts <= FIRST_ATTEMPT)),
            );
        rows.push(match transport {
            Transport::Polling => row.loses_something().recovered_after(
                broken
                    .iter()
                    .filter_map(|client| client.times_away().last())
                    .max(),
            ),
            Transport::WebSocket | Transport::Upgrade => row,
        });
    }
    Ok(rows)
}

/// Shows why attempts to connect failed.
pub(crate) fn show_refusals(stage: &Stage, records: &ClientRecords) {
    for (reason, times) in records.refusals() {
        stage.note(format!("{times} × {reason}"));
    }
}

fn first_server(client: &ClientRecord) -> Option<SocketAddr> {
    client.sessions.first().and_then(|session| session.server)
}

/// The row of one transport: clients that must get a new session. A client that needs more than
/// `attempts` is lost.
pub(crate) fn sockets(
    event: &str,
    config: &str,
    records: &ClientRecords,
    transport: Transport,
    attempts: u32,
    must_move: impl Fn(&ClientRecord) -> bool,
) -> Row {
    let (moved, stayed): (Vec<_>, Vec<_>) =
        records.of(transport).partition(|client| must_move(client));
    let is_back = |client: &ClientRecord| {
        client.is_connected()
            && client.sessions.len() > 1
            && client.attempts().all(|needed| needed <= attempts)
    };
    let lost = moved.iter().filter(|client| !is_back(client)).count();
    let away = moved.iter().flat_map(|client| client.times_away()).max();
    Row::new(format!("{event}: {transport}"), config)
        .counted(moved.len(), "sockets", lost)
        .recovered_after(away)
        .and(
            "no client gets a connect error, after which the official client gives up",
            !records
                .refusals()
                .keys()
                .any(|reason| reason.contains("welcome")),
        )
        .and(
            "each client has a new session",
            moved.iter().all(|client| client.has_new_sessions()),
        )
        .and(
            "the other clients keep their session",
            stayed
                .iter()
                .all(|client| client.is_connected() && client.sessions.len() == 1),
        )
}

/// The row of the messages to all clients. A message is lost if its client was away. Within a
/// session none may be lost.
pub(crate) fn messages(event: &str, config: &str, records: &ClientRecords) -> Row {
    let messages = records.messages();
    Row::new(format!("{event}: messages to all"), config)
        .counted(messages.sent, "messages", messages.lost)
        .duplicates(messages.duplicates)
        .may_lose()
        .and(
            format!(
                "none is lost within a session ({} are)",
                messages.lost_within_session
            ),
            messages.lost_within_session == 0,
        )
        .and(
            format!("all come in order ({} do not)", messages.out_of_order),
            messages.out_of_order == 0,
        )
}
