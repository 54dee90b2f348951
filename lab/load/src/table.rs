//! The report on the terminal.

use anstyle::{AnsiColor, Style};

use crate::{
    metric::{Metric, digits, grouped},
    report::{Case, Report, Rounds, Spread},
    stack::Stack,
    tally::Counts,
};

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GREEN: Style = AnsiColor::Green.on_default();
const RED: Style = AnsiColor::Red.on_default().bold();

/// Width of the columns: what a figure is, and a stack's.
const NAME: usize = 21;
const FIGURE: usize = 17;

/// The lines of the report, with ANSI colours.
pub(crate) fn render(report: &Report) -> String {
    let mut text = format!("{BOLD}load {}{BOLD:#}\n", report.measured);
    let machine = &report.machine;
    let memory = machine.memory_mib.map_or(String::new(), |mib| {
        format!(", {} GiB", digits(mib as f64 / 1_024.0))
    });
    text.push_str(&line(
        "machine",
        &format!(
            "{}, {} cores{memory}, {}",
            machine.processor, machine.cores, machine.system
        ),
    ));
    for (name, origin) in &report.programs {
        text.push_str(&line(name, origin));
    }
    let asked = report.asked.iter();
    let asked: Vec<_> = asked
        .map(|(name, value)| format!("{name} {}", grouped(f64::from(*value))))
        .collect();
    text.push_str(&line("asked for", &asked.join(", ")));
    for case in &report.cases {
        text.push_str(&render_case(case));
    }
    if !report.warnings.is_empty() {
        text.push('\n');
    }
    for warning in &report.warnings {
        text.push_str(&format!("  {RED}!{RED:#} {warning}\n"));
    }
    text
}

fn line(name: &str, text: &str) -> String {
    format!("  {BOLD}{name:10}{BOLD:#}  {text}\n")
}

fn render_case(case: &Case) -> String {
    let mut text = format!("\n{BOLD}── {}{BOLD:#}\n", case.title);
    let mut head = " ".repeat(NAME);
    for stack in case.stacks.keys() {
        head.push_str(&format!("{:FIGURE$}", stack.to_string()));
    }
    if !case.ratios.is_empty() {
        head.push_str("Rust / Node");
    }
    text.push_str(&format!("  {DIM}{}{DIM:#}\n", head.trim_end()));
    let mut metrics: Vec<Metric> = case
        .stacks
        .values()
        .flat_map(|rounds| rounds.figures.keys().copied())
        .collect();
    metrics.sort();
    metrics.dedup();
    for metric in metrics {
        let mut row = format!("  {:NAME$}", metric.title());
        for rounds in case.stacks.values() {
            row.push_str(&format!("{:FIGURE$}", figure(metric, rounds)));
        }
        if let Some(ratio) = case.ratios.get(&metric) {
            row.push_str(&render_ratio(metric, *ratio));
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    for (stack, rounds) in &case.stacks {
        text.push_str(&render_counts(case, *stack, &rounds.counts));
    }
    text
}

/// `110,403 ±3 %`: the median, and how far the furthest round was from it.
fn figure(metric: Metric, rounds: &Rounds) -> String {
    let Some(spread) = rounds.figures.get(&metric) else {
        return "not measured".to_owned();
    };
    let median = metric.show(spread.median);
    if rounds.samples.len() < 2 {
        return median;
    }
    let off = (spread.most - spread.median).max(spread.median - spread.least);
    let percent = off / spread.median.abs().max(f64::MIN_POSITIVE) * 100.0;
    format!("{median} ±{percent:.0} %")
}

fn render_ratio(metric: Metric, ratio: Spread) -> String {
    let is_better = (ratio.median > 1.0) == metric.more_is_better();
    let style = if is_better { GREEN } else { RED };
    let median = format!("{style}{} ×{style:#}", digits(ratio.median));
    if (ratio.most - ratio.least).abs() < f64::EPSILON {
        return median;
    }
    format!("{median} ({}–{})", digits(ratio.least), digits(ratio.most))
}

fn render_counts(case: &Case, stack: Stack, counts: &Counts) -> String {
    let wrong: Vec<_> = counts
        .wrong()
        .into_iter()
        .map(|(what, count)| format!("{} {what}", grouped(count as f64)))
        .collect();
    let sent = grouped(counts.sent as f64);
    let delivered = grouped(counts.delivered as f64);
    let all = format!(
        "{stack}: {sent} {}, {delivered} {}",
        case.counted, case.came
    );
    if wrong.is_empty() {
        format!("  {GREEN}✓{GREEN:#} {all}; nothing wrong\n")
    } else {
        format!("  {RED}✗{RED:#} {all}; {RED}{}{RED:#}\n", wrong.join(", "))
    }
}
