//! CPU time and memory of processes, from `/proc`: on Linux. Elsewhere there is nothing,
//! and the report says so.

#[cfg(target_os = "linux")]
pub(crate) use linux::*;
#[cfg(not(target_os = "linux"))]
pub(crate) use nothing::*;

/// What a core has done since the machine started, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Core {
    busy: f64,
    idle: f64,
}

impl Core {
    /// Share of the time since an earlier moment in which it was busy, 0 to 1.
    pub(crate) fn busy_since(&self, before: &Self) -> f64 {
        let (busy, idle) = (self.busy - before.busy, self.idle - before.idle);
        if busy + idle > 0.0 {
            busy / (busy + idle)
        } else {
            0.0
        }
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use procfs::{CurrentSI, KernelStats, WithCurrentSystemInfo, process::Process};

    use super::Core;

    /// CPU seconds that a process has used, in user mode and in the kernel.
    pub(crate) fn cpu_seconds(pid: u32) -> Option<f64> {
        let stat = process(pid)?.stat().ok()?;
        Some((stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64)
    }

    /// Resident memory of a process, in bytes.
    pub(crate) fn rss(pid: u32) -> Option<u64> {
        Some(process(pid)?.stat().ok()?.rss_bytes().get())
    }

    /// A process and its children.
    pub(crate) fn family(pid: u32) -> Vec<u32> {
        let children = process(pid)
            .and_then(|process| process.task_main_thread().ok())
            .and_then(|task| task.children().ok())
            .unwrap_or_default();
        std::iter::once(pid).chain(children).collect()
    }

    /// All cores; what a virtual machine's host took is busy time.
    pub(crate) fn cores() -> Vec<Core> {
        let cores = KernelStats::current().map(|stats| stats.cpu_time);
        let cores = cores.unwrap_or_default().into_iter().map(|core| {
            let waits = core.iowait_duration().unwrap_or_default();
            let stolen = core.steal_duration().unwrap_or_default();
            let interrupts = core.irq_duration().unwrap_or_default()
                + core.softirq_duration().unwrap_or_default();
            let works = core.user_duration() + core.nice_duration() + core.system_duration();
            Core {
                busy: (works + interrupts + stolen).as_secs_f64(),
                idle: (core.idle_duration() + waits).as_secs_f64(),
            }
        });
        cores.collect()
    }

    fn process(pid: u32) -> Option<Process> {
        Process::new(pid.cast_signed()).ok()
    }
}

#[cfg(not(target_os = "linux"))]
mod nothing {
    use super::Core;

    pub(crate) fn cpu_seconds(_pid: u32) -> Option<f64> {
        None
    }

    pub(crate) fn rss(_pid: u32) -> Option<u64> {
        None
    }

    pub(crate) fn family(pid: u32) -> Vec<u32> {
        vec![pid]
    }

    pub(crate) fn cores() -> Vec<Core> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_is_busy_for_its_share_of_the_time_between() {
        let before = Core {
            busy: 10.0,
            idle: 90.0,
        };
        let now = Core {
            busy: 13.0,
            idle: 91.0,
        };
        assert!((now.busy_since(&before) - 0.75).abs() < 1e-9);
        assert!(before.busy_since(&before).abs() < 1e-9);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory_and_uses_time() {
        let own = std::process::id();
        assert!(rss(own).unwrap() > 1 << 20);
        assert!(cpu_seconds(own).is_some() && !cores().is_empty());
        assert!(family(own).contains(&own));
    }
}
