//! Drills with HTTP requests: 200 a second come in while a server or nginx is replaced or dies.
//!
//! Each drill starts its parts and calls the functions below. Those functions take the URL of
//! nginx, so that a test can call them with an nginx of its own.

use std::{
    fs::File,
    path::{Path, PathBuf},
    time::Duration,
};

use drills::{Load, Requests, Row, Signal, replace_one_by_one, replace_one_by_one_after};
use lab::{Result, Stage};
use tokio::time::sleep;

use crate::orders::{BOOK, SERVES_REQUESTS, begun_by, executions};

/// Drill: all servers are replaced under GETs.
pub async fn replaced(stage: &mut Stage) -> Result<Vec<Row>> {
    stage.servers.start(3, &[SERVES_REQUESTS]).await?;
    let mut rows = Vec::new();
    for signal in [Signal::Term, Signal::Kill] {
        let config = "02-round-robin.conf";
        let url = stage.nginx.start(config).await?;
        let (row, requests) = replace_under_gets(stage, &url, config, signal).await?;
        show_reasons(stage, &requests);
        show_complaint(stage, "no live upstreams").await;
        rows.push(row.loses_something());
    }
    for signal in [Signal::Term, Signal::Kill] {
        let config = "beyond/02-max-fails-0.conf";
        let url = stage.nginx.start(config).await?;
        let (row, requests) = replace_under_gets(stage, &url, config, signal).await?;
        show_reasons(stage, &requests);
        rows.push(row);
    }
    Ok(rows)
}

/// Drill: all servers are replaced under POSTs.
pub async fn replaced_under_orders(stage: &mut Stage) -> Result<Vec<Row>> {
    start_order_servers(stage).await?;
    let mut rows = Vec::new();
    for signal in [Signal::Term, Signal::Kill] {
        for config in [
            "beyond/02-max-fails-0.conf",
            "beyond/02-keepalive.conf",
            "beyond/02-non-idempotent.conf",
        ] {
            let url = stage.nginx.start(config).await?;
            let (row, requests) = replace_under_posts(stage, &url, config, signal).await?;
            show_reasons(stage, &requests);
            rows.push(row);
        }
    }
    Ok(rows)
}

/// Drill: one server is killed, under GETs and under POSTs.
pub async fn server_killed(stage: &mut Stage) -> Result<Vec<Row>> {
    start_order_servers(stage).await?;
    let mut rows = Vec::new();
    for config in ["02-round-robin.conf", "beyond/02-keepalive.conf"] {
        let url = stage.nginx.start(config).await?;
        let (row, requests) = kill_under_gets(stage, &url, config).await?;
        show_reasons(stage, &requests);
        rows.push(row);
    }
    for config in [
        "02-round-robin.conf",
        "beyond/02-keepalive.conf",
        "beyond/02-non-idempotent.conf",
    ] {
        let url = stage.nginx.start(config).await?;
        let (row, requests) = kill_under_posts(stage, &url, config).await?;
        show_reasons(stage, &requests);
        rows.push(row);
    }
    Ok(rows)
}

/// Drill: nginx reloads its config under GETs.
pub async fn nginx_reload(stage: &mut Stage) -> Result<Vec<Row>> {
    stage.servers.start(3, &[SERVES_REQUESTS]).await?;
    let config = "02-round-robin.conf";
    let url = stage.nginx.start(config).await?;
    let reload = stage.nginx.reload(config, str::to_owned);
    let (row, requests) = reload_under_gets(&url, config, reload).await?;
    show_reasons(stage, &requests);
    Ok(vec![row])
}

/// Drill: nginx is stopped and started under GETs.
pub async fn nginx_restart(stage: &mut Stage) -> Result<Vec<Row>> {
    stage.servers.start(3, &[SERVES_REQUESTS]).await?;
    let config = "02-round-robin.conf";
    let url = stage.nginx.start(config).await?;
    let restart = async {
        stage.nginx.end().await;
        stage.nginx.start(config).await.map(drop)
    };
    let (row, requests) = restart_under_gets(&url, config, restart).await?;
    show_reasons(stage, &requests);
    Ok(vec![row])
}

/// Starts three servers that take orders. All write them to one file, the order book.
pub async fn start_order_servers(stage: &mut Stage) -> Result<()> {
    let book = book(stage);
    let book = book.display().to_string();
    stage
        .servers
        .start(3, &[SERVES_REQUESTS, (BOOK, &book)])
        .await
}

fn book(stage: &Stage) -> PathBuf {
    stage.folder().join("orders")
}

/// Replaces all servers under `GET /`.
pub async fn replace_under_gets(
    stage: &mut Stage,
    url: &str,
    config: &str,
    signal: Signal,
) -> Result<(Row, Requests)> {
    let row = Row::new(format!("GET: all replaced, {}", signal.name()), config);
    under_gets(url, row, async {
        replace_one_by_one(stage, signal, AWAY).await.map(drop)
    })
    .await
}

