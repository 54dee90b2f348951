//! Servers die or are replaced, with sockets on them.

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;
use lab::{Row, Stage, Transport};
use tokio::time::sleep;

use super::crowd::{Crowd, Story, TRANSPORTS, Told};

/// A socket must be back by then: the client waits up to 1.5 s before it tries.
const BACK: Duration = Duration::from_secs(2);
/// What a server may take to end after SIGTERM.
const END: Duration = Duration::from_secs(5);
/// How long a server is away, as with a release that has to be copied, or a Node.js that
/// has to load its modules.
const AWAY: Duration = Duration::from_secs(1);

/// How a server goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It is asked to end.
    Term,
    /// It is killed.
    Kill,
}

impl Way {
    fn signal(self) -> &'static str {
        match self {
            Self::Term => "SIGTERM",
            Self::Kill => "SIGKILL",
        }
    }
}

pub(super) async fn rolling_restart(stage: &mut Stage) -> Result<Vec<Row>> {
    let redis = start_servers(stage).await?;
    let mut rows = Vec::new();
    for (config, way) in [
        ("06-full-stack.conf", Way::Term),
        ("06-max-fails-0.conf", Way::Term),
        ("06-max-fails-0.conf", Way::Kill),
    ] {
        let url = stage.start_nginx(config).await?;
        rows.extend(replace_under_sockets(stage, &url, &redis, config, way).await?);
    }
    Ok(rows)
}

pub(super) async fn server_killed(stage: &mut Stage) -> Result<Vec<Row>> {
    let redis = start_servers(stage).await?;
    let config = "06-full-stack.conf";
    let url = stage.start_nginx(config).await?;
    kill_under_sockets(stage, &url, &redis, config).await
}

async fn start_servers(stage: &mut Stage) -> Result<String> {
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
    config: &str,
    way: Way,
) -> Result<Vec<Row>> {
    let crowd = Crowd::gather(url, redis).await?;
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
    let rows = rows(&event, config, &told, |_| true);
    Ok(rows
        .into_iter()
        .map(|row| row.and("each server ended within 5 s", all_ended))
        .collect())
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
    config: &str,
) -> Result<Vec<Row>> {
    let b = stage.server_addresses().get(1).copied();
    let crowd = Crowd::gather(url, redis).await?;
    stage.kill_server('B').await?;
    crowd.calms_down().await;
    let told = crowd.leave().await?;
    tell(stage, &told);
    Ok(rows("one server, kill -9", config, &told, |story| {
        first_server(story) == b
    }))
}

/// Says why attempts to connect failed.
fn tell(stage: &Stage, told: &Told) {
    for (reason, times) in told.refusals() {
        stage.note(format!("{times} × {reason}"));
    }
}

fn first_server(story: &Story) -> Option<SocketAddr> {
    story.visits.first().and_then(|visit| visit.server)
}

/// A row a transport, for the sockets that must move, and one for the messages.
fn rows(event: &str, config: &str, told: &Told, must_move: impl Fn(&Story) -> bool) -> Vec<Row> {
    let mut rows: Vec<_> = TRANSPORTS
        .into_iter()
        .map(|transport| sockets(event, config, told, transport, &must_move))
        .collect();
    let messages = told.messages();
    rows.push(
        Row::new(format!("{event}: messages to all"), config)
            .counted(messages.sent, "messages", messages.lost)
            .twice(messages.twice)
            .loses_some()
            .and(
                format!(
                    "each lost one was sent while its receiver was away ({} were not)",
                    messages.strays
                ),
                messages.strays == 0,
            )
            .and(
                format!("none came after a later one ({} did)", messages.late),
                messages.late == 0,
            ),
    );
    rows
}

fn sockets(
    event: &str,
    config: &str,
    told: &Told,
    transport: Transport,
    must_move: impl Fn(&Story) -> bool,
) -> Row {
    let stories = told
        .stories
        .iter()
        .filter(|story| story.transport == transport);
    let (moved, stayed): (Vec<_>, Vec<_>) = stories.partition(|story| must_move(story));
    let lost = moved
        .iter()
        .filter(|story| !story.is_there() || story.visits.len() < 2);
    let away = moved.iter().flat_map(|story| story.times_away()).max();
    Row::new(format!("{event}: {transport}"), config)
        .counted(moved.len(), "sockets", lost.count())
        .back_after(away)
        .within(BACK)
        .and(
            "each has a new session",
            moved.iter().all(|story| story.has_new_sessions()),
        )
        .and(
            "the sockets of the other servers keep their session",
            stayed.iter().all(|story| story.visits.len() == 1),
        )
}
