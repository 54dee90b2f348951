//! The two stacks, and a stage with one of them on it.

use std::{fmt, net::SocketAddr};

use anyhow::Result;
use clap::ValueEnum;
use lab::Stage;
use serde::Serialize;

use crate::{binaries::Binaries, peer};

/// Which stack's servers stand behind nginx.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Stack {
    /// The chapters' own programs.
    Rust,
    /// `load/node`.
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
    /// Chapter 1's, which says its PID.
    Pid,
    /// Chapter 6's, with the adapter.
    Chat,
}

/// A stage on free ports, whose servers will be those of the stack.
pub(crate) fn stage(stack: Stack, server: Server, binaries: &Binaries) -> Result<Stage> {
    let binary = match server {
        Server::Pid => &binaries.pid,
        Server::Chat => &binaries.chat,
    };
    let mut stage = Stage::silent(binary)?;
    if stack == Stack::Node {
        let script = peer::script(server);
        stage.serve_with("node", &[script.as_os_str()]);
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
        Server::Chat => Some(stage.start_redis().await?),
        Server::Pid => None,
    };
    let mut environment = vec![("NODE_ENV", "production")];
    if let Some(redis) = &redis {
        environment.push(("REDIS_URL", redis));
    }
    stage.start_servers(count, &environment).await?;
    Ok(stage)
}

/// Starts nginx with one of the configs, less its access log: nobody reads it here, and
/// writing it is no part of what is measured. Returns its address.
pub(crate) async fn start_nginx(stage: &mut Stage, config: &str) -> Result<SocketAddr> {
    let site = stage.nginx_site(config, without_access_log)?;
    stage.run_nginx(&site).await?;
    Ok(site.address)
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
    use super::without_access_log;

    #[test]
    fn every_config_that_is_measured_can_be_had_without_its_log() {
        for name in [
            "02-round-robin",
            "02-keepalive",
            "06-full-stack",
            "06-many-sockets",
        ] {
            let config = lab::nginx_config(&format!("{name}.conf")).unwrap();
            let quiet = without_access_log(&config);
            assert_eq!(quiet.replace("        access_log off;\n", ""), config);
            assert_ne!(quiet, config, "{name}");
        }
    }
}
