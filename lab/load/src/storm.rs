//! `load storm`: a server dies, and its sockets come back through nginx, to the others.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Result;
use indicatif::ProgressBar;
use lab::Stage;

use crate::{
    bench::Bench,
    clock,
    crowd::{gather, open},
    meter::{Meter, Part},
    metric::Metric,
    report::{Case, Sample},
    stack::{Server, Stack, running, start_nginx},
    worker::crowd::{Since, Then},
};

/// Unless `--clients` says otherwise.
pub(crate) const CLIENTS: u32 = 1_000;

/// How long it may take until all are back.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

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
    let nginx = start_nginx(&mut stage, "beyond/06-many-sockets.conf").await?;
    let clients = bench.clients(CLIENTS);
    let (_opened, storm) = storm(bench, &mut stage, nginx, clients).await?;
    bench.saw(&stage);
    stage.stop().await;
    Ok(vec![storm])
}

/// What opening the sockets was like.
pub(crate) struct Opened {
    /// How many a second.
    pub(crate) per_second: f64,
    /// What each added to nginx' memory, in bytes; none where that cannot be read.
    pub(crate) nginx_bytes: Option<f64>,
}

/// Opens the sockets of so many clients, kills a server, and waits until all are back.
pub(crate) async fn storm(
    bench: &Bench,
    stage: &mut Stage,
    nginx: SocketAddr,
    clients: u32,
) -> Result<(Opened, Sample)> {
    let mut crew = gather(vec![nginx], clients, |_worker| Then::Storm {
        away_since: Since::Order,
        patience: PATIENCE,
    })
    .await?;
    let meter = Meter::start(stage, Some(&crew));
    let (idle, begun) = (meter.stop(), Instant::now());
    let tally = open(bench, &mut crew, clients).await?;
    let sockets = tally.counts.delivered.max(1) as f64;
    let per_second = sockets / begun.elapsed().as_secs_f64();
    let meter = Meter::start(stage, Some(&crew));
    let grown = meter.stop().rss(Part::Nginx).zip(idle.rss(Part::Nginx));
    let opened = Opened {
        per_second,
        nginx_bytes: grown.map(|(now, idle)| (now - idle) / sockets),
    };

    let meter = Meter::start(stage, Some(&crew));
    crew.go(clock::now()).await?;
    stage.servers.kill('A').await?;
    crew.go(0).await?;
    let back = crew.tally(&ProgressBar::hidden()).await?;
    let usage = meter.stop();
    crew.dismiss().await?;

    let mut counts = back.counts;
    counts.failed += tally.counts.failed;
    let mut figures = back.times.figures();
    figures.extend(usage.figures());
    if let Some(cpu) = usage.servers_cpu() {
        figures.insert(
            Metric::ServerCpuUs,
            cpu * 1e6 / (counts.delivered.max(1) as f64),
        );
    }
    let storm = Sample {
        figures,
        counts,
        usage,
    };
    Ok((opened, storm))
}
