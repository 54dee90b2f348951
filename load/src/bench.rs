//! A measurement from its beginning to its report: rounds in which the stacks take turns.

use std::{cell::RefCell, collections::BTreeMap, env, time::Duration};

use anyhow::Result;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use lab::{Event, Stage, event::Part};

use crate::{
    binaries::Binaries,
    broadcast, http,
    machine::{self, Machine},
    metric::grouped,
    nginx,
    options::{Measure, Options},
    peer, polling, replace,
    report::{Case, Report, Sample},
    sockets,
    stack::{Stack, Stacks},
    start, storm,
};

/// What all rounds share.
pub(crate) struct Bench {
    pub(crate) options: Options,
    pub(crate) binaries: Binaries,
    bars: MultiProgress,
    programs: RefCell<BTreeMap<&'static str, String>>,
    complaints: RefCell<Vec<String>>,
}

/// Measures, and reports what was found.
pub(crate) async fn run(measure: &Measure, options: Options) -> Result<Report> {
    let bench = Bench {
        binaries: Binaries::find().await?,
        bars: MultiProgress::new(),
        programs: RefCell::default(),
        complaints: RefCell::default(),
        options,
    };
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
            "nginx complained {} times; first: {first}",
            grouped(complaints.len() as f64)
        ));
    }
    let dropped = machine::dropped_for_want_of_room()
        .zip(dropped_before)
        .map_or(0, |(now, before)| now.saturating_sub(before));
    if dropped > 0 {
        report.warnings.push(format!(
            "the kernel dropped {} packets, for it tracks connections and its table is full: \
             take these figures again with a larger net.netfilter.nf_conntrack_max",
            grouped(dropped as f64)
        ));
    }
    report.judge();
    Ok(report)
}

impl Bench {
    /// The stacks to measure. Without Node, both are Rust alone, and the report says so.
    async fn stacks(&self, warnings: &mut Vec<String>) -> Result<Vec<Stack>> {
        if self.options.stack == Stacks::Rust {
            return Ok(vec![Stack::Rust]);
        }
        let only = self.options.stack == Stacks::Node;
        match peer::ready().await {
            Ok(about) => {
                self.programs.borrow_mut().insert("node", about);
                Ok(if only {
                    vec![Stack::Node]
                } else {
                    vec![Stack::Rust, Stack::Node]
                })
            }
            Err(reason) if only => Err(reason),
            Err(reason) => {
                warnings.push(format!("Rust is measured alone: {reason}"));
                Ok(vec![Stack::Rust])
            }
        }
    }

    pub(crate) fn clients(&self, unless_said: u32) -> u32 {
        self.options.clients.unwrap_or(unless_said)
    }

    pub(crate) fn duration(&self) -> Duration {
        Duration::from_secs(self.options.seconds.into())
    }

    /// Time before that in which nothing is counted.
    pub(crate) fn warm_up(&self) -> Duration {
        self.duration().min(Duration::from_secs(1))
    }

    /// Notes which nginx and Redis a stage has, and what nginx complained about.
    pub(crate) fn saw(&self, stage: &Stage) {
        let seen = stage.observer().so_far();
        let complaints = seen.iter().filter_map(|seen| match &seen.event {
            Event::Said {
                part: Part::Nginx,
                line,
            } => Some(complaint(line)),
            _ => None,
        });
        self.complaints.borrow_mut().extend(complaints);
        let mut programs = self.programs.borrow_mut();
        if let Some(origin) = stage.nginx_origin() {
            programs.insert("nginx", origin.to_owned());
        }
        if let Some((origin, _)) = stage.redis_origin() {
            programs.insert("redis", origin);
        }
    }

    /// A bar that fills up; where no terminal is, there is none.
    pub(crate) fn bar(&self, length: u64) -> ProgressBar {
        let style = ProgressStyle::with_template("  {bar:30} {human_pos} of {human_len}  {msg}");
        let bar = self.bars.add(ProgressBar::new(length));
        bar.set_style(style.expect("a template"));
        bar.tick();
        bar
    }
}

/// What nginx's error log says, less when, who wrote it, and for whom.
fn complaint(line: &str) -> String {
    let said = line.split_once('#').map_or(line, |(_, rest)| rest);
    let said = said.split_once(": ").map_or(said, |(_, said)| said);
    let said = said.split(", client: ").next().unwrap_or(said);
    match said.strip_prefix('*').and_then(|said| said.split_once(' ')) {
        Some((_connection, said)) => said.to_owned(),
        None => said.to_owned(),
    }
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

#[cfg(test)]
mod tests {
    use super::complaint;

    #[test]
    fn a_complaint_is_what_nginx_says_and_not_when_or_for_whom() {
        for (line, said) in [
            (
                "2026/11/24 14:58:00 [crit] 7#7: *57 connect() to 127.0.0.1:8000 failed (99: Cannot \
                 assign requested address) while connecting to upstream, client: 127.0.9.1, server: ",
                "connect() to 127.0.0.1:8000 failed (99: Cannot assign requested address) while \
                 connecting to upstream",
            ),
            (
                "2026/11/24 14:58:00 [alert] 7#7: 1024 worker_connections are not enough",
                "1024 worker_connections are not enough",
            ),
        ] {
            assert_eq!(complaint(line), said);
        }
    }
}
