//! A measurement from its beginning to its report: rounds in which the stacks take turns.

use std::{collections::BTreeMap, env};

use anyhow::Result;

use crate::{
    bench::Bench,
    broadcast, http,
    machine::{self, Machine},
    metric::grouped,
    nginx,
    options::{Measure, Options},
    polling, replace,
    report::{Case, Report, Sample},
    sockets,
    stack::Stack,
    start, storm,
};

/// Measures, and reports what was found.
pub(crate) async fn run(measure: &Measure, options: Options) -> Result<Report> {
    let bench = Bench::new(options).await?;
    let mut warnings = Vec::new();
    let stacks = bench.stacks(&mut warnings).await?;
    let mut cases = measure.cases();

    let dropped_before = machine::dropped_for_want_of_room();
    let rounds = bench.options.rounds;
    let bar = bench.bar(u64::from(rounds) * stacks.len() as u64);
    for round in 1..=rounds {
        // Whoever was first is second in the next round.
        let turn = round as usize % stacks.len();
        for stack in stacks.iter().cycle().skip(turn).take(stacks.len()) {
            bar.set_message(format!("{stack}, round {round} of {rounds}"));
            let samples = measure.round(&bench, *stack).await?;
            for (case, sample) in cases.iter_mut().zip(samples) {
                case.add(*stack, sample);
            }
            bar.inc(1);
        }
    }
    bar.finish_and_clear();

    let mut report = Report {
        measured: measure.name(),
        command: env::args().skip(1).collect::<Vec<_>>().join(" "),
        machine: Machine::this(),
        programs: bench.programs.take(),
        asked: measure.asked(&bench.options),
        cases,
        warnings,
    };
    let complaints = bench.complaints.take();
    if let Some(first) = complaints.first() {
        report.warnings.push(format!(
            "nginx logged {} errors; the first: {first}",
            grouped(complaints.len() as f64)
        ));
    }
    let dropped = machine::dropped_for_want_of_room()
        .zip(dropped_before)
        .map_or(0, |(now, before)| now.saturating_sub(before));
    if dropped > 0 {
        report.warnings.push(format!(
            "the kernel dropped {} packets, because its table of connections (conntrack) is full: \
             measure again with a larger net.netfilter.nf_conntrack_max",
            grouped(dropped as f64)
        ));
    }
    report.judge();
    Ok(report)
}

impl Measure {
    /// What was asked for, in words and numbers.
    fn asked(&self, options: &Options) -> BTreeMap<&'static str, u32> {
        let mut asked = BTreeMap::from([("rounds", options.rounds)]);
        if let Some(clients) = self.clients() {
            asked.insert("clients", options.clients.unwrap_or(clients));
            asked.insert("seconds", options.seconds);
        }
        if let Some(rate) = self.rate(options) {
            asked.insert("rate", rate);
        }
        asked
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::Sockets(_) => "sockets",
            Self::Broadcast(_) => "broadcast",
            Self::Polling(_) => "polling",
            Self::Storm(_) => "storm",
            Self::Replace(_) => "replace",
            Self::Nginx(_) => "nginx",
            Self::Start(_) => "start",
            Self::Worker => "worker",
        }
    }

    /// So many clients, unless `--clients` says otherwise; none where there are none.
    fn clients(&self) -> Option<u32> {
        match self {
            Self::Http(_) => Some(http::CLIENTS),
            Self::Sockets(_) => Some(sockets::CLIENTS),
            Self::Broadcast(_) => Some(broadcast::CLIENTS),
            Self::Polling(_) => Some(polling::CLIENTS),
            Self::Storm(_) => Some(storm::CLIENTS),
            Self::Replace(_) => Some(replace::CLIENTS),
            Self::Nginx(_) => Some(nginx::CLIENTS),
            Self::Start(_) | Self::Worker => None,
        }
    }

    /// So many a second, unless `--rate` says otherwise; none for as many as there can be.
    fn rate(&self, options: &Options) -> Option<u32> {
        match self {
            Self::Http(_) => options.rate,
            Self::Polling(_) => options.rate.or(Some(polling::RATE)),
            Self::Replace(_) => options.rate.or(Some(replace::RATE)),
            _ => None,
        }
    }

    fn cases(&self) -> Vec<Case> {
        match self {
            Self::Http(_) => http::cases(),
            Self::Sockets(asked) => sockets::cases(asked.transport),
            Self::Broadcast(_) => broadcast::cases(),
            Self::Polling(_) => polling::cases(),
            Self::Storm(_) => storm::cases(),
            Self::Replace(_) => replace::cases(),
            Self::Nginx(_) => nginx::cases(),
            Self::Start(_) => start::cases(),
            Self::Worker => Vec::new(),
        }
    }

    /// All cases once, with one stack.
    async fn round(&self, bench: &Bench, stack: Stack) -> Result<Vec<Sample>> {
        match self {
            Self::Http(_) => http::round(bench, stack).await,
            Self::Sockets(asked) => sockets::round(bench, stack, asked.transport).await,
            Self::Broadcast(_) => broadcast::round(bench, stack).await,
            Self::Polling(_) => polling::round(bench, stack).await,
            Self::Storm(_) => storm::round(bench, stack).await,
            Self::Replace(_) => replace::round(bench, stack).await,
            Self::Nginx(_) => nginx::round(bench, stack).await,
            Self::Start(_) => start::round(bench, stack).await,
            Self::Worker => Ok(Vec::new()),
        }
    }
}
