//! What a measurement costs: CPU time and memory by process, and who else was at work.

use std::{collections::BTreeMap, time::Instant};

use lab::Stage;
use serde::Serialize;

use crate::{crew::Crew, metric::Metric, processes};

/// The processes of a stage and its load, by what they are.
pub(crate) struct Meter {
    parts: BTreeMap<Part, Vec<u32>>,
    cpu: BTreeMap<u32, f64>,
    cores: Vec<processes::Core>,
    begun: Instant,
}

/// What a process is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Part {
    Servers,
    Nginx,
    Redis,
    /// The workers and their boss.
    Load,
}

/// What was used between two moments.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Usage {
    /// Seconds between them.
    pub(crate) seconds: f64,
    /// By part; empty where this system does not tell.
    pub(crate) parts: BTreeMap<Part, PartUsage>,
    /// Share of the time in which each core was busy, 0 to 1.
    pub(crate) cores: Vec<f64>,
    /// Share of one core that the busiest worker took, 0 to 1.
    pub(crate) busiest_worker: f64,
    /// Share of all cores that others than this measurement took, 0 to 1. A virtual
    /// machine's host counts as well.
    pub(crate) others: f64,
}

/// What the processes of one part used.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct PartUsage {
    /// CPU seconds of all.
    pub(crate) cpu_seconds: f64,
    /// Resident memory of all at the end, in bytes.
    pub(crate) rss_bytes: u64,
    /// Each of them.
    pub(crate) processes: Vec<ProcessUsage>,
}

/// What one process used.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct ProcessUsage {
    pub(crate) pid: u32,
    pub(crate) cpu_seconds: f64,
    pub(crate) rss_bytes: u64,
}

impl Meter {
    /// Begins to measure.
    pub(crate) fn start(stage: &Stage, crew: Option<&Crew>) -> Self {
        let parts = processes_of(stage, crew);
        let pids = parts.values().flatten();
        Self {
            cpu: pids
                .filter_map(|pid| Some((*pid, processes::cpu_seconds(*pid)?)))
                .collect(),
            parts,
            cores: processes::cores(),
            begun: Instant::now(),
        }
    }

    /// What was used since. A process that is gone by now is not in it.
    pub(crate) fn stop(&self) -> Usage {
        self.used_by(&self.parts)
    }

    /// The same, by those that are there now: some were started since.
    pub(crate) fn stop_with(&self, stage: &Stage, crew: &Crew) -> Usage {
        self.used_by(&processes_of(stage, Some(crew)))
    }

    fn used_by(&self, by_part: &BTreeMap<Part, Vec<u32>>) -> Usage {
        let seconds = self.begun.elapsed().as_secs_f64();
        let used = |pid: &u32| {
            Some(ProcessUsage {
                pid: *pid,
                cpu_seconds: processes::cpu_seconds(*pid)?
                    - self.cpu.get(pid).copied().unwrap_or_default(),
                rss_bytes: processes::rss(*pid)?,
            })
        };
        let mut parts = BTreeMap::new();
        for (part, pids) in by_part {
            let processes: Vec<_> = pids.iter().filter_map(used).collect();
            if !processes.is_empty() {
                parts.insert(*part, PartUsage::of(processes));
            }
        }
        let busiest_worker = parts.get(&Part::Load).map_or(0.0, PartUsage::busiest) / seconds;
        let cores: Vec<_> = processes::cores()
            .iter()
            .zip(&self.cores)
            .map(|(now, before)| now.busy_since(before))
            .collect();
        let all = cores.iter().sum::<f64>() / (cores.len().max(1) as f64);
        let own: f64 = parts.values().map(|part| part.cpu_seconds).sum();
        let own = own / seconds / (cores.len().max(1) as f64);
        Usage {
            seconds,
            parts,
            cores,
            busiest_worker,
            others: (all - own).max(0.0),
        }
    }
}

/// The processes that there are.
fn processes_of(stage: &Stage, crew: Option<&Crew>) -> BTreeMap<Part, Vec<u32>> {
    let letters = ('A'..='Z').take(stage.servers.addresses().len());
    let servers = letters.filter_map(|letter| stage.servers.pid(letter));
    let nginx = stage.nginx.pid().into_iter().flat_map(processes::family);
    let workers = crew.map(Crew::pids).unwrap_or_default();
    let load = workers.into_iter().chain([std::process::id()]);
    BTreeMap::from([
        (Part::Servers, servers.collect()),
        (Part::Nginx, nginx.collect()),
        (Part::Redis, stage.redis.pid().into_iter().collect()),
        (Part::Load, load.collect()),
    ])
}

impl PartUsage {
    fn of(processes: Vec<ProcessUsage>) -> Self {
        Self {
            cpu_seconds: processes.iter().map(|process| process.cpu_seconds).sum(),
            rss_bytes: processes.iter().map(|process| process.rss_bytes).sum(),
            processes,
        }
    }

    /// CPU seconds of the process that used most.
    fn busiest(&self) -> f64 {
        let used = self.processes.iter().map(|process| process.cpu_seconds);
        used.fold(0.0, f64::max)
    }
}

impl Usage {
    /// CPU seconds of the servers.
    pub(crate) fn servers_cpu(&self) -> Option<f64> {
        Some(self.parts.get(&Part::Servers)?.cpu_seconds)
    }

    /// Resident memory of a part, in bytes.
    pub(crate) fn rss(&self, part: Part) -> Option<f64> {
        Some(self.parts.get(&part)?.rss_bytes as f64)
    }

    /// How many cores' worth of time each part took.
    pub(crate) fn figures(&self) -> BTreeMap<Metric, f64> {
        let metrics = [
            (Part::Servers, Metric::ServerCores),
            (Part::Nginx, Metric::NginxCores),
            (Part::Load, Metric::LoadCores),
        ];
        let figures = metrics.into_iter().filter_map(|(part, metric)| {
            let usage = self.parts.get(&part)?;
            Some((metric, usage.cpu_seconds / self.seconds))
        });
        figures.collect()
    }

    /// Whether a worker had no time left, or all cores were busy and a half of that was
    /// for the load: then the stack may do better than what was seen.
    pub(crate) fn is_bound_by_load(&self) -> bool {
        let load = self
            .parts
            .get(&Part::Load)
            .map_or(0.0, |load| load.cpu_seconds);
        let busy: f64 = self.cores.iter().sum();
        let is_full = busy > self.cores.len() as f64 * 0.95;
        self.busiest_worker > 0.9 || (is_full && load > busy * self.seconds / 2.0)
    }
}
