//! `load storm`: a server dies, and its sockets come back through nginx, to the others.

use std::time::Duration;

use anyhow::Result;
use indicatif::ProgressBar;

use crate::{
    bench::Bench,
    clock,
    crowd::{gather, open},
    meter::Meter,
    metric::Metric,
    report::{Case, Sample},
    stack::{Server, Stack, running, start_nginx},
    worker::crowd::Then,
};

/// Unless `--clients` says otherwise.
pub(crate) const CLIENTS: u32 = 1_000;

/// How long it may take until all are back.
const PATIENCE: Duration = Duration::from_mins(1);

/// The way that is measured.
pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new(
        "storm",
        "one of three servers is killed; its sockets are back after",
        Metric::MaxMs,
        ["attempts to come back", "back"],
    )]
}

/// Once, with one stack.
pub(crate) async fn round(bench: &Bench, stack: Stack) -> Result<Vec<Sample>> {
    let mut stage = running(stack, Server::Chat, 3, &bench.binaries).await?;
    let nginx = start_nginx(&mut stage, "06-many-sockets.conf").await?;
    let clients = bench.clients(CLIENTS);
    let mut crew = gather(vec![nginx], clients, |_worker| Then::Storm {
        patience: PATIENCE,
    })
    .await?;
    let opened = open(bench, &mut crew, clients).await?;
    let meter = Meter::start(&stage, Some(&crew));
    crew.go(clock::now()).await?;
    stage.kill_server('A').await?;
    let tally = crew.tally(&ProgressBar::hidden()).await?;
    let usage = meter.stop();
    crew.dismiss().await?;
    bench.saw(&stage);
    stage.stop().await;

    let mut counts = tally.counts;
    counts.failed += opened.counts.failed;
    let mut figures = tally.times.figures();
    figures.extend(usage.figures());
    if let Some(cpu) = usage.servers_cpu() {
        figures.insert(
            Metric::ServerCpuUs,
            cpu * 1e6 / (counts.delivered.max(1) as f64),
        );
    }
    Ok(vec![Sample {
        figures,
        counts,
        usage,
    }])
}
