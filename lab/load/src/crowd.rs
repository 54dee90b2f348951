//! What `sockets`, `broadcast` and `storm` have in common: a crowd of sockets.

use std::net::SocketAddr;

use anyhow::Result;

use crate::{
    bench::Bench,
    crew::{Crew, shares},
    tally::Tally,
    worker::{Job, connect::Targets, crowd},
};

/// The workers of a crowd, whose sockets are not open yet.
pub(crate) async fn gather(
    targets: Vec<SocketAddr>,
    clients: u32,
    then: impl Fn(u32) -> crowd::Then,
) -> Result<Crew> {
    let targets = Targets::new(targets);
    let shares = shares(clients, then(0).connections());
    let jobs = (0..).zip(shares).map(|(worker, share)| {
        Job::Crowd(crowd::Job {
            targets: targets.clone(),
            first: share.start,
            clients: share.end - share.start,
            then: then(worker),
        })
    });
    Crew::start(jobs.collect()).await
}

/// Has them opened. Returns what that was like.
pub(crate) async fn open(bench: &Bench, crew: &mut Crew, clients: u32) -> Result<Tally> {
    let bar = bench.bar(clients.into());
    bar.set_message("sockets open");
    crew.go(0).await?;
    let opened = crew.tally(&bar).await?;
    bar.finish_and_clear();
    Ok(opened)
}

/// What became of messages that everyone of `hearers` should have heard.
pub(crate) fn heard(said: &Tally, heard: Tally, hearers: u64) -> Tally {
    let mut tally = heard;
    tally.counts.sent = said.counts.sent;
    tally.counts.failed += said.counts.failed;
    tally.counts.lost = (said.counts.sent * hearers).saturating_sub(tally.counts.delivered);
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_heard_by_everyone_is_lost() {
        let (mut said, mut came) = (Tally::default(), Tally::default());
        said.counts.sent = 10;
        came.counts.delivered = 28;
        came.counts.duplicated = 5;
        let tally = heard(&said, came, 3);
        assert_eq!((tally.counts.sent, tally.counts.lost), (10, 2));
    }
}
