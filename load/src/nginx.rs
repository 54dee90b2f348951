//! `load nginx`: what each line of nginx's config for many sockets is good for. The config
//! as it is, then with one thing changed at a time.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use lab::Stage;

use crate::{
    bench::Bench,
    metric::Metric,
    report::{Case, Sample},
    sockets::opened_and_held,
    stack::{Server, Stack, running, start_edited_nginx},
    worker::crowd::Transport,
};

/// Unless `--clients` says otherwise.
pub(crate) const CLIENTS: u32 = 3_000;

const CONFIG: &str = "06-many-sockets.conf";

const PASS: &str = "            proxy_pass";

/// The config with one thing changed.
struct Variant {
    id: &'static str,
    title: &'static str,
    /// What stands in the config, and what is to stand there.
    change: [&'static str; 2],
    metric: Metric,
}

const VARIANTS: [Variant; 6] = [
    Variant {
        id: "as-it-is",
        title: "06-many-sockets.conf as it is",
        change: ["", ""],
        metric: Metric::ConnectsPerSecond,
    },
    Variant {
        id: "no-reuseport",
        title: "without reuseport: the workers share one queue",
        change: ["listen 3000 reuseport ", "listen 3000 "],
        metric: Metric::ConnectsPerSecond,
    },
    Variant {
        id: "no-backlog",
        title: "without backlog=4096: nginx asks for a queue of 511",
        change: [" backlog=4096;", ";"],
        metric: Metric::ConnectsPerSecond,
    },
    Variant {
        id: "one-worker",
        title: "worker_processes 1",
        change: ["worker_processes 8;", "worker_processes 1;"],
        metric: Metric::ConnectsPerSecond,
    },
    Variant {
        id: "small-buffer",
        title: "proxy_buffer_size 1k, where it is 4k",
        change: [
            PASS,
            "            proxy_buffer_size 1k;\n            proxy_pass",
        ],
        metric: Metric::NginxBytesPerSocket,
    },
    Variant {
        id: "large-buffer",
        title: "proxy_buffer_size 16k",
        change: [
            PASS,
            "            proxy_buffer_size 16k;\n            proxy_busy_buffers_size 20k;\n            proxy_pass",
        ],
        metric: Metric::NginxBytesPerSocket,
    },
];

/// The ways that are measured.
pub(crate) fn cases() -> Vec<Case> {
    let case = |variant: &Variant| {
        Case::new(
            variant.id,
            variant.title,
            variant.metric,
            ["connections begun", "open"],
        )
    };
    VARIANTS.iter().map(case).collect()
}

/// All variants once, each with an nginx that has just started.
pub(crate) async fn round(bench: &Bench, stack: Stack) -> Result<Vec<Sample>> {
    let mut stage = running(stack, Server::Chat, 3, &bench.binaries).await?;
    let mut samples = Vec::new();
    for variant in &VARIANTS {
        let nginx = variant.start(&mut stage).await?;
        let [mut opened, held] =
            opened_and_held(bench, &stage, nginx, Transport::WebSocket).await?;
        let metric = Metric::NginxBytesPerSocket;
        let bytes = held.figures.get(&metric).map(|bytes| (metric, *bytes));
        opened.figures.extend(bytes);
        opened.counts.lost += held.counts.lost;
        samples.push(opened);
    }
    bench.saw(&stage);
    stage.stop().await;
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
