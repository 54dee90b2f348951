//! `load polling`: users write to each other over long polling.

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;
use indicatif::ProgressBar;
use lab::Stage;

use crate::{
    bench::Bench,
    crew::{Crew, shares},
    crowd::heard,
    meter::Meter,
    metric::Metric,
    report::{Case, Sample},
    stack::{Server, Stack, running, start_nginx},
    worker::{Job, connect::Targets, polling},
};

/// Unless `--clients` says otherwise.
pub(crate) const CLIENTS: u32 = 200;
/// Messages a second of all together, unless `--rate` says otherwise.
pub(crate) const RATE: u32 = 400;

/// The way that is measured.
pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new(
        "polling",
        "over long polling, through nginx with ip_hash (06-many-sockets.conf)",
        Metric::P99Ms,
        ["messages", "deliveries"],
    )]
}

/// Once, with one stack.
pub(crate) async fn round(bench: &Bench, stack: Stack) -> Result<Vec<Sample>> {
    let mut stage = running(stack, Server::Chat, 3, &bench.binaries).await?;
    let nginx = start_nginx(&mut stage, "beyond/06-many-sockets.conf").await?;
    // Not counted: Node compiles what is hot.
    messages(bench, &stage, nginx, bench.warm_up()).await?;
    let sample = messages(bench, &stage, nginx, bench.duration()).await?;
    bench.saw(&stage);
    stage.stop().await;
    Ok(vec![sample])
}

async fn messages(
    bench: &Bench,
    stage: &Stage,
    nginx: SocketAddr,
    duration: Duration,
) -> Result<Sample> {
    let clients = bench.clients(CLIENTS);
    let rate = bench.options.rate.unwrap_or(RATE);
    let targets = Targets::new(vec![nginx]);
    // A user has three connections.
    let jobs = shares(clients, 3).into_iter().map(|share| {
        Job::Polling(polling::Job {
            targets: targets.clone(),
            first: share.start,
            clients: share.end - share.start,
            all: clients,
            pace: Duration::from_secs(1) * clients / rate,
            duration,
        })
    });
    let mut crew = Crew::start(jobs.collect()).await?;
    let opened = crew.tally(&ProgressBar::hidden()).await?;
    let meter = Meter::start(stage, Some(&crew));
    crew.go(0).await?;
    let said = crew.tally(&ProgressBar::hidden()).await?;
    let usage = meter.stop();
    crew.go(0).await?;
    let came = crew.tally(&ProgressBar::hidden()).await?;
    crew.dismiss().await?;

    // Each message is for one user.
    let tally = heard(&said, came, 1);
    let mut counts = tally.counts;
    counts.refused += said.counts.refused + opened.counts.refused;
    counts.failed += opened.counts.failed;
    let mut figures = tally.times.figures();
    figures.extend(usage.figures());
    if let Some(cpu) = usage.servers_cpu() {
        figures.insert(
            Metric::ServerCpuUs,
            cpu * 1e6 / (counts.delivered.max(1) as f64),
        );
    }
    Ok(Sample {
        figures,
        counts,
        usage,
    })
}
