//! Orders: requests that may be lost, or executed twice.
//!
//! `POST /orders/7` writes `7` and the server's PID to the order book, a file that all servers
//! share, as the servers of a shop share a database. Then it works for 100 ms, and answers. The
//! book outlives the server, so it shows which orders were executed, answered or not.

use std::{
    collections::BTreeMap,
    env,
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    process,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use axum::{Router, extract, http::StatusCode, routing::post};
use ch01_express_pid::app;
use lab_server::{listen, serve as serve_app};
use tokio::time::{sleep, timeout};

/// The environment variable with the path of the order book.
pub const BOOK: &str = "ORDERS";

/// How long an order takes after it is in the book. A server that dies in this time has executed
/// the order and sends no answer.
const WORK: Duration = Duration::from_millis(100);

/// Serves chapter 1's application on the port in `PORT`, and orders if `ORDERS` names a book.
pub async fn serve() -> lab::Result<()> {
    let app = match env::var_os(BOOK) {
        Some(book) => app().merge(orders(PathBuf::from(book))),
        None => app(),
    };
    Ok(serve_app("Server", listen().await?, app, async {}).await?)
}

/// `POST /orders/{id}`.
fn orders(book: PathBuf) -> Router {
    let book: Arc<Path> = book.into();
    let execute = async move |extract::Path(id): extract::Path<u64>| {
        write_down(&book, id).map_err(|error| {
            let why = format!("order {id} was not written to the book: {error}");
            (StatusCode::INTERNAL_SERVER_ERROR, why)
        })?;
        sleep(WORK).await;
        let executed = format!("order {id} executed, PID: {}", process::id());
        Ok::<_, (StatusCode, String)>(executed)
    };
    Router::new().route("/orders/{id}", post(execute))
}

/// One `write` at the end of the file: lines of several processes do not mix.
fn write_down(book: &Path, id: u64) -> io::Result<()> {
    let mut book = OpenOptions::new().create(true).append(true).open(book)?;
    book.write_all(format!("{id} {}\n", process::id()).as_bytes())
}

/// How often each order in the book was executed.
pub fn executions(book: &Path) -> lab::Result<BTreeMap<u64, usize>> {
    let mut executions = BTreeMap::new();
    for line in fs::read_to_string(book)?.lines() {
        let (id, _pid) = line.split_once(' ').context("not a line of orders")?;
        *executions.entry(id.parse()?).or_default() += 1;
    }
    Ok(executions)
}

/// Waits until the server with that PID has begun another order, for at most five seconds.
pub async fn begun_by(pid: u32, book: &Path) -> lab::Result<()> {
    let count = || -> io::Result<usize> {
        let own = format!(" {pid}");
        let text = fs::read_to_string(book)?;
        Ok(text.lines().filter(|line| line.ends_with(&own)).count())
    };
    let before = count()?;
    let begins = async {
        while count()? == before {
            sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    };
    timeout(Duration::from_secs(5), begins)
        .await
        .with_context(|| format!("the server with PID {pid} gets no orders"))?
}

/// The environment variable that makes a server of these drills answer requests and take orders.
pub const SERVES_REQUESTS: (&str, &str) = ("SERVES", "requests");
