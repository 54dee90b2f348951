//! Wrong fixes: configs that people try, the symptom of each, and the right config.
//!
//! The experiments start nginx and make the claims. [`measure`] has what clients do; it does
//! not know where nginx runs, so tests use it too.

pub mod measure;

use ch03_socket_polling::experiments::Tally;
use lab::{Result, Stage, Transport, client::Answer};

use crate::measure::{
    BACKUP, BLOCKED, CLIENTS, LONG, NO_UPGRADE, Poll, a_dies, all_fail, bystander, connect,
    connect_with_cookies, handshake_at, least_busy, nginx_refuses_backup, own_servers, reasons,
    silence, unknown_sessions,
};

/// The right config for most of these.
pub const RIGHT: &str = "04-ip-hash.conf";

/// `hash $arg_sid`: the session ID chooses the server.
pub async fn arg_sid(stage: &mut Stage) -> Result<()> {
    stage.servers.start(3, &[]).await?;
    let url = stage.nginx.start("beyond/04-wrong-arg-sid.conf").await?;
    let tally = connect(&url, Transport::Upgrade).await;
    stage.claim_failure(
        "clients are refused: 400 Session ID unknown",
        reasons(&tally),
        unknown_sessions(&tally),
    );
    stage.claim_seen(
        "some clients connect, by luck",
        of_all(tally.connected),
        tally.connected > 0,
    );
    right_config(stage, Transport::Upgrade).await
}

/// nginx does not pass the headers of a WebSocket on.
pub async fn no_upgrade(stage: &mut Stage) -> Result<()> {
    stage.servers.start(3, &[]).await?;
    let url = stage.nginx.start("beyond/04-wrong-no-upgrade.conf").await?;
    let you = stage.client("you", &url);
    // What comes of it is shown; the claims below count.
    let _shown = lab::Socket::connect(&you, Transport::WebSocket, None).await;
    let tally = connect(&url, Transport::WebSocket).await;
    stage.claim_failure(
        "WebSocket: no client connects",
        reasons(&tally),
        all_fail(&tally, NO_UPGRADE),
    );
    let tally = connect(&url, Transport::Polling).await;
    all_connect(
        stage,
        "polling hides the fault: all clients connect",
        &tally,
    );
    right_config(stage, Transport::WebSocket).await
}

/// `proxy_read_timeout` is shorter than the servers' ping interval.
pub async fn read_timeout(stage: &mut Stage) -> Result<()> {
    stage.servers.start(3, &[]).await?;
    let url = stage
        .nginx
        .start("beyond/04-wrong-read-timeout.conf")
        .await?;
    let wrong = silence(&url, &stage.client("you", &url)).await?;
    stage.claim_failure(
        "nginx closes WebSockets that are silent for a second",
        wrong.to_string(),
        wrong.connected == usize::from(CLIENTS) && wrong.cut == wrong.connected,
    );
    stage.claim_failure(
        "another server refuses the poll: Session ID unknown",
        "",
        wrong.poll == Poll::UnknownToAnother,
    );
    let bystander_asks = async |url: &str, stage: &Stage, limit| {
        bystander(url, &stage.client("you", url).telling(|_| {}), limit).await
    };
    let beside = bystander_asks(&url, stage, LONG).await;
    let after = beside.refused_after.unwrap_or(LONG);
    stage.claim_failure(
        "and a client beside it, which did nothing wrong, gets 502",
        format!(
            "after {:.0} s; {} answers before",
            after.as_secs_f64(),
            beside.answered
        ),
        beside.refused_after.is_some() && beside.answered > 0 && beside.failed == 0,
    );
    stage.note(
        "The silent client connects again, to the next server, and nginx gives that one\n\
         up too. Then no server is left, for ten seconds.",
    );
    let url = stage.nginx.start(RIGHT).await?;
    let beside = bystander_asks(&url, stage, after).await;
    stage.claim_seen(
        "right config: in the same time, the other client gets no 502",
        format!("{} answers", beside.answered),
        beside.refused_after.is_none() && beside.answered > 0 && beside.failed == 0,
    );
    let right = silence(&url, &stage.client("you", &url)).await?;
    stage.claim_seen(
        "right config: no WebSocket is closed in 3 s of silence",
        right.to_string(),
        right.connected == usize::from(CLIENTS) && right.cut == 0,
    );
    stage.claim(
        "right config: the poll is still held after 3 s",
        right.poll == Poll::Held,
    );
    Ok(())
}

/// `hash $cookie_io`: nobody sets that cookie.
pub async fn cookie_io(stage: &mut Stage) -> Result<()> {
    stage.servers.start(3, &[]).await?;
    let url = stage.nginx.start("beyond/04-wrong-cookie-io.conf").await?;
    let connected = connect_with_cookies(&url).await;
    stage.claim_failure("no client connects", of_all(connected), connected == 0);
    let url = stage.nginx.start("04-cookie.conf").await?;
    let connected = connect_with_cookies(&url).await;
    stage.claim_seen(
        "right config, with a cookie that nginx sets: all clients connect",
        of_all(connected),
        connected == usize::from(CLIENTS),
    );
    Ok(())
}

/// The service is at a sub-path: `proxy_pass` with and without a slash at its end.
pub async fn sub_path(stage: &mut Stage) -> Result<()> {
    stage.servers.start(3, &[]).await?;
    let path = "/chat/socket.io/";
    let url = stage.nginx.start("beyond/04-wrong-sub-path.conf").await?;
    let answer = handshake_at(&stage.client("you", &url), path).await?;
    stage.claim_failure(
        "the server has nothing at that path",
        answer.status.to_string(),
        answer.status == 404,
    );
    let url = stage.nginx.start("beyond/04-sub-path.conf").await?;
    let answer = handshake_at(&stage.client("you", &url), path).await?;
    stage.claim(
        "right config: the handshake is answered",
        opens_a_session(&answer),
    );
    Ok(())
}

