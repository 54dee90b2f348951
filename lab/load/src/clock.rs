//! One clock for all processes of this machine.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since the machine started: the same for every process, so that one may
/// tell how long ago another sent something.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    u64::try_from(time.tv_sec).unwrap_or_default() * 1_000_000_000
        + u64::try_from(time.tv_nsec).unwrap_or_default()
}

/// How many microseconds ago that was.
pub(crate) fn micros_since(then: u64) -> u64 {
    now().saturating_sub(then) / 1_000
}
