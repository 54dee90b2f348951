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

/// How long after the kill all servers must reach each other again: the nodes notice the failure
/// after a second and elect within another, and the driver asks for the slots once a second.
pub const RECOVERED_WITHIN: Duration = Duration::from_secs(5);

/// Longer than any message takes while nothing fails.
const NOTICEABLE: Duration = Duration::from_millis(500);

/// With the stock driver: messages within each server, and between servers.
pub async fn with_the_stock_driver(stage: &mut Stage, cluster: &mut Cluster) -> Result<[Row; 2]> {
    let [within, between] = kill_and_restart(stage, cluster, "stock", "stock driver").await?;
    let is_confirmed = between.lost > 0 && between.lost_told_ok == Some(between.lost);
    Ok([
        no_message_waits(within),
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
    let [within, between] = kill_and_restart(stage, cluster, "resilient", resilient).await?;
    let recovers = between.recovered_after.is_some();
    Ok([
        no_message_waits(within),
        between
            .may_lose()
            .within(RECOVERED_WITHIN)
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

fn no_message_waits(within: Row) -> Row {
    let waits = within.recovered_after > Some(NOTICEABLE);
    // Nothing failed, so there is nothing to recover from.
    within.recovered_after(None).and("no message waits", !waits)
}

async fn kill_and_restart(
    stage: &mut Stage,
    cluster: &mut Cluster,
    driver: &str,
    config: &str,
) -> Result<[Row; 2]> {
    cluster.is_complete().await?;
    let redis = cluster.url();
    fresh_servers(stage, &[("REDIS_URL", &redis), ("DRIVER", driver)]).await?;
    let url = stage.nginx.start("06-full-stack.conf").await?;
    let pairs = Pairs::connect(&url).await?;
    let outcomes = pairs.send(PACE, async {
        sleep(BEFORE).await;
        kill_and_restart_master(cluster).await
    });
    let outcomes = outcomes.await?;
    let [within, between] = outcomes.rows("master killed", config);
    Ok([within, between.lost_told_ok(outcomes.lost_told_ok())])
}

/// Kills the master of the adapter's channel. Once another node has its slots, starts it again,
/// as a replica. Returns the time of the kill.
async fn kill_and_restart_master(cluster: &mut Cluster) -> Result<Instant> {
    let home = cluster.home_of(&channel()).await?;
    cluster.kill(home.address).await?;
    let killed = Instant::now();
    cluster.is_taken_over(home.slot, home.address).await?;
    cluster.restart(home.address).await?;
    cluster.is_replica(home.address).await?;
    Ok(killed)
}
