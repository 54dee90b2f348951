//! `load nginx`: what each line of nginx's config for many sockets is good for. The storm of
//! `load storm`, with the config as it is, and then with one thing changed at a time.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use lab::Stage;

use crate::{
    bench::Bench,
    metric::Metric,
    report::{Case, Sample},
    stack::{Server, Stack, running, start_edited_nginx},
    storm::storm,
};

/// Unless `--clients` says otherwise.
pub(crate) const CLIENTS: u32 = 3_000;

const CONFIG: &str = "beyond/06-many-sockets.conf";

/// The config with one thing changed.
struct Variant {
    id: &'static str,
    title: &'static str,
    /// What stands in the config, and what is to stand there.
    change: [&'static str; 2],
}

const VARIANTS: [Variant; 6] = [
    Variant {
        id: "as-it-is",
        title: "06-many-sockets.conf as it is",
        change: ["", ""],
    },
    Variant {
        id: "no-reuseport",
        title: "without reuseport: one queue for all workers, of 4,096",
        change: [" reuseport", ""],
    },
    Variant {
        id: "no-backlog",
        title: "without backlog: a queue for each worker, of 511",
        change: [" backlog=4096", ""],
    },
    Variant {
        id: "listen",
        title: "without both: one queue for all, of 511",
        change: [" reuseport backlog=4096", ""],
    },
    Variant {
        id: "one-worker",
        title: "worker_processes 1",
        change: ["worker_processes 8", "worker_processes 1"],
    },
    Variant {
        id: "large-buffer",
        title: "proxy_buffer_size 4k, nginx's default",
        change: ["proxy_buffer_size 1k", "proxy_buffer_size 4k"],
    },
];

/// The ways that are measured.
pub(crate) fn cases() -> Vec<Case> {
    let case = |variant: &Variant| {
        Case::new(
            variant.id,
            variant.title,
            Metric::MaxMs,
            ["attempts to come back", "back"],
        )
    };
    VARIANTS.iter().map(case).collect()
}

/// All variants once.
pub(crate) async fn round(bench: &Bench, stack: Stack) -> Result<Vec<Sample>> {
    let clients = bench.clients(CLIENTS);
    let mut samples = Vec::new();
    for variant in &VARIANTS {
        let mut stage = running(stack, Server::Chat, 3, &bench.binaries).await?;
        let nginx = variant.start(&mut stage).await?;
        let (opened, mut storm) = storm(bench, &mut stage, nginx, clients).await?;
        let bytes = opened.nginx_bytes;
        let bytes = bytes.map(|bytes| (Metric::NginxBytesPerSocket, bytes));
        storm
            .figures
            .insert(Metric::ConnectsPerSecond, opened.per_second);
        storm.figures.extend(bytes);
        bench.saw(&stage);
        stage.stop().await;
        samples.push(storm);
    }
    Ok(samples)
}

impl Variant {
    async fn start(&self, stage: &mut Stage) -> Result<SocketAddr> {
        let [from, to] = self.change;
        ensure!(
            lab::nginx_config(CONFIG)?.contains(from),
            "nginx/{CONFIG} has no `{}` to change: put it back",
            from.trim()
        );
        start_edited_nginx(stage, CONFIG, &|config| config.replacen(from, to, 1)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_variant_but_the_first_changes_the_config() {
        let config = lab::nginx_config(CONFIG).unwrap();
        for Variant { id, change, .. } in &VARIANTS {
            let edited = config.replacen(change[0], change[1], 1);
            assert_eq!(edited == config, *id == "as-it-is", "{id}");
        }
    }
}
