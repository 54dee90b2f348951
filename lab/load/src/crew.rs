//! The workers of a measurement, all at the same work.

use std::{env, ops::Range, process::Stdio};

use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use crate::{
    machine::{cores, descriptors},
    tally::Tally,
    worker::{Job, Said},
};

/// The argument that makes this program a worker.
pub(crate) const WORKER: &str = "worker";

/// How clients are shared out: one range of numbers a worker.
///
/// As many workers as there are cores, or more where `each` client needs so many
/// descriptors that one worker may not have them all.
pub(crate) fn shares(clients: u32, each: u32) -> Vec<Range<u32>> {
    // Some descriptors are a worker's own.
    let most = (descriptors().saturating_sub(100) / each).max(1);
    let workers = clients.div_ceil(most).max(cores()).min(clients.max(1));
    (0..workers)
        .map(|worker| {
            let at = |worker: u32| {
                let clients = u64::from(clients) * u64::from(worker) / u64::from(workers);
                u32::try_from(clients).expect("a part of the clients")
            };
            at(worker)..at(worker + 1)
        })
        .collect()
}

/// Running workers. Dropping it ends them.
pub(crate) struct Crew {
    workers: Vec<Worker>,
}

struct Worker {
    process: Child,
    orders: ChildStdin,
    says: Lines<BufReader<ChildStdout>>,
}

impl Crew {
    /// Starts a worker for each job.
    pub(crate) async fn start(jobs: Vec<Job>) -> Result<Self> {
        let own = env::current_exe().context("this program's own path is unknown")?;
        let mut workers = Vec::new();
        for job in jobs {
            let mut process = Command::new(&own)
                .arg(WORKER)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .context("a worker cannot be started")?;
            let orders = process.stdin.take().context("a worker without stdin")?;
            let says = process.stdout.take().context("a worker without stdout")?;
            let mut worker = Worker {
                process,
                orders,
                says: BufReader::new(says).lines(),
            };
            worker.order(&serde_json::to_string(&job)?).await?;
            workers.push(worker);
        }
        Ok(Self { workers })
    }

    /// Gives the order to go on, with a number where the job takes one.
    pub(crate) async fn go(&mut self, number: u64) -> Result<()> {
        for worker in &mut self.workers {
            worker.order(&number.to_string()).await?;
        }
        Ok(())
    }

    /// Waits until all have told what they counted; one tally of it all.
    pub(crate) async fn tally(&mut self, progress: &ProgressBar) -> Result<Tally> {
        let mut tallies = Vec::new();
        for worker in &mut self.workers {
            tallies.push(worker.tally(progress).await?);
        }
        Ok(Tally::of(&tallies))
    }

    /// The workers' processes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.workers
            .iter()
            .filter_map(|worker| worker.process.id())
            .collect()
    }

    /// Ends them, and waits until their connections are closed.
    pub(crate) async fn dismiss(self) -> Result<()> {
        for mut worker in self.workers {
            drop(worker.orders);
            worker.process.wait().await?;
        }
        Ok(())
    }
}

impl Worker {
    async fn order(&mut self, line: &str) -> Result<()> {
        let written = self.orders.write_all(format!("{line}\n").as_bytes()).await;
        written.context("a worker has ended before its time")
    }

    async fn tally(&mut self, progress: &ProgressBar) -> Result<Tally> {
        while let Some(line) = self.says.next_line().await? {
            match serde_json::from_str(&line)? {
                Said::Progress(more) => progress.inc(more),
                Said::Tally(tally) => return Ok(tally),
            }
        }
        bail!("a worker has ended before its time")
    }
}

#[cfg(test)]
mod tests {
    use super::shares;

    #[test]
    fn every_client_is_one_workers() {
        for clients in [1, 2, 3, 64, 30_000] {
            let shares = shares(clients, 1);
            assert_eq!(
                (shares[0].start, shares[shares.len() - 1].end),
                (0, clients)
            );
            assert!(shares.windows(2).all(|pair| pair[0].end == pair[1].start));
            assert!(shares.iter().all(|share| !share.is_empty()));
        }
    }

    #[test]
    fn more_descriptors_than_a_process_may_have_are_more_processes() {
        let one = super::descriptors();
        assert!(shares(one * 3, 1).len() >= 4);
        assert!(shares(one, 3).len() >= 3);
    }
}
