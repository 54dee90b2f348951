//! `load replace`: the three servers are replaced one by one, as for a release, under
//! requests and with sockets on them.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::Path,
    time::Duration,
};

use anyhow::Result;
use drills::{Signal, replace_one_by_one};
use indicatif::ProgressBar;
use lab::Stage;

use crate::{
    bench::Bench,
    clock,
    crew::Crew,
    crowd::{gather, open},
    http::{self, askers},
    meter::{Meter, Usage},
    metric::Metric,
    report::{Case, Sample},
    stack::{Server, Stack, book, running, start_edited_nginx, start_nginx},
    storm::PATIENCE,
    tally::Tally,
    worker::{
        crowd::{Since, Then},
        http::Request,
    },
};

/// How many sockets, unless `--clients` says otherwise.
pub(crate) const CLIENTS: u32 = 1_000;
/// Requests a second, unless `--rate` says otherwise.
pub(crate) const RATE: u32 = 200;

/// How long a server is away, as with a release that has to be copied.
const AWAY: Duration = Duration::from_millis(500);

/// The ways that are measured.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "get",
            "three servers replaced one by one, under GETs (02-max-fails-0.conf)",
            Metric::P99Ms,
            ["requests", "answers"],
        ),
        Case::new(
            "post",
            "the same, under POSTs that take 100 ms each",
            Metric::P99Ms,
            ["orders", "answers"],
        ),
        Case::new(
            "sockets",
            "the same, with sockets on them: each is back after",
            Metric::P99Ms,
            ["attempts to come back", "back"],
        ),
    ]
}

/// All ways once, with one stack.
pub(crate) async fn round(bench: &Bench, stack: Stack) -> Result<Vec<Sample>> {
    Ok(vec![
        requests(bench, stack, Request::Page).await?,
        requests(bench, stack, Request::Order).await?,
        sockets(bench, stack).await?,
    ])
}

async fn requests(bench: &Bench, stack: Stack, request: Request) -> Result<Sample> {
    let server = match request {
        Request::Page => Server::Pid,
        Request::Order => Server::Orders,
    };
    let mut stage = running(stack, server, 3, &bench.binaries).await?;
    let nginx = start_nginx(&mut stage, "beyond/02-max-fails-0.conf").await?;
    let rate = bench.options.rate.unwrap_or(RATE);
    let mut crew = askers(bench, vec![nginx], http::CLIENTS, request, None, Some(rate)).await?;
    let (mut tally, usage) = replaced(&mut stage, &mut crew).await?;
    crew.dismiss().await?;
    if request == Request::Order {
        tally.counts.duplicated = executed_again(&book(&stage))?;
    }
    bench.saw(&stage);
    stage.stop().await;
    Ok(sample(&tally, usage))
}

async fn sockets(bench: &Bench, stack: Stack) -> Result<Sample> {
    let mut stage = running(stack, Server::Chat, 3, &bench.binaries).await?;
    let config = "beyond/06-many-sockets.conf";
    let nginx = start_edited_nginx(&mut stage, config, &with_max_fails_0).await?;
    let clients = bench.clients(CLIENTS);
    let mut crew = gather(vec![nginx], clients, |_worker| Then::Storm {
        away_since: Since::Break,
        patience: PATIENCE,
    })
    .await?;
    let opened = open(bench, &mut crew, clients).await?;
    let (mut tally, usage) = replaced(&mut stage, &mut crew).await?;
    crew.dismiss().await?;
    bench.saw(&stage);
    stage.stop().await;
    tally.counts.failed += opened.counts.failed;
    Ok(sample(&tally, usage))
}

/// Replaces the servers while the crew is at work, and tells it when that is done: the next
/// one goes once the new one accepts connections.
async fn replaced(stage: &mut Stage, crew: &mut Crew) -> Result<(Tally, Usage)> {
    let meter = Meter::start(stage, Some(crew));
    crew.go(clock::now()).await?;
    replace_one_by_one(stage, Signal::Term, AWAY).await?;
    let usage = meter.stop_with(stage, crew);
    crew.go(0).await?;
    let tally = crew.tally(&ProgressBar::hidden()).await?;
    Ok((tally, usage))
}

fn sample(tally: &Tally, usage: Usage) -> Sample {
    let mut figures: BTreeMap<_, _> = tally.times.figures();
    figures.extend(usage.figures());
    Sample {
        figures,
        counts: tally.counts,
        usage,
    }
}

/// How many lines of the book are of an order that was executed before.
fn executed_again(book: &Path) -> Result<u64> {
    let book = fs::read_to_string(book)?;
    let ids = book.lines().map(|line| line.split(' ').next());
    let distinct: HashSet<_> = ids.collect();
    Ok((book.lines().count() - distinct.len()) as u64)
}

/// No server is ever left alone for having failed, as in `06-max-fails-0.conf`, which has
/// no room for so many sockets.
fn with_max_fails_0(config: &str) -> String {
    let lines = config.lines().map(|line| match line.strip_suffix(';') {
        Some(server) if server.trim_start().starts_with("server ") => {
            format!("{server} max_fails=0;\n")
        }
        _ => format!("{line}\n"),
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_server_is_left_alone_for_having_failed() {
        let config = lab::nginx_config("beyond/06-many-sockets.conf").unwrap();
        let edited = with_max_fails_0(&config);
        assert_eq!(edited.matches(" max_fails=0;\n").count(), 3);
        assert_eq!(edited.replace(" max_fails=0", ""), config);
    }

    #[test]
    fn an_order_that_was_executed_again_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let book = folder.path().join("orders");
        fs::write(&book, "1 100\n2 100\n1 101\n3 101\n1 102\n").unwrap();
        assert_eq!(executed_again(&book).unwrap(), 2);
    }
}
