//! What a measurement found: all rounds as they were, their medians, and the ratios.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{machine::Machine, meter::Usage, metric::Metric, stack::Stack, tally::Counts};

/// One measurement, as `--json` writes it. `load/README.md` describes the fields.
#[derive(Serialize)]
pub(crate) struct Report {
    /// What was measured: `http`, `sockets`, …
    pub(crate) measured: &'static str,
    /// The command line.
    pub(crate) command: String,
    pub(crate) machine: Machine,
    /// nginx, Redis and Node, as far as they took part.
    pub(crate) programs: BTreeMap<&'static str, String>,
    /// How much was asked for.
    pub(crate) asked: BTreeMap<&'static str, u32>,
    pub(crate) cases: Vec<Case>,
    /// What a reader must know before the figures are believed.
    pub(crate) warnings: Vec<String>,
}

/// One way of doing it.
#[derive(Serialize)]
pub(crate) struct Case {
    /// Its name, for programs.
    pub(crate) name: &'static str,
    /// Its name, for people.
    pub(crate) title: &'static str,
    /// The figure that it is about.
    pub(crate) headline: Metric,
    /// What `sent` counts: `requests`, `messages`, …
    pub(crate) counted: &'static str,
    /// What `delivered` counts: `answers`, `deliveries`, …
    pub(crate) came: &'static str,
    pub(crate) stacks: BTreeMap<Stack, Rounds>,
    /// Rust's figure divided by Node's of the same round.
    pub(crate) ratios: BTreeMap<Metric, Spread>,
}

/// All rounds of a stack.
#[derive(Default, Serialize)]
pub(crate) struct Rounds {
    #[serde(rename = "rounds")]
    pub(crate) samples: Vec<Sample>,
    /// Over the rounds.
    pub(crate) figures: BTreeMap<Metric, Spread>,
    /// Sums over the rounds.
    pub(crate) counts: Counts,
}

/// What one round of a case found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sample {
    pub(crate) figures: BTreeMap<Metric, f64>,
    pub(crate) counts: Counts,
    /// CPU and memory while it was measured.
    pub(crate) usage: Usage,
}

/// The share of the machine that others may take before figures say little.
const DISTURBED: f64 = 0.1;

/// A median, and the least and the most.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// `None` of nothing.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let upper = values[values.len() / 2];
        let lower = values[(values.len() - 1) / 2];
        Some(Self {
            median: f64::midpoint(lower, upper),
            least,
            most,
        })
    }
}

impl Case {
    pub(crate) fn new(
        name: &'static str,
        title: &'static str,
        headline: Metric,
        [counted, came]: [&'static str; 2],
    ) -> Self {
        Self {
            name,
            title,
            headline,
            counted,
            came,
            stacks: BTreeMap::new(),
            ratios: BTreeMap::new(),
        }
    }

    /// Adds a round, and reckons anew.
    pub(crate) fn add(&mut self, stack: Stack, sample: Sample) {
        let rounds = self.stacks.entry(stack).or_default();
        rounds.counts += sample.counts;
        rounds.samples.push(sample);
        rounds.figures = rounds.spreads();
        self.ratios = self.reckon_ratios();
    }

    /// Round by round: what was the same for both in one round is not in the ratio.
    fn reckon_ratios(&self) -> BTreeMap<Metric, Spread> {
        let (Some(rust), Some(node)) =
            (self.stacks.get(&Stack::Rust), self.stacks.get(&Stack::Node))
        else {
            return BTreeMap::new();
        };
        let ratio = |metric: &Metric| {
            let pairs = rust.samples.iter().zip(&node.samples);
            let ratios = pairs.filter_map(|(rust, node)| {
                let (rust, node) = (rust.figures.get(metric)?, node.figures.get(metric)?);
                // Less than nothing, or nothing, is no measure to divide by.
                (*rust > 0.0 && *node > 0.0).then(|| rust / node)
            });
            Some((*metric, Spread::of(ratios)?))
        };
        let compared = rust.figures.keys().filter(|metric| metric.is_compared());
        compared.filter_map(ratio).collect()
    }
}

impl Rounds {
    fn spreads(&self) -> BTreeMap<Metric, Spread> {
        let mut values: BTreeMap<Metric, Vec<f64>> = BTreeMap::new();
        for sample in &self.samples {
            for (metric, value) in &sample.figures {
                values.entry(*metric).or_default().push(*value);
            }
        }
        values
            .into_iter()
            .filter_map(|(metric, values)| Some((metric, Spread::of(values)?)))
            .collect()
    }
}

impl Report {
    /// Whether something was sent in each case, and nothing went wrong.
    pub(crate) fn is_faultless(&self) -> bool {
        let mut stacks = self.cases.iter().flat_map(|case| case.stacks.values());
        stacks.all(|rounds| rounds.counts.sent > 0 && rounds.counts.wrong().is_empty())
    }

