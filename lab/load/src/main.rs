//! How much do the servers handle, next to the original?
//!
//! ```text
//! cargo run --release -p load -- http         requests a second
//! cargo run --release -p load -- sockets      sockets opened and held
//! cargo run --release -p load -- broadcast    messages to everybody
//! cargo run --release -p load -- polling      messages over long polling
//! cargo run --release -p load -- storm        a server dies, and its sockets come back
//! cargo run --release -p load -- replace      servers are replaced one by one
//! cargo run --release -p load -- nginx        what the lines of nginx's config are good for
//! cargo run --release -p load -- start        start, idle memory, size
//! ```
//!
//! A measurement is a [`mod@bench`]: rounds in which both stacks take turns on a stage. The
//! load comes from a [`crew`] of [`worker`]s, a [`meter`] says what it costs, and a
//! [`report`] is shown as a [`table`], as JSON, and as a [`chart`].

mod bench;
mod binaries;
mod broadcast;
mod chart;
mod clock;
mod crew;
mod crowd;
mod http;
mod machine;
mod measurement;
mod meter;
mod metric;
mod nginx;
mod options;
mod peer;
mod polling;
mod processes;
mod replace;
mod report;
mod sequence;
mod sockets;
mod stack;
mod start;
mod storm;
mod table;
mod tally;
mod worker;

use std::{fs, future::Future, process::ExitCode};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    options::{Cli, Measure, Options},
    report::Report,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    machine::raise_descriptors();
    lab::exit_code(run(Cli::parse().measure).await)
}

async fn run(measure: Measure) -> Result<()> {
    let options = match &measure {
        Measure::Worker => return worker::run().await,
        Measure::Sockets(sockets) => sockets.options.clone(),
        Measure::Http(options)
        | Measure::Broadcast(options)
        | Measure::Polling(options)
        | Measure::Storm(options)
        | Measure::Replace(options)
        | Measure::Nginx(options)
        | Measure::Start(options) => options.clone(),
    };
    let report = tokio::select! {
        report = measurement::run(&measure, options.clone()) => report?,
        () = interrupted()? => bail!("interrupted, so there is nothing to report"),
    };
    anstream::print!("{}", table::render(&report));
    write(&report, &options)?;
    ensure!(
        !options.check || report.is_faultless(),
        "not everything that was sent arrived as it should: the report says what did not"
    );
    Ok(())
}

/// Writes the report to the files that were asked for.
fn write(report: &Report, options: &Options) -> Result<()> {
    if let Some(file) = &options.json {
        let json = serde_json::to_string_pretty(report)? + "\n";
        fs::write(file, json).with_context(|| format!("{} cannot be written", file.display()))?;
    }
    if let Some(file) = &options.svg {
        let svg = chart::draw(report)?;
        fs::write(file, svg).with_context(|| format!("{} cannot be written", file.display()))?;
    }
    Ok(())
}

/// Ready at Ctrl-C or SIGTERM: what the measurement started then ends with it.
fn interrupted() -> Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
