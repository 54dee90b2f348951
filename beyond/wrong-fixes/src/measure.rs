//! What clients do with each config, and what they see.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::SocketAddr,
    time::Duration,
};

use ch03_socket_polling::experiments::{Tally, connect_one_by_one, is_session_unknown};
use ch04_ip_hash::{Addresses, connect_from, ip_hash, per_server, servers_of};
use lab::{
    Client, Result, Socket, Stage, Transport,
    client::{Answer, Error, Polling},
};
use tokio::{
    task::JoinSet,
    time::{Instant, interval, sleep, timeout},
};

/// How many clients try each config.
pub const CLIENTS: u8 = 30;

/// How long clients and servers send nothing.
const IDLE: Duration = Duration::from_secs(3);

/// How long a bystander waits for its first 502.
pub const LONG: Duration = Duration::from_secs(30);

/// How a WebSocket fails if nginx does not pass its headers on.
pub const NO_UPGRADE: &str = "400";

/// How a WebSocket fails behind a proxy that blocks it.
pub const BLOCKED: &str = "403";

/// What nginx says about a `backup` next to `ip_hash`.
pub const BACKUP: &str = "balancing method does not support parameter \"backup\"";

/// Clients of one address connect, one after the other.
pub async fn connect(url: &str, transport: Transport) -> Tally {
    connect_one_by_one(url, transport, CLIENTS.into()).await
}

/// Whether clients failed, each with `400 Session ID unknown`.
pub fn unknown_sessions(tally: &Tally) -> bool {
    let unknown =
        |reason: &String| reason.starts_with("400") && reason.contains("Session ID unknown");
    !tally.reasons.is_empty() && tally.reasons.iter().all(unknown)
}

/// Whether all clients failed, each for that reason.
pub fn all_fail(tally: &Tally, reason: &str) -> bool {
    tally.connected == 0 && tally.reasons.iter().all(|said| said.starts_with(reason))
}

/// Why clients did not connect: each reason, after the number of clients that had it.
pub fn reasons(tally: &Tally) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in &tally.reasons {
        // The rest of an error page says no more.
        let (first, _page) = reason.split_once('<').unwrap_or((reason, ""));
        *counts.entry(first.trim_end()).or_default() += 1;
    }
    let counts = counts.into_iter();
    let counts = counts.map(|(reason, clients)| format!("{clients} of {CLIENTS}: {reason}"));
    counts.collect::<Vec<_>>().join("; ")
}

/// What happened while nothing was sent.
#[derive(Debug)]
pub struct Silence {
    /// How many WebSockets were open at first.
    pub connected: usize,
    /// How many of them were closed.
    pub cut: usize,
    /// What happened to a poll.
    pub poll: Poll,
}

/// What happened to a poll that the server held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poll {
    /// It is still held.
    Held,
    /// nginx gave up its server and asked another one, which does not know the session.
    UnknownToAnother,
    /// It ended in another way.
    Ended,
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.cut, self.connected)
    }
}

/// Clients open a WebSocket each and send nothing for three seconds; `client` polls.
pub async fn silence(url: &str, client: &Client) -> Result<Silence> {
    let (clients, _) = connect_from(
        Addresses::ManySubnets,
        url,
        CLIENTS,
        Transport::WebSocket,
        false,
    )
    .await;
    let connected = clients.len();
    let mut ends = JoinSet::new();
    for mut client in clients {
        ends.spawn(async move { client.socket.ends(IDLE).await });
    }
    let poll = poll_in_silence(client).await?;
    let ended = ends.join_all().await;
    Ok(Silence {
        connected,
        cut: ended.into_iter().filter(|ended| *ended).count(),
        poll,
    })
}

/// How another client fares next to a silent one.
#[derive(Debug)]
pub struct Bystander {
    /// How many of its requests were answered.
    pub answered: usize,
    /// How many failed in another way than with 502.
    pub failed: usize,
    /// When one was refused with 502; `None` if none was.
    pub refused_after: Option<Duration>,
}

/// A client asks for a file, twenty times a second. Beside it, `silent` opens a session, sends
/// nothing, and connects again when its poll ends. Ends with the first 502, or after `limit`.
pub async fn bystander(url: &str, silent: &Client, limit: Duration) -> Bystander {
    let client = Client::at("bystander", url, Addresses::ManySubnets.address(1));
    let started = Instant::now();
    let mut seen = Bystander {
        answered: 0,
        failed: 0,
        refused_after: None,
    };
    let asks = async {
        let mut turns = interval(Duration::from_millis(50));
        while started.elapsed() < limit {
            turns.tick().await;
            match client.get_once("/favicon.ico").await {
                Ok(answer) if answer.status == 502 => {
                    seen.refused_after = Some(started.elapsed());
                    return;
                }
                Ok(answer) if answer.status < 300 => seen.answered += 1,
                Ok(_) | Err(_) => seen.failed += 1,
            }
        }
    };
    tokio::select! {
        () = asks => {}
        () = silent_again_and_again(silent) => {}
    }
    seen
}

