//! `load broadcast`: what is said to everybody, or to a room.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use anyhow::Result;
use indicatif::ProgressBar;
use lab::Stage;

use crate::{
    bench::Bench,
    clock,
    crowd::{gather, heard, open},
    meter::Meter,
    metric::Metric,
    report::{Case, Sample},
    stack::{Server, Stack, running, start_nginx},
    worker::crowd::Then,
};

/// Unless `--clients` says otherwise.
pub(crate) const CLIENTS: u32 = 300;

/// How many messages of a sender may be under way.
const WINDOW: u32 = 8;

const COUNTED: [&str; 2] = ["messages", "deliveries"];

/// The ways that are measured.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "one-server",
            "to all of one server, direct",
            Metric::DeliveriesPerSecond,
            COUNTED,
        ),
        Case::new(
            "three-servers",
            "to all of three servers, direct",
            Metric::DeliveriesPerSecond,
            COUNTED,
        ),
        Case::new(
            "nginx",
            "to all of three servers, through nginx (06-many-sockets.conf)",
            Metric::DeliveriesPerSecond,
            COUNTED,
        ),
        Case::new(
            "room",
            "to a room in which all are, the same way",
            Metric::DeliveriesPerSecond,
            COUNTED,
        ),
    ]
}

/// All ways once, with one stack.
pub(crate) async fn round(bench: &Bench, stack: Stack) -> Result<Vec<Sample>> {
    let mut stage = running(stack, Server::Chat, 3, &bench.binaries).await?;
    let servers = stage.servers.addresses();
    // Not counted: Node compiles what is hot.
    messages(bench, &stage, servers.clone(), false, bench.warm_up()).await?;
    let duration = bench.duration();
    let mut samples = vec![
        messages(bench, &stage, servers[..1].to_vec(), false, duration).await?,
        messages(bench, &stage, servers, false, duration).await?,
    ];
    let nginx = start_nginx(&mut stage, "beyond/06-many-sockets.conf").await?;
    for to_room in [false, true] {
        samples.push(messages(bench, &stage, vec![nginx], to_room, duration).await?);
    }
    bench.saw(&stage);
    stage.stop().await;
    Ok(samples)
}

async fn messages(
    bench: &Bench,
    stage: &Stage,
    targets: Vec<SocketAddr>,
    to_room: bool,
    duration: Duration,
) -> Result<Sample> {
    let clients = bench.clients(CLIENTS);
    let mut crew = gather(targets, clients, |worker| Then::Broadcast {
        sender: worker,
        to_room,
        window: WINDOW,
        duration,
    })
    .await?;
    let opened = open(bench, &mut crew, clients).await?;
    let meter = Meter::start(stage, Some(&crew));
    let begun = clock::now();
    crew.go(0).await?;
    let said = crew.tally(&ProgressBar::hidden()).await?;
    let usage = meter.stop();
    crew.go(0).await?;
    let came = crew.tally(&ProgressBar::hidden()).await?;
    crew.dismiss().await?;

    let tally = heard(&said, came, opened.counts.delivered);
    let mut counts = tally.counts;
    counts.refused += opened.counts.refused;
    counts.failed += opened.counts.failed;
    let delivered = counts.delivered as f64;
    let seconds = tally.last.saturating_sub(begun) as f64 / 1e9;
    let mut figures = BTreeMap::from([(
        Metric::DeliveriesPerSecond,
        delivered / seconds.max(f64::MIN_POSITIVE),
    )]);
    figures.extend(tally.times.figures());
    figures.extend(usage.figures());
    if let Some(cpu) = usage.servers_cpu() {
        figures.insert(Metric::ServerCpuUs, cpu * 1e6 / delivered.max(1.0));
    }
    Ok(Sample {
        figures,
        counts,
        usage,
    })
}
