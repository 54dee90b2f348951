//! What the experiments start, and the users that they connect.

use anyhow::anyhow;
use ch06_full_stack::experiment::{User, write};
use lab::{Event, Result, Stage, Transport};

/// New servers with the adapter and this driver, Redis, and nginx.
pub(crate) async fn start_with_redis(stage: &mut Stage, driver: &str) -> Result<()> {
    let redis = stage.redis.start().await?;
    start_stack(stage, &[("REDIS_URL", &redis), ("DRIVER", driver)]).await
}

/// New servers with this environment, and nginx. Only the first start is shown.
pub(crate) async fn start_stack(stage: &mut Stage, environment: &[(&str, &str)]) -> Result<()> {
    stage.mute(stage.nginx.pid().is_some());
    let started = start_parts(stage, environment).await;
    stage.mute(false);
    started
}

async fn start_parts(stage: &mut Stage, environment: &[(&str, &str)]) -> Result<()> {
    stage.servers.stop().await;
    stage.servers.start(3, environment).await?;
    stage.nginx.start("06-full-stack.conf").await?;
    Ok(())
}

pub(crate) async fn alice_and_bob(stage: &Stage, transport: Transport) -> Result<[User; 2]> {
    Ok([
        connect(stage, "alice", 0, transport).await?,
        connect(stage, "bob", 1, transport).await?,
    ])
}

/// Connects a user through nginx, which sends the user to the server with this index.
pub(crate) async fn connect(
    stage: &Stage,
    name: &str,
    server: usize,
    transport: Transport,
) -> Result<User> {
    let connected = User::connect(&stage.nginx.url()?, name, server, transport).await;
    connected.map_err(|error| match error.refused_by() {
        Some(server) => {
            let server = stage.servers.name_of(Some(server));
            anyhow!("{name} cannot connect, server {server} answers {error}")
        }
        None => anyhow!("{name} cannot connect: {error}"),
    })
}

/// One user writes to another, and the stage shows it. Returns whether the message arrived.
pub(crate) async fn write_shown(
    stage: &Stage,
    from: &User,
    to: &mut User,
    text: &str,
) -> Result<bool> {
    let arrived = write(from, to, text).await?;
    stage.record(Event::Message {
        from: from.name.clone(),
        to: to.name.clone(),
        text: text.to_owned(),
        arrived,
    });
    Ok(arrived)
}
