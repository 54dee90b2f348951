//! The two stacks, and a stage with one of them on it.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use clap::ValueEnum;
use lab::Stage;
use serde::Serialize;
use tokio::time::{sleep, timeout};

use crate::{binaries::Binaries, peer, processes};

/// Which stack's servers stand behind nginx.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Stack {
    /// The servers of this workspace.
    Rust,
    /// `lab/load/node`.
    Node,
}

impl fmt::Display for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rust => "Rust",
            Self::Node => "Node",
        })
    }
}

/// Which stacks to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stacks {
    Rust,
    Node,
    Both,
}

/// Which server of the article's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    /// It answers with its PID.
    Pid,
    /// It takes orders as well.
    Orders,
    /// The chat, with the adapter.
    Chat,
}

/// A stage on free ports, whose servers will be those of the stack.
pub(crate) fn stage(stack: Stack, server: Server, binaries: &Binaries) -> Result<Stage> {
    let binary = match server {
        Server::Pid => &binaries.pid,
        Server::Orders => &binaries.orders,
        Server::Chat => &binaries.chat,
    };
    let mut stage = Stage::silent(binary)?;
    if stack == Stack::Node {
        let script = peer::script(match server {
            Server::Pid => "pid.js",
            Server::Orders => "orders.js",
            Server::Chat => "server.js",
        });
        stage.servers.run_program("node", &[script.as_os_str()]);
    }
    Ok(stage)
}

/// The same with Redis, if the server needs it, and `count` servers that run.
pub(crate) async fn running(
    stack: Stack,
    server: Server,
    count: u8,
    binaries: &Binaries,
) -> Result<Stage> {
    let mut stage = stage(stack, server, binaries)?;
    let redis = match server {
        Server::Chat => Some(stage.redis.start().await?),
        Server::Pid | Server::Orders => None,
    };
    let mut environment = vec![("NODE_ENV", "production")];
    let book = (server == Server::Orders).then(|| book(&stage).display().to_string());
    if let Some(book) = &book {
        environment.push(("ORDERS", book));
        // The server of the drills is this or a chat.
        environment.push(("SERVES", "requests"));
    }
    if let Some(redis) = &redis {
        environment.push(("REDIS_URL", redis));
    }
    stage.servers.start(count, &environment).await?;
    Ok(stage)
}

/// Where the servers of a stage write the orders that they execute: a line each, which
/// begins with the order's ID.
pub(crate) fn book(stage: &Stage) -> PathBuf {
    stage.folder().join("orders")
}

/// Starts nginx with one of the configs, less its access log: nobody reads it here, and
/// writing it is no part of what is measured. Returns its address.
pub(crate) async fn start_nginx(stage: &mut Stage, config: &str) -> Result<SocketAddr> {
    start_edited_nginx(stage, config, &str::to_owned).await
}

/// The same with a config that `edit` has changed.
pub(crate) async fn start_edited_nginx(
    stage: &mut Stage,
    config: &str,
    edit: &(dyn Fn(&str) -> String + Sync),
) -> Result<SocketAddr> {
    let site = stage
        .nginx
        .site(config, |config| without_access_log(&edit(config)))?;
    stage.nginx.run(&site).await?;
    if let Some(pid) = stage.nginx.pid() {
        let workers = workers_of(&edit(&lab::nginx_config(config)?));
        await_workers(pid, workers).await?;
    }
    Ok(site.address)
}

/// nginx takes connections before all of its workers are there, and each is measured.
async fn await_workers(nginx: u32, workers: usize) -> Result<()> {
    // Elsewhere nothing is measured of them.
    if !cfg!(target_os = "linux") {
        return Ok(());
    }
    let looking = async {
        while processes::family(nginx).len() <= workers {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(5), looking)
        .await
        .context("nginx has not started all of its workers")
}

/// `worker_processes 4;`
fn workers_of(config: &str) -> usize {
    let mut values = config
        .lines()
        .filter_map(|line| line.strip_prefix("worker_processes "));
    let value = values.next().and_then(|value| value.strip_suffix(';'));
    value.and_then(|value| value.parse().ok()).unwrap_or(1)
}

fn without_access_log(config: &str) -> String {
    config.replacen(
        "    server {\n",
        "    server {\n        access_log off;\n",
        1,
    )
}

#[cfg(test)]
mod tests {
    use super::{without_access_log, workers_of};

    #[test]
    fn every_config_that_is_measured_can_be_had_without_its_log() {
        for name in [
            "02-round-robin",
            "beyond/02-keepalive",
            "06-full-stack",
            "beyond/06-many-sockets",
        ] {
            let config = lab::nginx_config(&format!("{name}.conf")).unwrap();
            let quiet = without_access_log(&config);
            assert_eq!(quiet.replace("        access_log off;\n", ""), config);
            assert_ne!(quiet, config, "{name}");
        }
    }

    #[test]
    fn the_workers_are_as_many_as_the_config_says() {
        for (name, workers) in [("02-round-robin", 1), ("beyond/06-many-sockets", 8)] {
            let config = lab::nginx_config(&format!("{name}.conf")).unwrap();
            assert_eq!(workers_of(&config), workers, "{name}");
        }
    }
}
