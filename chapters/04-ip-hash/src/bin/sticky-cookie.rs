//! Chapter 4 with an nginx of 1.29.6 or newer: its own cookie, and a server that is drained.
//!
//! ```text
//! cargo run -p ch04-ip-hash --bin sticky-cookie                three servers, nginx, the experiments; stays up until Ctrl-C
//! cargo run -p ch04-ip-hash --bin sticky-cookie -- --check     the same, then says what held, exits 0 or 1
//! ```

use std::process::ExitCode;

use ch03_socket_polling::serve;
use ch04_ip_hash::{
    both_are_answered,
    methods::{Method, Servers, compare},
    second_is_refused,
    sticky::{knows_sticky, moved, newcomers, settle, twice, twice_to},
};
use lab::{Chapter, Result, Stage};

fn main() -> ExitCode {
    Chapter::new("Chapter 4 · nginx's own cookie", serve).run(lesson)
}

async fn lesson(stage: &mut Stage) -> Result<()> {
    stage.note("The same servers, and an nginx that makes the cookie itself.\n\n");
    knows_sticky(&stage.find_nginx().await?)?;
    stage.start_servers(3, &[]).await?;
    the_failure_once_more(stage).await?;
    its_own_cookie(stage).await?;
    a_route(stage).await?;
    methods_and_crowds(stage).await?;
    a_server_is_drained(stage).await?;

    let url = stage.start_nginx("04-sticky-cookie.conf").await?;
    stage.try_by_hand(format!(
        "Which server is yours, and which cookie says so?\n\n  curl -sI {url}/"
    ));
    Ok(())
}

async fn the_failure_once_more(stage: &mut Stage) -> Result<()> {
    stage.step("Round robin: two requests of one client");
    let url = stage.start_nginx("03-websocket.conf").await?;
    second_is_refused(
        stage,
        twice(&url, true).await?,
        "the second is refused: 400 Session ID unknown",
    );
    Ok(())
}

async fn its_own_cookie(stage: &mut Stage) -> Result<()> {
    stage.step("sticky cookie: the same two requests");
    let url = stage.start_nginx("04-sticky-cookie.conf").await?;
    both_are_answered(stage, twice(&url, true).await?);
    second_is_refused(
        stage,
        twice(&url, false).await?,
        "a client that keeps no cookie is refused as before",
    );
    Ok(())
}

async fn a_route(stage: &mut Stage) -> Result<()> {
    stage.step("sticky route: a client that keeps no cookie, and says ?server=b");
    let url = stage.start_nginx("04-sticky-route.conf").await?;
    let b = stage.server_addresses()[1];
    let named = twice_to(&url, 'b').await?;
    let is_b = named.asked == Some(b);
    both_are_answered(stage, named);
    stage.claim("it is B, which the client has named", is_b);
    second_is_refused(
        stage,
        twice(&url, false).await?,
        "a client that names no server is refused as before",
    );
    Ok(())
}

async fn methods_and_crowds(stage: &mut Stage) -> Result<()> {
    use Servers::{None, Several};
    let config = "04-sticky-cookie.conf";
    let methods = [
        Method::nginx(
            "sticky cookie",
            config,
            [Several; 3],
            "sticky cookie: even one address is spread, for clients that keep cookies",
        )
        .keeping_cookies(),
        Method::nginx(
            "no cookie kept",
            config,
            [None; 3],
            "sticky cookie: nobody connects who keeps none",
        ),
    ];
    stage.step("Which method serves which crowd: connected of 30, and on A/B/C");
    compare(stage, &methods).await
}

async fn a_server_is_drained(stage: &mut Stage) -> Result<()> {
    const CLIENTS: u8 = 30;
    stage.step("Server A is drained: it is to end, once its clients have gone");
    let url = stage.start_nginx("04-sticky-cookie.conf").await?;
    let a = stage.server_addresses()[0];
    let before = newcomers(&url, CLIENTS, a).await?;
    let settled = settle(&url, CLIENTS).await?;
    let on_a = settled.iter().filter(|(_, server)| *server == Some(a));
    let on_a = on_a.count();
    stage
        .reload_nginx("04-sticky-drain.conf", str::to_owned)
        .await?;
    let moved = moved(&settled).await?;
    stage.claim_seen(
        "who has its cookie keeps its server, A too",
        format!("{moved} of {CLIENTS} moved, {on_a} are on A"),
        moved == 0 && on_a > 0,
    );
    let after = newcomers(&url, CLIENTS, a).await?;
    stage.claim_seen(
        "nobody new gets A",
        format!("{after} of {CLIENTS}, before {before}"),
        after == 0 && before > 0,
    );
    Ok(())
}
