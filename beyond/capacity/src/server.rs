//! The hardened chat's server, with small limits of its own.

use std::{env, fs};

use anyhow::{Context, Result, bail};
use rustix::process::{Resource, Rlimit, setrlimit};

/// How many descriptors the server may have.
pub(crate) const DESCRIPTORS: &str = "DESCRIPTORS";
/// How many KiB of memory (address space) the server may use more than it has when it starts.
pub(crate) const MORE_MEMORY: &str = "MORE_MEMORY";
/// Where Linux tells how much a process has.
pub(crate) const STATUS: &str = "/proc/self/status";

/// Serves the chat on the port in the environment variable `PORT`. `DESCRIPTORS=64` and
/// `MORE_MEMORY=4096` (in KiB) limit what this process may use.
///
/// # Errors
/// When a limit cannot be set, and as for [`hardened_chat::serve`].
pub async fn serve() -> Result<()> {
    if let Some(descriptors) = number(DESCRIPTORS)? {
        limit(Resource::Nofile, descriptors)
            .with_context(|| format!("{DESCRIPTORS}={descriptors} cannot be set"))?;
    }
    if let Some(more) = number(MORE_MEMORY)? {
        let kib = address_space()?.saturating_add(more);
        limit(Resource::As, kib.saturating_mul(1024))
            .with_context(|| format!("{MORE_MEMORY}={more} cannot be set"))?;
    }
    hardened_chat::serve().await
}

fn number(name: &str) -> Result<Option<u64>> {
    let Ok(text) = env::var(name) else {
        return Ok(None);
    };
    match text.parse() {
        Ok(number) if number > 0 => Ok(Some(number)),
        _ => bail!("{name}={text} is not a number above 0"),
    }
}

fn limit(resource: Resource, most: u64) -> Result<()> {
    let limit = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    Ok(setrlimit(resource, limit)?)
}

/// The address space of this process, in KiB.
fn address_space() -> Result<u64> {
    let status = fs::read_to_string(STATUS)
        .with_context(|| format!("{MORE_MEMORY} needs Linux: there is no {STATUS}"))?;
    let size = status.lines().find_map(|line| {
        let kib = line.strip_prefix("VmSize:")?.strip_suffix("kB")?;
        kib.trim().parse().ok()
    });
    size.with_context(|| format!("{STATUS} has no VmSize"))
}
