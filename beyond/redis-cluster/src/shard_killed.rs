//! The master that carries the messages is killed, and its replica takes its place.

use std::time::Duration;

use delivery::flow::Pace;
use drills::{Row, fresh_servers};
use failures::{pairs::Pairs, redis_killed::BEFORE};
use lab::{Result, Stage};
use tokio::time::{Instant, sleep};

use crate::{Cluster, channel};

/// Long enough for the election and some seconds after it.
const PACE: Pace = Pace {
    messages: 140,
    every: Duration::from_millis(50),
    patience: Duration::from_secs(5),
};

/// With the stock driver: messages within each server, and between servers.
pub async fn with_the_stock_driver(stage: &mut Stage, cluster: &mut Cluster) -> Result<[Row; 2]> {
    let ([within, between], election) =
        kill_and_restart(stage, cluster, "stock", "stock driver").await?;
    let is_confirmed = between.lost > 0 && between.lost_told_ok == Some(between.lost);
    Ok([
        no_message_waits(within, election),
        // Which servers subscribe again after the election differs from run to run.
        between
            .may_lose()
            .may_repeat()
            .recovered_after(None)
            .and("the lost messages are confirmed", is_confirmed),
    ])
}

/// With `ResilientDriver`: messages within each server, and between servers.
pub async fn with_the_resilient_driver(
    stage: &mut Stage,
    cluster: &mut Cluster,
) -> Result<[Row; 2]> {
    let resilient = "ResilientDriver";
    let ([within, between], election) =
        kill_and_restart(stage, cluster, "resilient", resilient).await?;
    let recovers = between.recovered_after.is_some();
    Ok([
        no_message_waits(within, election),
        between
            .may_lose()
            .and("each server reaches each other one again", recovers),
    ])
}

/// Whether the sender was told of at least nine in ten lost messages. It is not told of those that
/// it publishes at the new master before the other servers have subscribed there.
pub fn is_told_of_nearly_all(between: &Row) -> bool {
    between
        .lost_told_ok
        .is_some_and(|confirmed| 10 * confirmed <= between.lost)
}

/// `election` is how long it took, in the same run, until another node had the slots.
fn no_message_waits(within: Row, election: Duration) -> Row {
    let waits = within.recovered_after >= Some(election);
    // Nothing failed, so there is nothing to recover from.
    within.recovered_after(None).and("no message waits", !waits)
}

async fn kill_and_restart(
    stage: &mut Stage,
    cluster: &mut Cluster,
    driver: &str,
    config: &str,
) -> Result<([Row; 2], Duration)> {
    cluster.is_complete().await?;
    let redis = cluster.url();
    fresh_servers(stage, &[("REDIS_URL", &redis), ("DRIVER", driver)]).await?;
    let url = stage.nginx.start("06-full-stack.conf").await?;
    let pairs = Pairs::connect(&url).await?;
    let mut election = Duration::ZERO;
    let outcomes = pairs.send(PACE, async {
        sleep(BEFORE).await;
        let killed = kill_and_restart_master(cluster, &mut election).await?;
        Ok(killed)
    });
    let outcomes = outcomes.await?;
    let [within, between] = outcomes.rows("master killed", config);
    let between = between.lost_told_ok(outcomes.lost_told_ok());
    Ok(([within, between], election))
}

/// Kills the master of the adapter's channel. Once another node has its slots, starts it again,
/// as a replica. Returns the time of the kill.
async fn kill_and_restart_master(
    cluster: &mut Cluster,
    election: &mut Duration,
) -> Result<Instant> {
    let home = cluster.home_of(&channel()).await?;
    cluster.kill(home.address).await?;
    let killed = Instant::now();
    cluster.is_taken_over(home.slot, home.address).await?;
    *election = killed.elapsed();
    cluster.restart(home.address).await?;
    cluster.is_replica(home.address).await?;
    Ok(killed)
}
