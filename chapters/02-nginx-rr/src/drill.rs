//! What is lost when a server is replaced or dies, or nginx does, while 200 requests a
//! second come in.
//!
//! A drill brings its stage up and calls the functions below it, which do not know where
//! nginx comes from: tests call them too.

use std::{
    fs::File,
    path::{Path, PathBuf},
    time::Duration,
};

use lab::{Drills, Load, Requests, Result, Row, Stage, Way};
use tokio::time::sleep;

use crate::orders::{BOOK, begun_by, executions, serve};

/// The chapter's drills.
pub fn drills() -> Drills {
    Drills::new("Chapter 2 · what is lost when something dies", serve)
        .with(
            "rolling-restart",
            "three servers replaced one by one, under GETs",
            rolling_restart,
        )
        .with(
            "rolling-restart-post",
            "the same, under POSTs",
            rolling_restart_post,
        )
        .with(
            "server-killed",
            "kill -9 of one server, under GETs and POSTs",
            server_killed,
        )
        .with(
            "nginx-reload",
            "nginx takes its config again, under GETs",
            nginx_reload,
        )
        .with(
            "nginx-restart",
            "nginx is stopped and started, under GETs",
            nginx_restart,
        )
}

async fn rolling_restart(stage: &mut Stage) -> Result<Vec<Row>> {
    stage.start_servers(3, &[]).await?;
    let mut rows = Vec::new();
    for way in [Way::Term, Way::Kill] {
        let config = "02-round-robin.conf";
        let url = stage.start_nginx(config).await?;
        let (row, requests) = replace_under_gets(stage, &url, config, way).await?;
        tell(stage, &requests);
        tell_complaint(stage, "no live upstreams").await;
        rows.push(row.loses_something());
    }
    for way in [Way::Term, Way::Kill] {
        let config = "02-max-fails-0.conf";
        let url = stage.start_nginx(config).await?;
        let (row, requests) = replace_under_gets(stage, &url, config, way).await?;
        tell(stage, &requests);
        rows.push(row);
    }
    Ok(rows)
}

async fn rolling_restart_post(stage: &mut Stage) -> Result<Vec<Row>> {
    start_order_servers(stage).await?;
    let mut rows = Vec::new();
    for way in [Way::Term, Way::Kill] {
        for config in [
            "02-max-fails-0.conf",
            "02-keepalive.conf",
            "02-non-idempotent.conf",
        ] {
            let url = stage.start_nginx(config).await?;
            let (row, requests) = replace_under_posts(stage, &url, config, way).await?;
            tell(stage, &requests);
            rows.push(row);
        }
    }
    Ok(rows)
}

async fn server_killed(stage: &mut Stage) -> Result<Vec<Row>> {
    start_order_servers(stage).await?;
    let mut rows = Vec::new();
    for config in ["02-round-robin.conf", "02-keepalive.conf"] {
        let url = stage.start_nginx(config).await?;
        let (row, requests) = kill_under_gets(stage, &url, config).await?;
        tell(stage, &requests);
        rows.push(row);
    }
    for config in [
        "02-round-robin.conf",
        "02-keepalive.conf",
        "02-non-idempotent.conf",
    ] {
        let url = stage.start_nginx(config).await?;
        let (row, requests) = kill_under_posts(stage, &url, config).await?;
        tell(stage, &requests);
        rows.push(row);
    }
    Ok(rows)
}

async fn nginx_reload(stage: &mut Stage) -> Result<Vec<Row>> {
    stage.start_servers(3, &[]).await?;
    let config = "02-round-robin.conf";
    let url = stage.start_nginx(config).await?;
    let reload = stage.reload_nginx(config, str::to_owned);
    let (row, requests) = reload_under_gets(&url, config, reload).await?;
    tell(stage, &requests);
    Ok(vec![row])
}

async fn nginx_restart(stage: &mut Stage) -> Result<Vec<Row>> {
    stage.start_servers(3, &[]).await?;
    let config = "02-round-robin.conf";
    let url = stage.start_nginx(config).await?;
    let restart = async {
        stage.end_nginx().await;
        stage.start_nginx(config).await.map(drop)
    };
    let (row, requests) = restart_under_gets(&url, config, restart).await?;
    tell(stage, &requests);
    Ok(vec![row])
}

/// Starts three servers that take orders, and write them into one book.
///
/// # Errors
/// When a server does not start.
pub async fn start_order_servers(stage: &mut Stage) -> Result<()> {
    let book = book(stage);
    stage
        .start_servers(3, &[(BOOK, &book.display().to_string())])
        .await
}

fn book(stage: &Stage) -> PathBuf {
    stage.folder().join("orders")
}

/// Replaces all servers, under `GET /`.
///
/// # Errors
/// When a server does not start.
pub async fn replace_under_gets(
    stage: &mut Stage,
    url: &str,
    config: &str,
    way: Way,
) -> Result<(Row, Requests)> {
    let row = Row::new(format!("GET: all replaced, {}", way.signal()), config);
    under_gets(url, row, replace_all(stage, way, None)).await
}

/// Replaces all servers, under `POST /orders/{number}`.
///
/// # Errors
/// When a server does not start.
pub async fn replace_under_posts(
    stage: &mut Stage,
    url: &str,
    config: &str,
    way: Way,
) -> Result<(Row, Requests)> {
    let row = Row::new(format!("POST: all replaced, {}", way.signal()), config);
    let book = book(stage);
    let (row, requests) =
        under_posts(url, row, &book, replace_all(stage, way, Some(&book))).await?;
    Ok((promise(row, config, way), requests))
}

