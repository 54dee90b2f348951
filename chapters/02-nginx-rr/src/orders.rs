//! Requests that mean something: an order is executed, and may be executed twice.
//!
//! `POST /orders/7` writes `7` and its own PID into a book that all servers share, as a
//! shop's servers share a database, and takes its time. The book outlives the server:
//! afterwards it says what was executed, whoever was told.

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
use ch01_express_pid::{app, listen, serve as serve_app};
use tokio::time::{sleep, timeout};

/// The environment variable that names the book's file.
pub const BOOK: &str = "ORDERS";

/// What an order takes once it is in the book. A server that dies meanwhile has executed
/// it and tells nobody.
const WORK: Duration = Duration::from_millis(100);

/// Serves chapter 1's application on the port that `PORT` names, and orders if `ORDERS`
/// names their book.
///
/// # Errors
/// When the port cannot be had.
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
            let why = format!("order {id} is not in the book: {error}");
            (StatusCode::INTERNAL_SERVER_ERROR, why)
        })?;
        sleep(WORK).await;
        let executed = format!("order {id} executed, PID: {}", process::id());
        Ok::<_, (StatusCode, String)>(executed)
    };
    Router::new().route("/orders/{id}", post(execute))
}

/// One `write` at the end of the file: orders of several processes do not mix.
fn write_down(book: &Path, id: u64) -> io::Result<()> {
    let mut book = OpenOptions::new().create(true).append(true).open(book)?;
    book.write_all(format!("{id} {}\n", process::id()).as_bytes())
}

/// How often each order was executed, after a book.
///
/// # Errors
/// When there is no book, or something else than orders in it.
pub fn executions(book: &Path) -> lab::Result<BTreeMap<u64, usize>> {
    let mut executions = BTreeMap::new();
    for line in fs::read_to_string(book)?.lines() {
        let (id, _pid) = line.split_once(' ').context("not a line of orders")?;
        *executions.entry(id.parse()?).or_default() += 1;
    }
    Ok(executions)
}

/// Waits until the server with that PID has begun another order.
///
/// # Errors
/// When it begins none within five seconds, or there is no book.
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
