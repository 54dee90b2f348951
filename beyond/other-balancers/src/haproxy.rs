//! Experiments with HAProxy in nginx's place, and what HAProxy does that nginx does not.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::Command,
    time::Duration,
};

use ch03_socket_polling::experiments::poll_twice;
use ch04_ip_hash::{
    Addresses, both_are_answered,
    methods::{Method, Servers, compare_with},
    second_is_refused, servers_of,
};
use lab::{Client, Result, Stage};
use tokio::time::timeout;

use crate::{left_out, process::Haproxy};

/// How long a server that runs may take to answer.
pub const AT_ONCE: Duration = Duration::from_secs(2);

/// HAProxy with three servers; `None`, with a sentence in the terminal, where there is no HAProxy.
async fn found(stage: &mut Stage) -> Result<Option<Haproxy>> {
    match Haproxy::find().await {
        Ok(haproxy) => {
            stage.servers.start(3, &[]).await?;
            Ok(Some(haproxy))
        }
        Err(missing) => {
            left_out(stage, &missing.to_string());
            Ok(None)
        }
    }
}

/// Round robin: the second request reaches another server.
pub async fn round_robin(stage: &mut Stage) -> Result<()> {
    let Some(mut haproxy) = found(stage).await? else {
        return Ok(());
    };
    let url = haproxy.start(stage, "04-round-robin.cfg").await?;
    let twice = poll_twice(&stage.client("you", &url)).await?;
    second_is_refused(
        stage,
        &twice,
        "the second request is refused: 400 Session ID unknown",
    );
    haproxy.stop().await;
    Ok(())
}

/// `balance source`: the client's address chooses the server.
pub async fn source(stage: &mut Stage) -> Result<()> {
    let Some(mut haproxy) = found(stage).await? else {
        return Ok(());
    };
    let url = haproxy.start(stage, "04-balance-source.cfg").await?;
    let twice = poll_twice(&stage.client("you", &url)).await?;
    both_are_answered(stage, &twice);
    haproxy.stop().await;
    Ok(())
}

/// A table of HAProxy's methods.
pub async fn methods(stage: &mut Stage) -> Result<()> {
    use Servers::{None as Nobody, One, Several};
    let Some(mut haproxy) = found(stage).await? else {
        return Ok(());
    };
    let methods = [
        Method::new(
            "balance roundrobin",
            "04-round-robin.cfg",
            [Nobody; 3],
            "balance roundrobin: no client connects",
        ),
        Method::new(
            "balance source",
            "04-balance-source.cfg",
            [One, Several, Several],
            "balance source: the whole address counts, so a /24 is spread",
        ),
        Method::new(
            "consistent hash",
            "04-consistent-hash.cfg",
            [One, Several, Several],
            "hash-type consistent: the whole address counts here too",
        ),
        Method::new(
            "inserted cookie",
            "04-cookie.cfg",
            [Several; 3],
            "inserted cookie: even one address is spread, if clients keep it",
        )
        .keeping_cookies(),
        Method::new(
            "no cookie kept",
            "04-cookie.cfg",
            [Nobody; 3],
            "inserted cookie: clients that keep none do not connect",
        ),
        Method::new(
            "cookie io prefix",
            "04-wrong-cookie-io.cfg",
            [Nobody; 3],
            "cookie io prefix: nobody sets that cookie, so no client connects",
        )
        .keeping_cookies(),
        Method::new(
            "WebSocket only",
            "04-round-robin.cfg",
            [Several; 3],
            "WebSocket only: spread, and no config line for the upgrade is needed",
        )
        .websocket_only(),
    ];
    compare_with(stage, &methods, async |stage, config| {
        haproxy.switch(stage, config).await
    })
    .await?;
    haproxy.stop().await;
    Ok(())
}

/// Server A dies: which clients of the other servers change their server, and lose a session?
pub async fn server_dies(stage: &mut Stage) -> Result<()> {
    let Some(mut haproxy) = found(stage).await? else {
        return Ok(());
    };
    let (moved, of) = a_dies(stage, &mut haproxy, "04-balance-source.cfg").await?;
    stage.claim_failure(
        "balance source: clients of B and C change servers too",
        format!("{moved} of {of}"),
        moved > 0,
    );
    stage.note("It divides by the number of servers that are up.");
    let (moved, of) = a_dies(stage, &mut haproxy, "04-consistent-hash.cfg").await?;
    stage.claim_seen(
        "hash-type consistent, one more line: clients of B and C stay",
        format!("{moved} of {of} change"),
        moved == 0 && of > 0,
    );
    haproxy.stop().await;
    Ok(())
}