/// Another `location` answers the handshake.
pub async fn location(stage: &mut Stage) -> Result<()> {
    stage.servers.start(3, &[]).await?;
    let url = stage.nginx.start("beyond/04-wrong-location.conf").await?;
    let answer = handshake_at(&stage.client("you", &url), "/socket.io/").await?;
    stage.claim_failure(
        "the answer is 200, and it is a page",
        answer.body.trim(),
        answer.status == 200 && !opens_a_session(&answer),
    );
    let url = stage.nginx.start(RIGHT).await?;
    let answer = handshake_at(&stage.client("you", &url), "/socket.io/").await?;
    stage.claim(
        "right config: the handshake is answered",
        opens_a_session(&answer),
    );
    Ok(())
}

/// `Connection: upgrade` with every request: it looks wrong, and is harmless.
pub async fn constant_upgrade(stage: &mut Stage) -> Result<()> {
    stage.servers.start(3, &[]).await?;
    let config = "beyond/04-constant-upgrade.conf";
    let url = stage.nginx.start(config).await?;
    for transport in [Transport::Polling, Transport::WebSocket, Transport::Upgrade] {
        let tally = connect(&url, transport).await;
        let claim = format!("harmless: {transport}: all clients connect");
        all_connect(stage, &claim, &tally);
    }
    Ok(())
}

/// A backup server next to `ip_hash`.
pub async fn backup(stage: &mut Stage) -> Result<()> {
    stage.servers.start(3, &[]).await?;
    let refusal = nginx_refuses_backup(stage).await.unwrap_or_default();
    let refused = refusal.contains(BACKUP);
    let said = if refused { BACKUP } else { &refusal };
    stage.claim_failure("nginx does not start", said, refused);
    let url = stage.nginx.start(RIGHT).await?;
    stage.servers.kill('A').await?;
    let (failed, used) = a_dies(&url).await;
    stage.claim_seen(
        "right config: A is dead, and B and C get all clients",
        of_all(usize::from(CLIENTS) - failed),
        failed == 0 && used == 2,
    );
    stage.servers.start_one('A').await
}

/// Several workers count connections without a shared `zone`.
pub async fn workers(stage: &mut Stage) -> Result<()> {
    stage.servers.start(3, &[]).await?;
    let servers = stage.servers.addresses();
    let url = stage.nginx.start("beyond/04-wrong-workers.conf").await?;
    let wrong = least_busy(&url, &servers).await;
    stage.claim_failure(
        "clients get a server that is not the least busy",
        wrong.to_string(),
        wrong.all_connect() && wrong.not_the_least > 0,
    );
    let url = stage.nginx.start("beyond/04-workers-zone.conf").await?;
    let right = least_busy(&url, &servers).await;
    stage.claim_seen(
        "with a zone, each client gets the least busy server",
        right.to_string(),
        right.all_connect() && right.not_the_least == 0,
    );
    Ok(())
}

/// `ip_hash` behind a proxy that nginx does not know.
pub async fn realip(stage: &mut Stage) -> Result<()> {
    stage.servers.start(3, &[]).await?;
    let servers = stage.servers.addresses();
    let url = stage.nginx.start("beyond/04-wrong-realip.conf").await?;
    let wrong = own_servers(&url, &servers).await?;
    stage.claim_failure(
        "clients of 30 different /24s all get one server",
        format!("servers used: {}", wrong.used),
        wrong.used == 1 && wrong.elsewhere > 0,
    );
    let url = stage.nginx.start(RIGHT).await?;
    let right = own_servers(&url, &servers).await?;
    stage.claim_seen(
        "right config: each client gets the server of its own /24",
        format!("servers used: {}", right.used),
        right.elsewhere == 0,
    );
    Ok(())
}

/// Clients use only WebSocket, and a proxy blocks it.
pub async fn websocket_only(stage: &mut Stage) -> Result<()> {
    stage.servers.start(3, &[]).await?;
    let blocked = "beyond/04-wrong-websocket-only.conf";
    let url = stage.nginx.start(blocked).await?;
    let tally = connect(&url, Transport::WebSocket).await;
    stage.claim_failure(
        "WebSocket only: no client connects",
        reasons(&tally),
        all_fail(&tally, BLOCKED),
    );
    let tally = connect(&url, Transport::Polling).await;
    all_connect(
        stage,
        "polling through the same proxy: all clients connect",
        &tally,
    );
    Ok(())
}

/// Whether an answer is the first packet of a session.
pub fn opens_a_session(answer: &Answer) -> bool {
    answer.status == 200 && answer.body.starts_with("0{\"sid\"")
}

async fn right_config(stage: &mut Stage, transport: Transport) -> Result<()> {
    let url = stage.nginx.start(RIGHT).await?;
    let tally = connect(&url, transport).await;
    all_connect(stage, "right config: all clients connect", &tally);
    Ok(())
}

fn all_connect(stage: &Stage, claim: &str, tally: &Tally) {
    let all = usize::from(CLIENTS);
    stage.claim_seen(claim, of_all(tally.connected), tally.connected == all);
}

fn of_all(clients: usize) -> String {
    format!("{clients} of {CLIENTS}")
}
