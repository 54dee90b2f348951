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

pub(super) async fn reloaded(stage: &mut Stage) -> Result<Vec<Row>> {
    let redis = start_servers(stage).await?;
    let mut rows = Vec::new();

    let config = "06-full-stack.conf";
    let url = stage.start_nginx(config).await?;
    let crowd = Crowd::gather(&url, &redis, EACH).await?;
    stage.reload_nginx(config, str::to_owned).await?;
    crowd.calms_down().await;
    let waits = !stage.old_nginx_worker_ends(Duration::ZERO).await;
    let told = crowd.leave().await?;
    let left = Instant::now();
    let ends = stage.old_nginx_worker_ends(LIMIT).await;
    let after = left.elapsed();
    tell(stage, &told);
    rows.extend(sessions_and_messages("nginx reloaded", config, &told));
    rows.push(
        Row::new(
            "nginx reloaded: the old worker, after its last socket",
            config,
        )
        .counted(1, "worker", 0)
        .back_after(Some(after))
        .and("while there are sockets, the old worker waits", waits)
        .and("without them it ends", ends),
    );

    let config = "06-shutdown-timeout.conf";
    let url = stage.start_nginx(config).await?;
    let crowd = Crowd::gather(&url, &redis, EACH).await?;
    stage.reload_nginx(config, str::to_owned).await?;
    let reloaded = Instant::now();
    let ends = stage.old_nginx_worker_ends(LIMIT).await;
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
            .and("it ends, sockets or not", ends),
    );
    Ok(rows)
}

pub(super) async fn restarted(stage: &mut Stage) -> Result<Vec<Row>> {
    let redis = start_servers(stage).await?;
    let config = "06-full-stack.conf";
    let url = stage.start_nginx(config).await?;
    let crowd = Crowd::gather(&url, &redis, EACH).await?;
    stage.end_nginx().await;
    stage.start_nginx(config).await?;
    crowd.calms_down().await;
    let told = crowd.leave().await?;
    tell(stage, &told);
    Ok(all_move("nginx stopped and started", config, &told))
}

/// The rows of an event that breaks every session.
fn all_move(event: &str, config: &str, told: &Told) -> Vec<Row> {
    let mut rows: Vec<_> = TRANSPORTS
        .into_iter()
        .map(|transport| sockets(event, config, told, transport, BACK, |_| true))
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
