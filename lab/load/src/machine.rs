//! The machine: what it is, and what it allows.

use std::{fs, num::NonZero, thread};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;

/// What a figure was taken on.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    /// The processor's name.
    pub(crate) processor: String,
    /// How many cores this process may use.
    pub(crate) cores: u32,
    /// Memory in MiB.
    pub(crate) memory_mib: Option<u64>,
    /// The operating system and its version.
    pub(crate) system: String,
    /// How many descriptors a process may have.
    pub(crate) descriptors: u32,
}

impl Machine {
    pub(crate) fn this() -> Self {
        let processor = field("/proc/cpuinfo", "model name");
        let memory = field("/proc/meminfo", "MemTotal");
        let system = rustix::system::uname();
        Self {
            processor: processor.unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: cores(),
            memory_mib: memory
                .and_then(|memory| memory.strip_suffix(" kB")?.parse::<u64>().ok())
                .map(|kib| kib / 1_024),
            system: format!(
                "{} {}",
                system.sysname().to_string_lossy(),
                system.release().to_string_lossy()
            ),
            descriptors: descriptors(),
        }
    }
}

/// The value behind `name` and a colon, in a file of such lines.
fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// How many cores this process may use.
pub(crate) fn cores() -> u32 {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    u32::try_from(cores).unwrap_or(u32::MAX)
}

/// How many descriptors a process may have.
pub(crate) fn descriptors() -> u32 {
    let most = getrlimit(Resource::Nofile).current;
    most.and_then(|most| u32::try_from(most).ok())
        .unwrap_or(1 << 20)
}

/// Takes as many descriptors as are allowed, for this process and those that it starts.
pub(crate) fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    // More than that macOS gives to nobody.
    let most = if cfg!(target_os = "macos") {
        Some(10_240)
    } else {
        limit.maximum
    };
    // What is too few for a measurement is said there.
    let _as_before = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: most,
            maximum: limit.maximum,
        },
    );
}

/// How many packets the kernel has dropped since it started, for want of room in its table of
/// connections. None where it keeps no such table: it does for a firewall, and for Docker.
pub(crate) fn dropped_for_want_of_room() -> Option<u64> {
    dropped(&fs::read_to_string("/proc/net/stat/nf_conntrack").ok()?)
}

/// The sum of a column: a line of names, then one of hexadecimal numbers for each core.
fn dropped(table: &str) -> Option<u64> {
    let mut lines = table.lines();
    let column = lines
        .next()?
        .split_whitespace()
        .position(|name| name == "drop")?;
    let of_core = |line: &str| {
        let number = line.split_whitespace().nth(column)?;
        u64::from_str_radix(number, 16).ok()
    };
    lines.map(of_core).sum()
}

#[cfg(test)]
mod tests {
    use super::dropped;

    #[test]
    fn packets_that_were_dropped_are_summed_over_the_cores() {
        let table = "entries found new invalid drop early_drop\n\
                     00040000 00000000 00000000 00000060 00003966 00000005\n\
                     00040000 00000000 00000000 0000000d 00002895 00000002\n";
        assert_eq!(dropped(table), Some(0x3966 + 0x2895));
        assert_eq!(dropped("entries found\n00040000 00000000\n"), None);
        assert_eq!(dropped(""), None);
    }
}
