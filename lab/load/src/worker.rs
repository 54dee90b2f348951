//! The generator: a process of one thread that is given a job, and counts.
//!
//! There is one for each core, or more where one may not have as many descriptors as a
//! job has connections. Job and orders come in as lines, tallies go out as lines of JSON.
//! When its input ends, so does the worker: it cannot outlive the measurement.

pub(crate) mod connect;
pub(crate) mod crowd;
mod deliveries;
pub(crate) mod http;
pub(crate) mod polling;
mod response;
mod schedule;
mod socket;
mod speaker;
mod wire;

use std::io::{self, Write};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, BufReader, stdin},
    sync::mpsc,
    task::LocalSet,
};

use crate::tally::Tally;

/// What a worker is to do.
#[derive(Serialize, Deserialize)]
pub(crate) enum Job {
    /// Requests, one after the other over each connection.
    Http(http::Job),
    /// Sockets that are held, hear a broadcast, or lose their server.
    Crowd(crowd::Job),
    /// Users who write to each other over long polling.
    Polling(polling::Job),
}

/// What a worker says.
#[derive(Serialize, Deserialize)]
pub(crate) enum Said {
    /// So many more clients are connected.
    Progress(u64),
    /// A part of the job is done.
    Tally(Tally),
}

/// Whoever gave the job.
pub(crate) struct Boss {
    orders: mpsc::UnboundedReceiver<String>,
}

impl Boss {
    /// Waits for the order to go on with the job; its number, where it has one.
    pub(crate) async fn go(&mut self) -> u64 {
        match self.orders.recv().await {
            Some(order) => order.trim().parse().unwrap_or_default(),
            None => std::future::pending().await,
        }
    }
}

/// Says what has been counted up to now.
pub(crate) fn tell(tally: &Tally) {
    say(&Said::Tally(tally.clone()));
}

/// Nobody listens any more if this fails, and the worker's input ends as well.
pub(crate) fn say(what: &Said) {
    if let Ok(line) = serde_json::to_string(what) {
        let _unheard = writeln!(io::stdout().lock(), "{line}");
    }
}

/// Does the job that the first line of its input gives.
pub(crate) async fn run() -> Result<()> {
    let mut lines = BufReader::new(stdin()).lines();
    let job = lines.next_line().await?.context("no job was given")?;
    let job = serde_json::from_str(&job).context("this is no job")?;
    let (told, orders) = mpsc::unbounded_channel();
    let boss = Boss { orders };
    let listening = async move {
        while let Ok(Some(order)) = lines.next_line().await {
            // The job is done if nobody waits for orders, but the connections stay open.
            let _done = told.send(order);
        }
    };
    let work = async {
        match job {
            Job::Http(job) => http::run(job, boss).await,
            Job::Crowd(job) => crowd::run(job, boss).await,
            Job::Polling(job) => polling::run(job, boss).await,
        }
        std::future::pending::<()>().await;
    };
    let local = LocalSet::new();
    local
        .run_until(async {
            tokio::select! {
                () = listening => {}
                () = work => {}
            }
        })
        .await;
    // Tens of thousands of connections need not be closed one by one.
    std::process::exit(0)
}
