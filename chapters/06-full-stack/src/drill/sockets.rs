//! Servers die or are replaced, with sockets on them.

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;
use lab::{Returning, Row, Stage, Transport, Way};
use tokio::time::sleep;

use super::crowd::{Crowd, EACH, Story, TRANSPORTS, Told};

/// A socket must be back by then: the client waits up to 1.5 s before it tries.
pub(super) const BACK: Duration = Duration::from_secs(2);
/// Where all servers go and return one after the other, a handshake may be caught in the
/// middle: begun on a server that goes, or continued on one that has just returned. A client
/// waits up to 1.5 s before its first attempt, 3 s before its second, 5 s before its third.
const BACK_AT_THIRD_ATTEMPT: Duration = Duration::from_secs(10);
/// What a server may take to end after SIGTERM.
const END: Duration = Duration::from_secs(5);
/// How long a server is away, as with a release that has to be copied, or a Node.js that
/// has to load its modules.
const AWAY: Duration = Duration::from_secs(1);

pub(super) async fn rolling_restart(stage: &mut Stage) -> Result<Vec<Row>> {
    let redis = start_servers(stage).await?;
    let mut rows = Vec::new();
    for (config, way) in [
        ("06-full-stack.conf", Way::Term),
        ("06-max-fails-0.conf", Way::Term),
        ("06-max-fails-0.conf", Way::Kill),
    ] {
        let url = stage.start_nginx(config).await?;
        let replaced = replace_under_sockets(stage, &url, &redis, EACH, config, way).await?;
        rows.extend(replaced.into_iter().map(|row| match (config, row.what) {
            ("06-full-stack.conf", "sockets") => row.loses_something(),
            _ => row,
        }));
    }
    Ok(rows)
}

pub(super) async fn server_killed(stage: &mut Stage) -> Result<Vec<Row>> {
    let redis = start_servers(stage).await?;
    let config = "06-full-stack.conf";
    let url = stage.start_nginx(config).await?;
    kill_under_sockets(stage, &url, &redis, EACH, config).await
}

/// Three servers, and Redis between them; its URL.
pub(super) async fn start_servers(stage: &mut Stage) -> Result<String> {
    let redis = stage.start_redis().await?;
    stage.start_servers(3, &[("REDIS_URL", &redis)]).await?;
    Ok(redis)
}

/// Replaces the servers one by one: the next one goes once the new one accepts connections.
///
/// # Errors
/// When a server does not start, or the crowd does not come together before.
pub async fn replace_under_sockets(
    stage: &mut Stage,
    url: &str,
    redis: &str,
    each: usize,
    config: &str,
    way: Way,
) -> Result<Vec<Row>> {
    let crowd = Crowd::gather(url, redis, each).await?;
    let mut all_ended = true;
    for letter in ['A', 'B', 'C'] {
        match way {
            Way::Term => all_ended &= stage.end_server(letter, END).await?.is_some(),
            Way::Kill => stage.kill_server(letter).await?,
        }
        sleep(AWAY).await;
        stage.start_server(letter).await?;
    }
    crowd.calms_down().await;
    let told = crowd.leave().await?;
    tell(stage, &told);
    let event = format!("all replaced, {}", way.signal());
    let mut rows: Vec<_> = TRANSPORTS
        .into_iter()
        .map(|transport| {
            let in_time = BACK_AT_THIRD_ATTEMPT;
            sockets(&event, config, &told, transport, in_time, |_| true)
        })
        .map(|row| row.and("each server ended within 5 s", all_ended))
        .collect();
    rows.push(messages(&event, config, &told));
    Ok(rows)
}