/// Server A hangs: who finds out, a client or a health check?
pub async fn server_hangs(stage: &mut Stage) -> Result<()> {
    let Some(mut haproxy) = found(stage).await? else {
        return Ok(());
    };
    let url = stage.nginx.start("03-websocket.conf").await?;
    hang(stage, 'A', true)?;
    let waiting = unanswered(&url, 6).await;
    stage.claim_failure(
        "nginx sends clients to A, and they wait",
        format!("{waiting} of 6 have no answer after 2 s; nginx would wait for 60 s"),
        waiting == 2,
    );
    hang(stage, 'A', false)?;

    let url = haproxy.start(stage, "04-round-robin.cfg").await?;
    hang(stage, 'A', true)?;
    let noticed = haproxy.says('A', "DOWN").await;
    let seen = noticed
        .as_deref()
        .and_then(|line| line.split(", check").next());
    stage.claim_seen(
        "HAProxy asks A itself, five times a second, and stops using it",
        seen.unwrap_or_default(),
        noticed.is_some(),
    );
    let waiting = unanswered(&url, 30).await;
    stage.claim_seen(
        "from then on no client waits",
        format!("{waiting} of 30"),
        waiting == 0,
    );
    hang(stage, 'A', false)?;
    let back = haproxy.says('A', "UP").await.is_some();
    stage.claim("A answers again, and HAProxy uses it again", back);
    haproxy.stop().await;
    Ok(())
}

/// Makes a server hang: it still accepts connections, and does not answer. `kill -STOP` does
/// this, and `kill -CONT` ends it.
pub fn hang(stage: &Stage, letter: char, hangs: bool) -> Result<()> {
    let signal = if hangs { "-STOP" } else { "-CONT" };
    let pid = stage.servers.pid(letter).unwrap_or_default().to_string();
    Command::new("kill").args([signal, &pid]).status()?;
    stage.note(format!("{letter}: kill {signal} {pid}"));
    Ok(())
}

/// How many of `count` requests, each from a client of its own, get no answer [`AT_ONCE`].
pub async fn unanswered(url: &str, count: u8) -> usize {
    let mut unanswered = 0;
    for number in 1..=count {
        let address = Addresses::ManySubnets.address(number);
        let client = Client::at(format!("client {number}"), url, address);
        let answer = timeout(AT_ONCE, client.get_once("/favicon.ico")).await;
        unanswered += usize::from(!matches!(answer, Ok(Ok(answer)) if answer.status < 300));
    }
    unanswered
}

/// Server A dies behind HAProxy with one of its configs. Returns how many clients of the other
/// servers change their server, and how many such clients there are. Then A starts again.
pub async fn a_dies(
    stage: &mut Stage,
    haproxy: &mut Haproxy,
    config: &str,
) -> Result<(usize, usize)> {
    const CLIENTS: u8 = 60;
    let url = haproxy.switch(stage, config).await?;
    let a = stage.servers.addresses().first().copied();
    let before = servers_of(Addresses::ManySubnets, &url, CLIENTS).await?;
    stage.servers.kill('A').await?;
    let noticed = haproxy.says('A', "DOWN").await.is_some();
    stage.claim(format!("{config}: HAProxy notices that A is dead"), noticed);
    let after = servers_of(Addresses::ManySubnets, &url, CLIENTS).await?;
    stage.servers.start_one('A').await?;
    Ok(moved(&before, &after, a))
}

/// How many clients changed their server although that server lives, and how many clients such
/// servers had. `before` and `after` come from [`servers_of`], for the same addresses.
fn moved(
    before: &[(Ipv4Addr, Option<SocketAddr>)],
    after: &[(Ipv4Addr, Option<SocketAddr>)],
    dead: Option<SocketAddr>,
) -> (usize, usize) {
    let of_living = before
        .iter()
        .zip(after)
        .filter(|((_, server), _)| *server != dead);
    let (mut moved, mut all) = (0, 0);
    for ((_, old), (_, new)) in of_living {
        all += 1;
        moved += usize::from(old != new);
    }
    (moved, all)
}
