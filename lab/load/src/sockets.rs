//! `load sockets`: sockets opened through nginx and held.

use std::{collections::BTreeMap, time::Instant};

use anyhow::Result;
use indicatif::ProgressBar;
use tokio::time::sleep;

use crate::{
    bench::Bench,
    crowd::{gather, heard, open},
    meter::{Meter, Part},
    metric::Metric,
    report::{Case, Sample},
    stack::{Server, Stack, running, start_nginx},
    worker::crowd::{Then, Transport},
};

/// Unless `--clients` says otherwise.
pub(crate) const CLIENTS: u32 = 1_000;

/// The ways that are measured.
pub(crate) fn cases(transport: Transport) -> Vec<Case> {
    let opened = match transport {
        Transport::WebSocket => {
            "sockets opened, through nginx to three servers (06-many-sockets.conf)"
        }
        Transport::Upgrade => {
            "sockets opened by long polling and upgraded, through nginx to three servers \
             (06-many-sockets.conf)"
        }
        Transport::Polling => {
            "long-polling clients connected, through nginx to three servers \
             (06-many-sockets.conf)"
        }
    };
    vec![
        Case::new(
            "open",
            opened,
            Metric::ConnectsPerSecond,
            ["connections begun", "open"],
        ),
        Case::new(
            "held",
            "then held, and told one thing",
            Metric::ServersBytesPerSocket,
            ["sent to all", "deliveries"],
        ),
    ]
}

/// Opens them, holds them, and makes sure that each is there.
pub(crate) async fn round(
    bench: &Bench,
    stack: Stack,
    transport: Transport,
) -> Result<Vec<Sample>> {
    let clients = bench.clients(CLIENTS);
    let mut stage = running(stack, Server::Chat, 3, &bench.binaries).await?;
    let nginx = start_nginx(&mut stage, "beyond/06-many-sockets.conf").await?;
    let mut crew = gather(vec![nginx], clients, |worker| Then::Hold {
        transport,
        speaks: worker == 0,
    })
    .await?;
    let meter = Meter::start(&stage, Some(&crew));
    let (before, begun) = (meter.stop(), Instant::now());
    let tally = open(bench, &mut crew, clients).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let usage = meter.stop();
    let sockets = tally.counts.delivered.max(1) as f64;

    let mut figures = BTreeMap::from([
        (Metric::OpenMs, seconds * 1e3),
        (Metric::ConnectsPerSecond, sockets / seconds),
    ]);
    figures.extend(tally.times.figures());
    figures.extend(usage.figures());
    if let Some(cpu) = usage.servers_cpu() {
        figures.insert(Metric::ServerCpuUs, cpu * 1e6 / sockets);
    }
    let opened = Sample {
        figures,
        counts: tally.counts,
        usage,
    };

    let meter = Meter::start(&stage, Some(&crew));
    sleep(bench.duration()).await;
    let usage = meter.stop();
    let mut figures = BTreeMap::new();
    if let Some(rss) = usage.rss(Part::Servers) {
        figures.insert(Metric::ServersRssBytes, rss);
    }
    for (part, metric) in [
        (Part::Servers, Metric::ServersBytesPerSocket),
        (Part::Nginx, Metric::NginxBytesPerSocket),
    ] {
        if let (Some(now), Some(idle)) = (usage.rss(part), before.rss(part)) {
            figures.insert(metric, (now - idle) / sockets);
        }
    }
    crew.go(0).await?;
    let said = crew.tally(&ProgressBar::hidden()).await?;
    crew.go(0).await?;
    let came = crew.tally(&ProgressBar::hidden()).await?;
    // Whoever did not get in cannot hear; that is counted above.
    let tally = heard(&said, came, tally.counts.delivered);
    figures.extend(tally.times.figures());
    crew.dismiss().await?;
    bench.saw(&stage);
    stage.stop().await;
    let held = Sample {
        figures,
        counts: tally.counts,
        usage,
    };
    Ok(vec![opened, held])
}