/// What a server may take to end after SIGTERM.
const END: Duration = Duration::from_secs(5);

/// How long a server is away, as with a release that has to be copied, or a Node.js that
/// has to load its modules. Our own would be back before nginx has missed it.
const AWAY: Duration = Duration::from_millis(500);

/// Replaces the servers one by one: the next one goes once the new one accepts connections.
async fn replace_all(stage: &mut Stage, way: Way, book: Option<&Path>) -> Result<()> {
    for letter in ['A', 'B', 'C'] {
        match way {
            Way::Term => drop(stage.end_server(letter, END).await?),
            Way::Kill => kill_at_work(stage, letter, book).await?,
        }
        sleep(AWAY).await;
        stage.start_server(letter).await?;
    }
    Ok(())
}

/// Kills server B under `GET /`, and starts it again.
///
/// # Errors
/// When it does not start.
pub async fn kill_under_gets(
    stage: &mut Stage,
    url: &str,
    config: &str,
) -> Result<(Row, Requests)> {
    let row = Row::new("GET: one server, kill -9", config);
    under_gets(url, row, kill_one(stage, None)).await
}

/// Kills server B under `POST /orders/{number}`, and starts it again.
///
/// # Errors
/// When it does not start.
pub async fn kill_under_posts(
    stage: &mut Stage,
    url: &str,
    config: &str,
) -> Result<(Row, Requests)> {
    let row = Row::new("POST: one server, kill -9", config);
    let book = book(stage);
    let (row, requests) = under_posts(url, row, &book, kill_one(stage, Some(&book))).await?;
    Ok((promise(row, config, Way::Kill), requests))
}

/// What a config promises of orders when a server goes.
fn promise(row: Row, config: &str, way: Way) -> Row {
    let some_ran_twice = row.twice.is_some_and(|twice| twice > 0);
    match (config, way) {
        ("02-non-idempotent.conf", Way::Kill) => row.may_repeat().and(
            "the orders that the dead server had begun ran twice",
            some_ran_twice,
        ),
        ("02-non-idempotent.conf", Way::Term) => row.may_repeat(),
        // Those that the dead server had begun: nginx must not send them to another.
        (_, Way::Kill) => row.loses_something(),
        // A server that ends finishes what it has begun, but may close a connection just
        // as an order comes over it.
        (_, Way::Term) => row.loses_some(),
    }
}

async fn kill_one(stage: &mut Stage, book: Option<&Path>) -> Result<()> {
    kill_at_work(stage, 'B', book).await?;
    sleep(AWAY).await;
    stage.start_server('B').await
}

/// Kills a server; where there are orders, while it has one in hand.
async fn kill_at_work(stage: &mut Stage, letter: char, book: Option<&Path>) -> Result<()> {
    if let (Some(book), Some(pid)) = (book, stage.server_pid(letter)) {
        begun_by(pid, book).await?;
    }
    stage.kill_server(letter).await
}

/// Has nginx take its config again under `GET /`; `reload` does so.
///
/// # Errors
/// When nginx does not.
pub async fn reload_under_gets(
    url: &str,
    config: &str,
    reload: impl Future<Output = Result<()>>,
) -> Result<(Row, Requests)> {
    under_gets(url, Row::new("GET: nginx reloaded", config), reload).await
}

/// Stops and starts nginx under `GET /`; `restart` does so.
///
/// # Errors
/// When nginx does not start.
pub async fn restart_under_gets(
    url: &str,
    config: &str,
    restart: impl Future<Output = Result<()>>,
) -> Result<(Row, Requests)> {
    let row = Row::new("GET: nginx stopped and started", config);
    let (row, requests) = under_gets(url, row, restart).await?;
    Ok((
        row.loses_something().within(Duration::from_secs(2)),
        requests,
    ))
}

async fn under_gets(
    url: &str,
    row: Row,
    event: impl Future<Output = Result<()>>,
) -> Result<(Row, Requests)> {
    let ((), requests) = Load::get("/").during(url, event).await?;
    let row = row
        .counted(requests.all.len(), "requests", requests.failed().count())
        .back_after(requests.trouble());
    Ok((row, requests))
}

async fn under_posts(
    url: &str,
    row: Row,
    book: &Path,
    event: impl Future<Output = Result<()>>,
) -> Result<(Row, Requests)> {
    // A new, empty book: the orders are numbered from 0.
    File::create(book)?;
    let orders = Load::post(|number| format!("/orders/{number}"));
    let ((), requests) = orders.during(url, event).await?;

    let executions = executions(book)?;
    let twice = executions.values().filter(|times| **times > 1).count();
    let is_executed = |number| executions.contains_key(&number);
    let row = row
        .counted(requests.all.len(), "orders", requests.failed().count())
        .twice(twice)
        .back_after(requests.trouble())
        .and(
            "an order that was answered was executed",
            requests.answered().all(|sent| is_executed(sent.number)),
        );
    Ok((row, requests))
}

/// Says why requests failed.
fn tell(stage: &Stage, requests: &Requests) {
    for (reason, times) in requests.reasons() {
        stage.note(format!("{times} × {reason}"));
    }
}

/// Says it in nginx's own words.
async fn tell_complaint(stage: &mut Stage, text: &str) {
    if let Some(complaint) = stage.nginx_complaint(text).await {
        stage.note(format!("nginx: {complaint}"));
    }
}
