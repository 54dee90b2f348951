//! Each limit is reached, and then lifted.

use anyhow::Result;
use lab::{Event, Observer, Stage, client::PATIENCE, event::Part};
use tokio::time::timeout;

use crate::{
    CONFIG, Opened, SHORTAGE, line_with, open,
    ports::{PORTS, ports},
    start_with_descriptors, start_with_memory, with_connections,
};

/// How many sockets are wanted: more than the small limits allow.
const WANTED: usize = 64;

/// Descriptors of a server.
///
/// # Errors
/// When the server does not start.
pub async fn descriptors(stage: &mut Stage) -> Result<()> {
    let mut full = open_to_one_server(stage, 64).await?;
    stage.claim_failure(
        format!(
            "64 descriptors are too few for 64 sockets: {} are open, and the next one waits",
            full.users.len()
        ),
        full.told(),
        full.error.is_some(),
    );
    let said = stage.servers.await_line('A', SHORTAGE).await;
    stage.claim(
        "the server says so, and does not end",
        said && stage.servers.pid('A').is_some(),
    );
    full.users.truncate(full.users.len() / 2);
    let again = open(&[&stage.servers.url('A')?], 5).await;
    stage.claim(
        "half of the clients leave, and it accepts new ones",
        again.users.len() == 5,
    );
    drop((full, again));
    let lifted = open_to_one_server(stage, 200).await?;
    stage.claim(
        "with 200 descriptors, all 64 sockets are open",
        lifted.users.len() == WANTED,
    );
    Ok(())
}

async fn open_to_one_server(stage: &mut Stage, descriptors: usize) -> Result<Opened> {
    start_with_descriptors(stage, descriptors).await?;
    Ok(open(&[&stage.servers.url('A')?], WANTED).await)
}

/// Connections of an nginx worker.
///
/// # Errors
/// When a part does not start.
pub async fn connections(stage: &mut Stage) -> Result<()> {
    stage.servers.stop().await;
    stage.servers.start(3, &[("ADAPTER", "off")]).await?;
    let mut observer = stage.observer().from_now();
    let full = open_through_nginx(stage, 32).await?;
    stage.claim_failure(
        format!(
            "`worker_connections 32;` is too few for 64 sockets: {} are open",
            full.users.len()
        ),
        full.told(),
        full.error.is_some() && full.users.len() <= 16,
    );
    let line = line_with(&mut observer, "worker_connections are not enough").await;
    let has_line = line.is_some();
    stage.claim_seen(
        "the log of nginx says why",
        line.unwrap_or_default(),
        has_line,
    );
    drop(full);
    let lifted = open_through_nginx(stage, 200).await?;
    stage.claim(
        "with 200 connections, all 64 sockets are open",
        lifted.users.len() == WANTED,
    );
    Ok(())
}

async fn open_through_nginx(stage: &mut Stage, connections: usize) -> Result<Opened> {
    let site = stage
        .nginx
        .site(CONFIG, |config| with_connections(config, connections))?;
    let url = stage.nginx.run(&site).await?;
    Ok(open(&[&url], WANTED).await)
}

/// Ports from nginx to a server.
///
/// # Errors
/// When the network is allowed, and something in it fails.
pub async fn outgoing_ports(stage: &mut Stage) -> Result<()> {
    let Some([one, three]) = ports(stage).await? else {
        stage
            .note("Not shown: this system does not allow a network of one's own (`unshare -Urn`).");
        return Ok(());
    };
    stage.claim_failure(
        format!(
            "nginx has {} connections to one server, and no more",
            one.open
        ),
        one.client.unwrap_or_default(),
        one.open == PORTS,
    );
    let has_line = one.line.is_some();
    stage.claim_seen(
        "the log of nginx says why",
        one.line.unwrap_or_default(),
        has_line,
    );
    stage.claim(
        format!(
            "with three servers, all {} are open: each port can be used once for each server",
            three.open
        ),
        three.open == 2 * PORTS && three.client.is_none(),
    );
    Ok(())
}

/// How many sockets are wanted: more than 4 MiB can hold.
const MANY: usize = 500;

/// Memory of a server.
///
/// # Errors
/// When the server does not start.
pub async fn memory(stage: &mut Stage) -> Result<()> {
    let observer = stage.observer().from_now();
    let Some(full) = open_within(stage, 4).await? else {
        stage.note("Not shown: only Linux tells how much memory a process has at its start.");
        return Ok(());
    };
    stage.claim_failure(
        format!("4 MiB are full after {} sockets", full.users.len()),
        full.told(),
        full.error.is_some(),
    );
    let line = line_with(&mut observer.clone(), "memory allocation of").await;
    let has_line = line.is_some();
    stage.claim_failure(
        "the server says so, and dies",
        line.unwrap_or_default(),
        has_line && server_dies(&mut observer.clone()).await,
    );
    drop(full);
    let lifted = open_within(stage, 64).await?;
    stage.claim(
        format!("with 64 MiB, all {MANY} sockets are open"),
        lifted.is_some_and(|opened| opened.users.len() == MANY),
    );
    Ok(())
}

async fn open_within(stage: &mut Stage, mebibytes: usize) -> Result<Option<Opened>> {
    if !start_with_memory(stage, mebibytes * 1024).await? {
        return Ok(None);
    }
    Ok(Some(open(&[&stage.servers.url('A')?], MANY).await))
}

/// Waits until the stage has seen the end of server A.
async fn server_dies(observer: &mut Observer) -> bool {
    let seen = async {
        loop {
            let is_end = |event| {
                matches!(
                    event,
                    Event::Down {
                        part: Part::Server('A'),
                        ..
                    }
                )
            };
            let mut events = observer.next(1_000).await.into_iter();
            if events.any(|observed| is_end(observed.event)) {
                return;
            }
        }
    };
    timeout(PATIENCE, seen).await.is_ok()
}
