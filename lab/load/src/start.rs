//! `load start`: what a server costs before anybody comes.

use std::{collections::BTreeMap, fs, io, path::Path, time::Instant};

use anyhow::Result;
use lab::{Client, client::Polling};

use crate::{
    bench::Bench,
    meter::{Meter, Part},
    metric::Metric,
    peer,
    report::{Case, Sample},
    stack::{Server, Stack, stage},
    tally::Counts,
};

/// The ways that are measured.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "one",
            "one server, from nothing to its first answer",
            Metric::StartMs,
            ["started", "answered"],
        ),
        Case::new(
            "three",
            "three servers, idle",
            Metric::ServersRssBytes,
            ["started", "answered"],
        ),
    ]
}

/// Once, with one stack.
pub(crate) async fn round(bench: &Bench, stack: Stack) -> Result<Vec<Sample>> {
    let mut stage = stage(stack, Server::Chat, &bench.binaries)?;
    let redis = stage.redis.start().await?;
    let environment = [("NODE_ENV", "production"), ("REDIS_URL", redis.as_str())];
    let begun = Instant::now();
    stage.servers.start(1, &environment).await?;
    let meter = Meter::start(&stage, None);
    let mut answered = u64::from(answers(&stage.servers.url('A')?).await);
    let took = begun.elapsed().as_secs_f64();
    let size = size_on_disk(stack, bench).await?;
    let one = Sample {
        figures: BTreeMap::from([
            (Metric::StartMs, took * 1e3),
            (Metric::ProgramBytes, size as f64),
        ]),
        counts: count(1, answered),
        usage: meter.stop(),
    };

    stage.servers.start(3, &environment).await?;
    for letter in ['B', 'C'] {
        answered += u64::from(answers(&stage.servers.url(letter)?).await);
    }
    let meter = Meter::start(&stage, None);
    let usage = meter.stop();
    let rss = usage.rss(Part::Servers);
    let three = Sample {
        figures: rss
            .map(|rss| (Metric::ServersRssBytes, rss))
            .into_iter()
            .collect(),
        counts: count(3, answered),
        usage,
    };
    bench.saw(&stage);
    stage.stop().await;
    Ok(vec![one, three])
}

/// Whether the server opens a session.
async fn answers(url: &str) -> bool {
    Polling::open(&Client::new("load", url)).await.is_ok()
}

fn count(started: u64, answered: u64) -> Counts {
    Counts {
        sent: started,
        delivered: answered,
        failed: started - answered,
        ..Counts::default()
    }
}

/// The binary; or Node with the peer and its packages.
async fn size_on_disk(stack: Stack, bench: &Bench) -> Result<u64> {
    Ok(match stack {
        Stack::Rust => fs::metadata(&bench.binaries.chat)?.len(),
        Stack::Node => fs::metadata(peer::executable().await?)?.len() + size_of(&peer::modules())?,
    })
}

/// All files below a folder.
fn size_of(folder: &Path) -> io::Result<u64> {
    let mut size = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            size += size_of(&entry.path())?;
        } else if kind.is_file() {
            size += entry.metadata()?.len();
        }
    }
    Ok(size)
}
