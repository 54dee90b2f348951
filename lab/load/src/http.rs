//! `load http`: requests a second.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use anyhow::Result;
use indicatif::ProgressBar;
use lab::Stage;

use crate::{
    bench::Bench,
    crew::{Crew, shares},
    meter::Meter,
    metric::Metric,
    report::{Case, Sample},
    stack::{Server, Stack, running, start_nginx},
    worker::{
        Job,
        connect::Targets,
        http::{self, Request},
    },
};

/// Unless `--clients` says otherwise.
pub(crate) const CLIENTS: u32 = 64;

const COUNTED: [&str; 2] = ["requests", "answers"];

/// The ways that are measured.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "one-process",
            "one process, asked directly",
            Metric::RequestsPerSecond,
            COUNTED,
        ),
        Case::new(
            "three-processes",
            "three processes, asked directly in turn",
            Metric::RequestsPerSecond,
            COUNTED,
        ),
        Case::new(
            "round-robin",
            "behind nginx, as in the article (02-round-robin.conf)",
            Metric::RequestsPerSecond,
            COUNTED,
        ),
        Case::new(
            "keepalive",
            "behind nginx that keeps its connections (02-keepalive.conf)",
            Metric::RequestsPerSecond,
            COUNTED,
        ),
    ]
}

/// All ways once, with one stack.
pub(crate) async fn round(bench: &Bench, stack: Stack) -> Result<Vec<Sample>> {
    let mut stage = running(stack, Server::Pid, 3, &bench.binaries).await?;
    let servers = stage.servers.addresses();
    let mut samples = vec![
        requests(bench, &stage, servers[..1].to_vec()).await?,
        requests(bench, &stage, servers).await?,
    ];
    for config in ["02-round-robin.conf", "beyond/02-keepalive.conf"] {
        let nginx = start_nginx(&mut stage, config).await?;
        samples.push(requests(bench, &stage, vec![nginx]).await?);
    }
    bench.saw(&stage);
    stage.stop().await;
    Ok(samples)
}

async fn requests(bench: &Bench, stage: &Stage, targets: Vec<SocketAddr>) -> Result<Sample> {
    let (clients, rate) = (bench.clients(CLIENTS), bench.options.rate);
    let duration = Some(bench.duration());
    let mut crew = askers(bench, targets, clients, Request::Page, duration, rate).await?;
    let meter = Meter::start(stage, Some(&crew));
    crew.go(0).await?;
    let tally = crew.tally(&ProgressBar::hidden()).await?;
    let usage = meter.stop();
    crew.dismiss().await?;

    let answered = tally.counts.delivered as f64;
    let mut figures = BTreeMap::from([(Metric::RequestsPerSecond, answered / usage.seconds)]);
    figures.extend(tally.times.figures());
    figures.extend(usage.figures());
    if let Some(cpu) = usage.servers_cpu() {
        figures.insert(Metric::ServerCpuUs, cpu * 1e6 / answered.max(1.0));
    }
    Ok(Sample {
        figures,
        counts: tally.counts,
        usage,
    })
}

/// Workers whose clients have warmed the servers up, and now wait for the order to ask for
/// so long, or until the next order; so many requests a second, or as many as there can be.
pub(crate) async fn askers(
    bench: &Bench,
    targets: Vec<SocketAddr>,
    clients: u32,
    request: Request,
    duration: Option<Duration>,
    rate: Option<u32>,
) -> Result<Crew> {
    let targets = Targets::new(targets);
    let jobs = shares(clients, 1).into_iter().map(|share| {
        Job::Http(http::Job {
            targets: targets.clone(),
            request,
            first: share.start,
            clients: share.end - share.start,
            warm_up: bench.warm_up(),
            duration,
            pace: rate.map(|rate| Duration::from_secs(1) * clients / rate),
        })
    });
    let mut crew = Crew::start(jobs.collect()).await?;
    crew.tally(&ProgressBar::hidden()).await?;
    Ok(crew)
}
