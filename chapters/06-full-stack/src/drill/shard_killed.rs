//! The master that carries the messages of a Redis Cluster is killed, and its replica takes its
//! place.

use std::time::Duration;

use lab::{Cluster, Result, Row, Stage};
use tokio::time::{Instant, sleep};

use super::{fresh_servers, pairs::Pairs, redis_killed::BEFORE};
use crate::{cluster::CHANNEL, delivery::flow::Pace};

/// Long enough for an election, and for some seconds after it.
const PACE: Pace = Pace {
    messages: 140,
    every: Duration::from_millis(50),
    patience: Duration::from_secs(5),
};

/// How long may pass from the kill until everybody reaches everybody again: the others believe
/// in the death after a second, elect within another, and we look who has the slots once a
/// second.
const WELL_WITHIN: Duration = Duration::from_secs(5);

/// Longer than any message takes while all is well.
const NOTICEABLE: Duration = Duration::from_millis(500);

/// With the adapter's own driver for a cluster, and with ours: within each server, and between
/// all.
///
/// # Errors
/// When a part does not start, or somebody cannot connect.
pub async fn and_taken_over(stage: &mut Stage) -> Result<Vec<Row>> {
    if let Err(reason) = lab::cluster_found().await {
        stage.note(format!("Not tried: {reason}."));
        return Ok(Vec::new());
    }
    let redis = stage.start_cluster().await?;
    both_drivers(stage, &redis).await
}

/// The same, on the cluster that runs at `redis`.
///
/// # Errors
/// As for [`and_taken_over`].
pub async fn both_drivers(stage: &mut Stage, redis: &str) -> Result<Vec<Row>> {
    let [near, far] = failover(stage, redis, "stock", "the adapter's own driver").await?;
    let waits = near.back.is_some_and(|back| back > NOTICEABLE);
    let mut rows = vec![
        near.loses_some().and("all wait for the election", waits),
        // Which of its servers subscribe again is chance: now and then all of them do.
        far.loses_some().may_repeat().back_after(None),
    ];
    let [near, far] = failover(stage, redis, "resilient", "ResilientDriver").await?;
    let waits = near.back.is_none_or(|back| back > NOTICEABLE);
    let is_back = far.back.is_some();
    rows.extend([
        // Nobody noticed anything: there is nothing to come back from.
        near.back_after(None).and("nobody waits", !waits),
        far.loses_some()
            .within(WELL_WITHIN)
            .and("each server reaches each other one again", is_back),
    ]);
    Ok(rows)
}

async fn failover(stage: &mut Stage, redis: &str, driver: &str, config: &str) -> Result<[Row; 2]> {
    fresh_servers(stage, &[("REDIS_URL", redis), ("DRIVER", driver)]).await?;
    let url = stage.start_nginx("06-full-stack.conf").await?;
    let pairs = Pairs::connect(&url).await?;
    let cluster = stage.cluster()?;
    let told = pairs.write(PACE, async {
        sleep(BEFORE).await;
        kill_and_restore(cluster).await
    });
    let told = told.await?;
    let [near, far] = told.rows("master killed, replica elected", config);
    Ok([near, far.untold(told.untold())])
}

/// Kills the master that carries the messages; once another has its slots, starts it again, as
/// a replica. Returns when it was killed.
async fn kill_and_restore(cluster: &mut Cluster) -> Result<Instant> {
    let home = cluster.home_of(CHANNEL).await?;
    cluster.kill(home.address).await?;
    let killed = Instant::now();
    cluster.is_taken_over(home.slot, home.address).await?;
    cluster.restart(home.address).await?;
    cluster.is_replica(home.address).await?;
    Ok(killed)
}