    /// Says where the figures are not the stacks' own.
    pub(crate) fn judge(&mut self) {
        let mut disturbed = Vec::new();
        for case in &self.cases {
            for (stack, rounds) in &case.stacks {
                let usages = || rounds.samples.iter().map(|round| &round.usage);
                disturbed.extend(usages().map(|usage| usage.others));
                let bound = usages().filter(|usage| usage.is_bound_by_load()).count();
                if bound > 0 {
                    self.warnings.push(format!(
                        "{}, {stack}: in {bound} of {} rounds this load generator was itself the bottleneck; \
                         {stack} may do better than it says",
                        case.title,
                        rounds.samples.len()
                    ));
                }
            }
        }
        let all = disturbed.len();
        disturbed.retain(|others| *others > DISTURBED);
        if let Some(others) = Spread::of(disturbed.iter().copied()) {
            self.warnings.push(format!(
                "other programs took up to {:.0} % of this machine, and more than {:.0} % in {} of {all} samples: \
                 these figures are to be taken again when it is quiet",
                others.most * 100.0,
                DISTURBED * 100.0,
                disturbed.len()
            ));
        }
        if !cfg!(target_os = "linux") {
            let text = "CPU time and memory are measured only on Linux; they are missing here";
            self.warnings.push(text.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(rate: f64, busiest_worker: f64) -> Sample {
        Sample {
            figures: BTreeMap::from([(Metric::RequestsPerSecond, rate)]),
            counts: Counts {
                sent: 1,
                ..Counts::default()
            },
            usage: Usage {
                busiest_worker,
                ..Usage::default()
            },
        }
    }

    #[test]
    fn a_median_is_the_middle_one_or_between_the_two() {
        let spread = |values: &[f64]| Spread::of(values.iter().copied());
        assert_eq!(spread(&[]), None);
        let odd = spread(&[3.0, 1.0, 9.0]).unwrap();
        assert_eq!((odd.median, odd.least, odd.most), (3.0, 1.0, 9.0));
        assert!((spread(&[1.0, 2.0, 4.0, 9.0]).unwrap().median - 3.0).abs() < 1e-9);
    }

    #[test]
    fn a_ratio_is_of_the_same_round() {
        let mut case = Case::new(
            "one",
            "one",
            Metric::RequestsPerSecond,
            ["requests", "answers"],
        );
        // The machine was twice as fast in the second round.
        for (rust, node) in [(100.0, 10.0), (200.0, 20.0), (90.0, 10.0)] {
            case.add(Stack::Rust, sample(rust, 0.0));
            case.add(Stack::Node, sample(node, 0.0));
        }
        let ratio = case.ratios[&Metric::RequestsPerSecond];
        assert_eq!((ratio.median, ratio.least, ratio.most), (10.0, 9.0, 10.0));
        assert_eq!(case.stacks[&Stack::Rust].counts.sent, 3);
    }

    #[test]
    fn it_says_when_the_generator_was_the_bottleneck() {
        let mut case = Case::new(
            "one",
            "one process",
            Metric::RequestsPerSecond,
            ["requests", "answers"],
        );
        case.add(Stack::Rust, sample(1.0, 0.97));
        case.add(Stack::Node, sample(1.0, 0.2));
        let mut report = Report {
            measured: "http",
            command: String::new(),
            machine: Machine::this(),
            programs: BTreeMap::new(),
            asked: BTreeMap::new(),
            cases: vec![case],
            warnings: Vec::new(),
        };
        assert!(report.is_faultless());
        report.judge();
        let said = |words: &str| {
            report
                .warnings
                .iter()
                .any(|warning| warning.contains(words))
        };
        assert!(said(
            "one process, Rust: in 1 of 1 rounds this load generator was itself"
        ));
        assert!(!said("one process, Node"));
    }
}
