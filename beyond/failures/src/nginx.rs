//! Drills with sockets: nginx is reloaded, or stopped and started.

use std::time::Duration;

use anyhow::Result;
use drills::Row;
use lab::{Stage, Transport};
use tokio::time::Instant;

use crate::{
    broadcaster::ServersRedis,
    clients::{ClientRecords, Clients, EACH, TRANSPORTS},
    sockets::{FIRST_ATTEMPT, messages, show_refusals, sockets, start_servers},
};

/// How long an old worker may take to end: longer than `worker_shutdown_timeout` in the config.
const LIMIT: Duration = Duration::from_secs(20);
/// `worker_shutdown_timeout` in `06-shutdown-timeout.conf`.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long the drill checks that an old worker stays for its sockets.
const WITH_SOCKETS: Duration = Duration::from_secs(3);

/// Drill: nginx reloads its config, without and with `worker_shutdown_timeout`.
pub async fn reloaded(stage: &mut Stage) -> Result<Vec<Row>> {
    let redis = start_servers(stage).await?;
    let mut rows = without_timeout(stage, &redis).await?;
    rows.extend(with_timeout(stage, &redis).await?);
    Ok(rows)
}

/// The old worker waits for its sockets.
async fn without_timeout(stage: &mut Stage, redis: &ServersRedis) -> Result<Vec<Row>> {
    let config = "06-full-stack.conf";
    let url = stage.nginx.start(config).await?;
    let mut waited = false;
    let reload = async {
        stage.nginx.reload(config, str::to_owned).await?;
        waited = !stage.nginx.old_worker_ends(WITH_SOCKETS).await;
        Ok(())
    };
    let mut rows = reload_under_sockets(&url, redis, EACH, config, reload).await?;
    let no_sockets = Instant::now();
    let ended = stage.nginx.old_worker_ends(LIMIT).await;
    rows.push(
        Row::new(
            "nginx reloaded: the old worker, after its last socket",
            config,
        )
        .counted(1, "worker", 0)
        .recovered_after(Some(no_sockets.elapsed()))
        .and("with sockets, the old worker waits", waited)
        .and("without sockets, it ends", ended),
    );
    Ok(rows)
}

/// The old worker closes its sockets when its time is over.
async fn with_timeout(stage: &mut Stage, redis: &ServersRedis) -> Result<Vec<Row>> {
    let config = "beyond/06-shutdown-timeout.conf";
    let url = stage.nginx.start(config).await?;
    let clients = Clients::connect(&url, redis, EACH).await?;
    let reloaded = Instant::now();
    stage.nginx.reload(config, str::to_owned).await?;
    let ended = stage.nginx.old_worker_ends(LIMIT).await;
    let after = reloaded.elapsed();
    clients.recover().await;
    let records = clients.finish().await?;
    show_refusals(stage, &records);
    let event = "nginx reloaded, old worker timed out";
    let transports = [Transport::WebSocket, Transport::Upgrade];
    let mut rows: Vec<_> = transports
        .into_iter()
        .map(|transport| sockets(event, config, &records, transport, FIRST_ATTEMPT, |_| true))
        .collect();
    rows.push(
        Row::new("nginx reloaded: the old worker, after the reload", config)
            .counted(1, "worker", 0)
            .recovered_after(Some(after))
            .and("it ends although it has sockets", ended)
            .and("it does not end before its timeout", after >= TIMEOUT),
    );
    Ok(rows)
}

/// Drill: nginx is stopped and started.
pub async fn restarted(stage: &mut Stage) -> Result<Vec<Row>> {
    let redis = start_servers(stage).await?;
    let config = "06-full-stack.conf";
    let url = stage.nginx.start(config).await?;
    let restart = async {
        stage.nginx.end().await;
        stage.nginx.start(config).await.map(drop)
    };
    restart_under_sockets(&url, &redis, EACH, config, restart).await
}

/// nginx reloads its config; `reload` tells it to. No session may end.
pub async fn reload_under_sockets(
    url: &str,
    redis: &ServersRedis,
    each: usize,
    config: &str,
    reload: impl Future<Output = Result<()>>,
) -> Result<Vec<Row>> {
    let records = clients_during(url, redis, each, reload).await?;
    Ok(all_stay("nginx reloaded", config, &records))
}

/// nginx is stopped and started; `restart` does it. Every session ends.
pub async fn restart_under_sockets(
    url: &str,
    redis: &ServersRedis,
    each: usize,
    config: &str,
    restart: impl Future<Output = Result<()>>,
) -> Result<Vec<Row>> {
    let records = clients_during(url, redis, each, restart).await?;
    Ok(all_move("nginx stopped and started", config, &records))
}

async fn clients_during(
    url: &str,
    redis: &ServersRedis,
    each: usize,
    event: impl Future<Output = Result<()>>,
) -> Result<ClientRecords> {
    let clients = Clients::connect(url, redis, each).await?;
    event.await?;
    clients.recover().await;
    clients.finish().await
}

/// The rows of an event that breaks every connection. A polling client that was between two polls
/// may notice nothing, and keeps its session.
fn all_move(event: &str, config: &str, records: &ClientRecords) -> Vec<Row> {
    let mut rows: Vec<_> = TRANSPORTS
        .into_iter()
        .map(|transport| {
            sockets(event, config, records, transport, FIRST_ATTEMPT, |client| {
                transport != Transport::Polling || client.sessions.len() > 1
            })
        })
        .collect();
    rows.push(messages(event, config, records));
    rows
}

/// The rows of an event that no client notices: each session goes on, and no message is lost.
fn all_stay(event: &str, config: &str, records: &ClientRecords) -> Vec<Row> {
    let mut rows: Vec<_> = TRANSPORTS
        .into_iter()
        .map(|transport| {
            let (kept, lost): (Vec<_>, Vec<_>) = records
                .of(transport)
                .partition(|client| client.is_connected() && client.sessions.len() == 1);
            Row::new(format!("{event}: {transport}"), config).counted(
                kept.len() + lost.len(),
                "sessions",
                lost.len(),
            )
        })
        .collect();
    rows.push(messages(event, config, records).loses_at_most(0));
    rows
}
