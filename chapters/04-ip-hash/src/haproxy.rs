//! The chapter's experiments with HAProxy, and what it does that nginx does not.

use std::{net::SocketAddr, process::Command, time::Duration};

use lab::{Client, Result, Stage};
use tokio::time::timeout;

use crate::{Crowd, servers_of};

/// What an answer may take that does not come from a server that hangs.
pub const AT_ONCE: Duration = Duration::from_secs(2);

/// Has a server hang: it takes connections still, and does not answer. `kill -STOP` does it,
/// and `kill -CONT` ends it.
///
/// # Errors
/// When there is no such server, or it does not run.
pub fn hang(stage: &Stage, letter: char, hangs: bool) -> Result<()> {
    let signal = if hangs { "-STOP" } else { "-CONT" };
    let pid = stage.server_pid(letter).unwrap_or_default().to_string();
    Command::new("kill").args([signal, &pid]).status()?;
    stage.note(format!("{letter}: kill {signal} {pid}"));
    Ok(())
}

/// How many of `count` requests, each of a client of its own, are not answered [`AT_ONCE`].
pub async fn unanswered(url: &str, count: u8) -> usize {
    let mut unanswered = 0;
    for number in 1..=count {
        let client = Client::at(
            format!("client {number}"),
            url,
            Crowd::Spread.address(number),
        );
        let answer = timeout(AT_ONCE, client.get_once("/favicon.ico")).await;
        unanswered += usize::from(!matches!(answer, Ok(Ok(answer)) if answer.status < 300));
    }
    unanswered
}

/// Who had another server before, although that one lives: `(moved, of so many)`.
///
/// `before` and `after` are what [`servers_of`] says of the same crowd.
pub fn moved(
    before: &[(std::net::Ipv4Addr, Option<SocketAddr>)],
    after: &[(std::net::Ipv4Addr, Option<SocketAddr>)],
    dead: Option<SocketAddr>,
) -> (usize, usize) {
    let lived = before
        .iter()
        .zip(after)
        .filter(|((_, server), _)| *server != dead);
    let (mut moved, mut all) = (0, 0);
    for ((_, old), (_, new)) in lived {
        all += 1;
        moved += usize::from(old != new);
    }
    (moved, all)
}

/// Server A dies behind HAProxy with one of its configs: how many clients of the others change
/// their server, and of how many? A runs again in the end.
///
/// # Errors
/// When HAProxy does not start, does not notice, or a handshake fails.
pub async fn a_dies(stage: &mut Stage, config: &str) -> Result<(usize, usize)> {
    const CLIENTS: u8 = 60;
    let url = stage.switch_haproxy(config).await?;
    let a = stage.server_addresses().first().copied();
    let before = servers_of(&url, Crowd::Spread, CLIENTS).await?;
    stage.kill_server('A').await?;
    let noticed = stage.haproxy_says('A', "DOWN").await.is_some();
    stage.claim(format!("{config}: HAProxy notices that A is dead"), noticed);
    let after = servers_of(&url, Crowd::Spread, CLIENTS).await?;
    stage.start_server('A').await?;
    Ok(moved(&before, &after, a))
}