/// Replaces all servers under `POST /orders/{number}`.
pub async fn replace_under_posts(
    stage: &mut Stage,
    url: &str,
    config: &str,
    signal: Signal,
) -> Result<(Row, Requests)> {
    let row = Row::new(format!("POST: all replaced, {}", signal.name()), config);
    let book = book(stage);
    let replace = async {
        match signal {
            Signal::Term => replace_one_by_one(stage, signal, AWAY).await?,
            Signal::Kill => {
                let has_begun_an_order = async |pid| begun_by(pid, &book).await;
                replace_one_by_one_after(stage, signal, AWAY, has_begun_an_order).await?
            }
        };
        Ok(())
    };
    let (row, requests) = under_posts(url, row, &book, replace).await?;
    Ok((promise(row, config, signal), requests))
}

/// How long a server is away, as if a release were copied, or Node.js loaded its modules. Without
/// this, our servers would be back before nginx notices.
const AWAY: Duration = Duration::from_millis(500);

/// Kills server B under `GET /`, and starts it again.
pub async fn kill_under_gets(
    stage: &mut Stage,
    url: &str,
    config: &str,
) -> Result<(Row, Requests)> {
    let row = Row::new("GET: one server, kill -9", config);
    under_gets(url, row, kill_one(stage, None)).await
}

/// Kills server B under `POST /orders/{number}`, and starts it again.
pub async fn kill_under_posts(
    stage: &mut Stage,
    url: &str,
    config: &str,
) -> Result<(Row, Requests)> {
    let row = Row::new("POST: one server, kill -9", config);
    let book = book(stage);
    let (row, requests) = under_posts(url, row, &book, kill_one(stage, Some(&book))).await?;
    Ok((promise(row, config, Signal::Kill), requests))
}

/// What a config promises about orders when a server ends.
fn promise(row: Row, config: &str, signal: Signal) -> Row {
    let some_ran_twice = row.duplicates > Some(0);
    match (config, signal) {
        ("beyond/02-non-idempotent.conf", Signal::Kill) => row.may_repeat().and(
            "the orders that the dead server had begun ran twice",
            some_ran_twice,
        ),
        ("beyond/02-non-idempotent.conf", Signal::Term) => row.may_repeat(),
        // The orders that the dead server had begun: nginx must not send them to another server.
        (_, Signal::Kill) => row.loses_something(),
        // The server finishes the orders that it has begun. But it may close a connection
        // just as nginx sends the next order over it.
        (_, Signal::Term) => row.may_lose(),
    }
}

async fn kill_one(stage: &mut Stage, book: Option<&Path>) -> Result<()> {
    kill_at_work(stage, 'B', book).await?;
    sleep(AWAY).await;
    stage.servers.start_one('B').await
}

/// Kills a server. With an order book, it waits until the server has begun an order.
async fn kill_at_work(stage: &mut Stage, letter: char, book: Option<&Path>) -> Result<()> {
    if let (Some(book), Some(pid)) = (book, stage.servers.pid(letter)) {
        begun_by(pid, book).await?;
    }
    stage.servers.kill(letter).await
}

/// nginx reloads its config under `GET /`; `reload` tells it to.
pub async fn reload_under_gets(
    url: &str,
    config: &str,
    reload: impl Future<Output = Result<()>>,
) -> Result<(Row, Requests)> {
    under_gets(url, Row::new("GET: nginx reloaded", config), reload).await
}

/// nginx is stopped and started under `GET /`; `restart` does it.
pub async fn restart_under_gets(
    url: &str,
    config: &str,
    restart: impl Future<Output = Result<()>>,
) -> Result<(Row, Requests)> {
    let row = Row::new("GET: nginx stopped and started", config);
    let (row, requests) = under_gets(url, row, restart).await?;
    let recovers = requests
        .all
        .last()
        .is_some_and(|last| last.failure.is_none());
    let row = row.loses_something().and("it recovers", recovers);
    Ok((row, requests))
}

async fn under_gets(
    url: &str,
    row: Row,
    event: impl Future<Output = Result<()>>,
) -> Result<(Row, Requests)> {
    let ((), requests) = Load::get("/").during(url, event).await?;
    let row = row
        .counted(requests.all.len(), "requests", requests.failed().count())
        .recovered_after(requests.trouble());
    Ok((row, requests))
}

async fn under_posts(
    url: &str,
    row: Row,
    book: &Path,
    event: impl Future<Output = Result<()>>,
) -> Result<(Row, Requests)> {
    // An empty book: the orders are numbered from 0.
    File::create(book)?;
    let orders = Load::post(|number| format!("/orders/{number}"));
    let ((), requests) = orders.during(url, event).await?;

    let executions = executions(book)?;
    let duplicates = executions.values().filter(|times| **times > 1).count();
    let is_executed = |number| executions.contains_key(&number);
    let row = row
        .counted(requests.all.len(), "orders", requests.failed().count())
        .duplicates(duplicates)
        .recovered_after(requests.trouble())
        .and(
            "each order that was answered was executed",
            requests.answered().all(|sent| is_executed(sent.number)),
        );
    Ok((row, requests))
}

/// Shows why requests failed.
fn show_reasons(stage: &Stage, requests: &Requests) {
    for (reason, times) in requests.reasons() {
        stage.note(format!("{times} × {reason}"));
    }
}

/// Shows the line of nginx's error log.
async fn show_complaint(stage: &mut Stage, text: &str) {
    if let Some(complaint) = stage.nginx.complaint(text).await {
        stage.note(format!("nginx: {complaint}"));
    }
}
