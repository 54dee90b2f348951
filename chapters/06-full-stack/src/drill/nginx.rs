//! nginx is reloaded or restarted, with sockets through it.

use std::time::Duration;

use anyhow::Result;
use lab::{Row, Stage, Transport};
use tokio::time::Instant;

use super::{
    crowd::{Crowd, EACH, TRANSPORTS, Told},
    sockets::{BACK, messages, sockets, start_servers, tell},
};

/// Longer than `worker_shutdown_timeout` in the config.
const LIMIT: Duration = Duration::from_secs(20);
/// So long an old worker is watched to stay, for its sockets.
const WITH_SOCKETS: Duration = Duration::from_secs(3);

pub(super) async fn reloaded(stage: &mut Stage) -> Result<Vec<Row>> {
    let redis = start_servers(stage).await?;

    let config = "06-full-stack.conf";
    let url = stage.start_nginx(config).await?;
    let mut waited = false;
    let reload = async {
        stage.reload_nginx(config, str::to_owned).await?;
        waited = !stage.old_nginx_worker_ends(WITH_SOCKETS).await;
        Ok(())
    };
    let mut rows = reload_under_sockets(&url, &redis, EACH, config, reload).await?;
    let left = Instant::now();
    let ended = stage.old_nginx_worker_ends(LIMIT).await;
    rows.push(
        Row::new(
            "nginx reloaded: the old worker, after its last socket",
            config,
        )
        .counted(1, "worker", 0)
        .back_after(Some(left.elapsed()))
        .and("while there are sockets, the old worker waits", waited)
        .and("without them it ends", ended),
    );

    let config = "06-shutdown-timeout.conf";
    let url = stage.start_nginx(config).await?;
    let crowd = Crowd::gather(&url, &redis, EACH).await?;
    stage.reload_nginx(config, str::to_owned).await?;
    let reloaded = Instant::now();
    let ended = stage.old_nginx_worker_ends(LIMIT).await;
    let after = reloaded.elapsed();
    crowd.calms_down().await;
    let told = crowd.leave().await?;
    tell(stage, &told);
    for transport in [Transport::WebSocket, Transport::Upgrade] {
        let event = "nginx reloaded, old worker timed out";
        rows.push(sockets(event, config, &told, transport, BACK, |_| true));
    }
    rows.push(
        Row::new("nginx reloaded: the old worker, after the reload", config)
            .counted(1, "worker", 0)
            .back_after(Some(after))
            .within(Duration::from_secs(6))
            .and("it ends, sockets or not", ended),
    );
    Ok(rows)
}

pub(super) async fn restarted(stage: &mut Stage) -> Result<Vec<Row>> {
    let redis = start_servers(stage).await?;
    let config = "06-full-stack.conf";
    let url = stage.start_nginx(config).await?;
    let restart = async {
        stage.end_nginx().await;
        stage.start_nginx(config).await.map(drop)
    };
    restart_under_sockets(&url, &redis, EACH, config, restart).await
}

/// Has nginx take its config again; `reload` does so. No session may end.
///
/// # Errors
/// When nginx does not, or the crowd does not come together before.
pub async fn reload_under_sockets(
    url: &str,
    redis: &str,
    each: usize,
    config: &str,
    reload: impl Future<Output = Result<()>>,
) -> Result<Vec<Row>> {
    let told = crowd_sees(url, redis, each, reload).await?;
    Ok(sessions_and_messages("nginx reloaded", config, &told))
}

/// Stops and starts nginx; `restart` does so. Every session ends.
///
/// # Errors
/// When nginx does not start, or the crowd does not come together before.
pub async fn restart_under_sockets(
    url: &str,
    redis: &str,
    each: usize,
    config: &str,
    restart: impl Future<Output = Result<()>>,
) -> Result<Vec<Row>> {
    let told = crowd_sees(url, redis, each, restart).await?;
    Ok(all_move("nginx stopped and started", config, &told))
}

async fn crowd_sees(
    url: &str,
    redis: &str,
    each: usize,
    event: impl Future<Output = Result<()>>,
) -> Result<Told> {
    let crowd = Crowd::gather(url, redis, each).await?;
    event.await?;
    crowd.calms_down().await;
    crowd.leave().await
}

/// The rows of an event that breaks every connection. A client that was between two polls
/// may not have noticed, and keeps its session.
fn all_move(event: &str, config: &str, told: &Told) -> Vec<Row> {
    let mut rows: Vec<_> = TRANSPORTS
        .into_iter()
        .map(|transport| {
            sockets(event, config, told, transport, BACK, |story| {
                transport != Transport::Polling || story.visits.len() > 1
            })
        })
        .collect();
    rows.push(messages(event, config, told));
    rows
}

/// The rows of an event that nobody may notice: each session goes on, and no message is lost.
fn sessions_and_messages(event: &str, config: &str, told: &Told) -> Vec<Row> {
    let mut rows: Vec<_> = TRANSPORTS
        .into_iter()
        .map(|transport| {
            let (kept, lost): (Vec<_>, Vec<_>) = told
                .of(transport)
                .partition(|story| story.is_there() && story.visits.len() == 1);
            Row::new(format!("{event}: {transport}"), config).counted(
                kept.len() + lost.len(),
                "sessions",
                lost.len(),
            )
        })
        .collect();
    rows.push(messages(event, config, told).loses_at_most(0));
    rows
}
