//! Servers for a drill: started, replaced one by one, measured.

use std::time::Duration;

use lab::{Part, Result, Stage};
use tokio::time::sleep;

/// How long a server may take to end after SIGTERM.
const END_WITHIN: Duration = Duration::from_secs(5);

/// The signal that ends a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: the server may finish the requests that it has begun.
    Term,
    /// SIGKILL: the server ends at once.
    Kill,
}

impl Signal {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Term => "SIGTERM",
            Self::Kill => "SIGKILL",
        }
    }
}

/// Starts three new servers. They replace the servers that run.
pub async fn fresh_servers(stage: &mut Stage, environment: &[(&str, &str)]) -> Result<()> {
    if stage.servers.addresses().is_empty() {
        stage.servers.start(3, environment).await
    } else {
        // On the same ports.
        stage.servers.restart(environment).await
    }
}

/// Replaces servers A, B and C one by one, as a release does. Each is away for a while. The next
/// one ends once the new one accepts connections.
///
/// Returns whether each server ended in time after SIGTERM.
///
/// # Errors
/// When a server does not start.
pub async fn replace_one_by_one(stage: &mut Stage, signal: Signal, away: Duration) -> Result<bool> {
    replace_one_by_one_after(stage, signal, away, async |_pid| Ok(())).await
}

/// The same; before the signal, it waits for `ready`, which gets the server's PID.
///
/// # Errors
/// When `ready` fails, or a server does not start.
pub async fn replace_one_by_one_after(
    stage: &mut Stage,
    signal: Signal,
    away: Duration,
    ready: impl AsyncFn(u32) -> Result<()>,
) -> Result<bool> {
    let mut all_ended = true;
    for letter in ['A', 'B', 'C'] {
        if let Some(pid) = stage.servers.pid(letter) {
            ready(pid).await?;
        }
        match signal {
            Signal::Term => {
                all_ended &= stage.servers.end(letter, END_WITHIN).await?.is_some();
            }
            Signal::Kill => stage.servers.kill(letter).await?,
        }
        sleep(away).await;
        stage.servers.start_one(letter).await?;
    }
    Ok(all_ended)
}

/// The memory of all servers together, in bytes.
pub async fn servers_memory(stage: &Stage) -> Result<u64> {
    let parts = stage.memory().await?;
    let servers = parts
        .iter()
        .filter(|(part, _)| matches!(part, Part::Server(_)));
    Ok(servers.map(|(_, bytes)| bytes).sum())
}
