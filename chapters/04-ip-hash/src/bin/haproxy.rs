//! Chapter 4 with HAProxy in nginx's place: the same failure, its fixes, and health checks.
//!
//! ```text
//! cargo run -p ch04-ip-hash --bin haproxy                three servers, HAProxy, the experiments; stays up until Ctrl-C
//! cargo run -p ch04-ip-hash --bin haproxy -- --check     the same, then says what held, exits 0 or 1
//! ```

use std::process::ExitCode;

use ch03_socket_polling::{poll_twice, serve};
use ch04_ip_hash::{
    both_are_answered,
    haproxy::{a_dies, hang, unanswered},
    methods::{Method, Servers, compare},
    second_is_refused,
};
use lab::{Chapter, Client, Result, Stage};

fn main() -> ExitCode {
    Chapter::new("Chapter 4 · HAProxy in nginx's place", serve).run(lesson)
}

async fn lesson(stage: &mut Stage) -> Result<()> {
    stage.note("The same servers, the same clients, another balancer.\n\n");
    lab::haproxy_found().await?;
    stage.start_servers(3, &[]).await?;
    the_failure_once_more(stage).await?;
    by_address(stage).await?;
    methods_and_crowds(stage).await?;
    a_server_dies(stage).await?;
    a_server_hangs(stage).await?;

    let url = stage.start_haproxy("04-cookie.cfg").await?;
    stage.try_by_hand(format!(
        "Which server is yours, and what tells HAProxy so?\n\n  \
         curl -sI {url}/\n  curl -sI -H 'Cookie: node=b' {url}/"
    ));
    Ok(())
}

async fn the_failure_once_more(stage: &mut Stage) -> Result<()> {
    stage.step("balance roundrobin: two requests of one client");
    let url = stage.start_haproxy("04-round-robin.cfg").await?;
    let twice = poll_twice(&Client::new("you", &url)).await?;
    second_is_refused(
        stage,
        twice,
        "the second is refused: 400 Session ID unknown",
    );
    Ok(())
}

async fn by_address(stage: &mut Stage) -> Result<()> {
    stage.step("balance source: the same servers, the same two requests");
    let url = stage.start_haproxy("04-balance-source.cfg").await?;
    both_are_answered(stage, poll_twice(&Client::new("you", &url)).await?);
    Ok(())
}

async fn methods_and_crowds(stage: &mut Stage) -> Result<()> {
    use Servers::{None, One, Several};
    let methods = [
        Method::haproxy(
            "balance roundrobin",
            "04-round-robin.cfg",
            [None; 3],
            "balance roundrobin: nobody connects",
        ),
        Method::haproxy(
            "balance source",
            "04-balance-source.cfg",
            [One, Several, Several],
            "balance source: all of an address counts, so a /24 is spread",
        ),
        Method::haproxy(
            "a ring of servers",
            "04-consistent-hash.cfg",
            [One, Several, Several],
            "hash-type consistent: the same, on a ring",
        ),
        Method::haproxy(
            "inserted cookie",
            "04-cookie.cfg",
            [Several; 3],
            "inserted cookie: even one address is spread, if clients keep it",
        )
        .keeping_cookies(),
        Method::haproxy(
            "no cookie kept",
            "04-cookie.cfg",
            [None; 3],
            "inserted cookie: nobody connects who keeps none",
        ),
        Method::haproxy(
            "WebSocket only",
            "04-round-robin.cfg",
            [Several; 3],
            "WebSocket only: spread, and no line for the Upgrade is needed",
        )
        .websocket_only(),
    ];
    stage.step("Which method serves which crowd: connected of 30, and on A/B/C");
    compare(stage, &methods).await
}

async fn a_server_dies(stage: &mut Stage) -> Result<()> {
    stage.step("Server A dies. Who else changes servers, and so loses a session?");
    let (moved, of) = a_dies(stage, "04-balance-source.cfg").await?;
    stage.claim_seen(
        "balance source: clients of B and C too; it divides by the servers that are up",
        format!("{moved} of {of}"),
        moved > 0,
    );
    let (moved, of) = a_dies(stage, "04-consistent-hash.cfg").await?;
    stage.claim_seen(
        "hash-type consistent, one line more: nobody else",
        format!("{moved} of {of}"),
        moved == 0 && of > 0,
    );
    Ok(())
}

async fn a_server_hangs(stage: &mut Stage) -> Result<()> {
    stage.step("Server A hangs (kill -STOP): who finds out, a client or a health check?");
    let url = stage.start_nginx("03-websocket.conf").await?;
    hang(stage, 'A', true)?;
    let waiting = unanswered(&url, 6).await;
    stage.claim_seen(
        "nginx learns from clients: whoever gets A waits",
        format!("{waiting} of 6 not answered within 2 s; nginx would wait for 60 s"),
        waiting == 2,
    );
    hang(stage, 'A', false)?;
    let url = stage.start_haproxy("04-round-robin.cfg").await?;
    hang(stage, 'A', true)?;
    let noticed = stage.haproxy_says('A', "DOWN").await;
    let waiting = unanswered(&url, 30).await;
    let seen = noticed
        .as_deref()
        .and_then(|line| line.split(", check").next());
    stage.claim_seen(
        "HAProxy asks A itself, five times a second, and takes it out",
        seen.unwrap_or_default(),
        noticed.is_some(),
    );
    stage.claim("from then on nobody waits", waiting == 0);
    hang(stage, 'A', false)?;
    let back = stage.haproxy_says('A', "UP").await.is_some();
    stage.claim("A answers again, and is in again", back);
    Ok(())
}