/// Kills server B, waits until all sockets are back, and starts it again: what nginx then
/// does to them is a row of its own.
///
/// # Errors
/// When it does not start, or the crowd does not come together before.
pub async fn kill_under_sockets(
    stage: &mut Stage,
    url: &str,
    redis: &str,
    each: usize,
    config: &str,
) -> Result<Vec<Row>> {
    let b = stage.server_addresses().get(1).copied();
    let crowd = Crowd::gather(url, redis, each).await?;
    stage.kill_server('B').await?;
    crowd.calms_down().await;
    stage.start_server('B').await?;
    // Whoever polls has had a session on B, has one elsewhere, and gets one on B again.
    let polls_on_b = |member: &Returning| {
        let visits = member.visits();
        let began_on_b = visits.first().is_some_and(|visit| visit.server == b);
        began_on_b && member.transport() == Transport::Polling
    };
    crowd.are_there(polls_on_b, 3).await;
    crowd.calms_down().await;
    let told = crowd.leave().await?;
    tell(stage, &told);
    let event = "one server, kill -9";
    let must_move = |story: &Story| first_server(story) == b;
    let mut rows: Vec<_> = TRANSPORTS
        .into_iter()
        .map(|transport| sockets(event, config, &told, transport, BACK, must_move))
        .collect();
    rows.push(messages(event, config, &told));
    for transport in TRANSPORTS {
        let of_it = told.of(transport).filter(|story| must_move(story));
        let (broken, kept): (Vec<_>, Vec<_>) = of_it.partition(|story| story.visits.len() > 2);
        let row = Row::new(format!("that server returns: {transport}"), config)
            .counted(broken.len() + kept.len(), "sessions", broken.len())
            .within(BACK);
        rows.push(match transport {
            Transport::Polling => row.loses_something().back_after(
                broken
                    .iter()
                    .filter_map(|story| story.times_away().last())
                    .max(),
            ),
            Transport::WebSocket | Transport::Upgrade => row,
        });
    }
    Ok(rows)
}

/// Says why attempts to connect failed.
pub(super) fn tell(stage: &Stage, told: &Told) {
    for (reason, times) in told.refusals() {
        stage.note(format!("{times} × {reason}"));
    }
}

fn first_server(story: &Story) -> Option<SocketAddr> {
    story.visits.first().and_then(|visit| visit.server)
}

/// The sockets of one transport that must move to another session. Those that are not back
/// in time are lost.
pub(super) fn sockets(
    event: &str,
    config: &str,
    told: &Told,
    transport: Transport,
    in_time: Duration,
    must_move: impl Fn(&Story) -> bool,
) -> Row {
    let (moved, stayed): (Vec<_>, Vec<_>) = told.of(transport).partition(|story| must_move(story));
    let is_back = |story: &Story| {
        story.is_there() && story.visits.len() > 1 && story.times_away().all(|away| away <= in_time)
    };
    let lost = moved.iter().filter(|story| !is_back(story)).count();
    let away = moved.iter().flat_map(|story| story.times_away()).max();
    Row::new(format!("{event}: {transport}"), config)
        .counted(moved.len(), "sockets", lost)
        .back_after(away)
        .and(
            "nobody is turned away for good, as the official client understands a connect error",
            !told
                .refusals()
                .keys()
                .any(|reason| reason.contains("welcome")),
        )
        .and(
            "each has a new session",
            moved.iter().all(|story| story.has_new_sessions()),
        )
        .and(
            "the others keep their session",
            stayed
                .iter()
                .all(|story| story.is_there() && story.visits.len() == 1),
        )
}

/// The messages to everybody. Those to a client that was away are lost, and those on their
/// way to it; within a session, none is.
pub(super) fn messages(event: &str, config: &str, told: &Told) -> Row {
    let messages = told.messages();
    Row::new(format!("{event}: messages to all"), config)
        .counted(messages.sent, "messages", messages.lost)
        .twice(messages.twice)
        .loses_some()
        .and(
            format!("none is missing within a session ({} are)", messages.holes),
            messages.holes == 0,
        )
        .and(
            format!("none came after a later one ({} did)", messages.late),
            messages.late == 0,
        )
}