/// Opens a session and polls until a poll fails; then again.
async fn silent_again_and_again(client: &Client) {
    loop {
        if let Ok(polling) = Polling::open(client).await {
            while polling.poll().await.is_ok() {}
        }
        // The official client waits a second before it connects again, on average.
        sleep(Duration::from_secs(1)).await;
    }
}

/// How many clients of one address connect, one after the other. They keep cookies.
pub async fn connect_with_cookies(url: &str) -> usize {
    let (connected, _) = connect_from(Addresses::One, url, CLIENTS, Transport::Upgrade, true).await;
    connected.len()
}

/// Asks for a session at a path. Returns the answer.
pub async fn handshake_at(client: &Client, path: &str) -> Result<Answer, Error> {
    let target = format!("{path}?EIO=4&transport=polling");
    client.get_once(&target).await
}

async fn poll_in_silence(client: &Client) -> Result<Poll> {
    let polling = Polling::open(client).await?;
    // The first poll brings the first ping. The next ping comes 25 s later.
    polling.poll().await?;
    let Ok(answer) = timeout(IDLE, polling.poll()).await else {
        return Ok(Poll::Held);
    };
    // nginx gives up a server that is silent, and asks another one (`proxy_next_upstream`).
    let refusal = answer.as_ref().err().and_then(Error::refusal);
    let by_another = refusal
        .is_some_and(|refusal| is_session_unknown(refusal) && refusal.server() != polling.owner);
    Ok(if by_another {
        Poll::UnknownToAnother
    } else {
        Poll::Ended
    })
}

/// Why nginx does not start with a `backup` next to `ip_hash`.
pub async fn nginx_refuses_backup(stage: &mut Stage) -> Option<String> {
    let refusal = stage.nginx.switch("beyond/04-wrong-backup.conf").await;
    refusal.err().map(|error| error.to_string())
}

/// Clients connect while A is dead: how many fail, and how many servers get the others.
pub async fn a_dies(url: &str) -> (usize, usize) {
    let (connected, failed) = connect_from(
        Addresses::ManySubnets,
        url,
        CLIENTS,
        Transport::Upgrade,
        false,
    )
    .await;
    (failed, per_server(&connected).len())
}

/// How `least_conn` distributed WebSockets.
#[derive(Debug)]
pub struct Distribution {
    /// How many clients got a server that had more connections than another one.
    pub not_the_least: usize,
    /// How many clients each server has at the end.
    pub counts: Vec<usize>,
}

impl Distribution {
    /// Whether all clients connected.
    pub fn all_connect(&self) -> bool {
        self.counts.iter().sum::<usize>() == usize::from(CLIENTS)
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<_> = self.counts.iter().map(ToString::to_string).collect();
        let counts = counts.join("/");
        write!(
            f,
            "{} of {CLIENTS}; at the end {counts}",
            self.not_the_least
        )
    }
}

/// Clients open a WebSocket each, one after the other, and keep it open.
pub async fn least_busy(url: &str, servers: &[SocketAddr]) -> Distribution {
    let mut sockets = Vec::new();
    let mut counts = vec![0; servers.len()];
    let mut not_the_least = 0;
    for number in 1..=CLIENTS {
        let client = Client::new(format!("client {number}"), url);
        let Ok(socket) = Socket::connect(&client, Transport::WebSocket, None).await else {
            continue;
        };
        let server = servers
            .iter()
            .position(|server| Some(*server) == socket.owner);
        if let Some(server) = server {
            let fewest = counts.iter().copied().min().unwrap_or_default();
            not_the_least += usize::from(counts[server] > fewest);
            counts[server] += 1;
        }
        sockets.push(socket);
    }
    Distribution {
        not_the_least,
        counts,
    }
}

/// Which servers clients of different /24s get.
#[derive(Debug)]
pub struct OwnServers {
    /// How many clients do not get the server that `ip_hash` computes from their /24.
    pub elsewhere: usize,
    /// How many servers get clients.
    pub used: usize,
}

/// Clients, each of a /24 of its own, open a session.
pub async fn own_servers(url: &str, servers: &[SocketAddr]) -> Result<OwnServers> {
    let asked = servers_of(Addresses::ManySubnets, url, CLIENTS).await?;
    let elsewhere = asked.iter().filter(|(address, server)| {
        *server != servers.get(ip_hash(*address, servers.len())).copied()
    });
    let elsewhere = elsewhere.count();
    let used: BTreeSet<_> = asked.iter().map(|(_, server)| server).collect();
    Ok(OwnServers {
        elsewhere,
        used: used.len(),
    })
}
