//! Redis is killed, and started again a second later.

use std::time::Duration;

use anyhow::ensure;
use lab::{Result, Row, Stage};
use tokio::time::{Instant, sleep};

use super::{fresh_servers, pairs::Pairs};
use crate::delivery::flow::Pace;

/// How long Redis is gone.
pub(super) const GONE_FOR: Duration = Duration::from_secs(1);

/// How long all is well before that.
pub(super) const BEFORE: Duration = Duration::from_secs(1);

const PACE: Pace = Pace {
    messages: 120,
    every: Duration::from_millis(50),
    patience: Duration::from_secs(5),
};

/// With the adapter's own driver, and with ours: within each server, and between all.
///
/// # Errors
/// When a part does not start, somebody cannot connect, or Redis is not the stage's own.
pub async fn and_back(stage: &mut Stage) -> Result<Vec<Row>> {
    let redis = stage.start_redis().await?;
    may_be_killed(stage)?;
    let stock = "the adapter's own driver";
    let [near, far] = outage(stage, &redis, "stock", stock).await?;
    let forever = "nothing arrives any more";
    let [near_back, far_back] = [&near, &far].map(|row| row.back.is_some());
    let mut rows = vec![
        near.loses_something().and(forever, !near_back),
        far.loses_something().and(forever, !far_back),
    ];

    let [near, far] = outage(stage, &redis, "resilient", "ResilientDriver").await?;
    let each = "each server reaches each other one again";
    let is_back = far.back.is_some();
    rows.extend([
        // Nobody noticed anything: there is nothing to come back from.
        near.back_after(None),
        far.loses_some()
            .within(Duration::from_secs(2))
            .and(each, is_back),
    ]);
    Ok(rows)
}

/// # Errors
/// When Redis is somebody else's.
pub(super) fn may_be_killed(stage: &Stage) -> Result<()> {
    ensure!(
        stage.owns_redis(),
        "this Redis is not the stage's own and is not killed: unset REDIS_URL, or take free ports \
         with --ports auto"
    );
    Ok(())
}

/// What users of one server heard from each other with that driver, and those of different
/// servers.
async fn outage(stage: &mut Stage, redis: &str, driver: &str, config: &str) -> Result<[Row; 2]> {
    let environment = [("REDIS_URL", redis), ("DRIVER", driver)];
    fresh_servers(stage, &environment).await?;
    let url = stage.start_nginx("06-full-stack.conf").await?;
    let pairs = Pairs::connect(&url).await?;
    let told = pairs.write(PACE, async {
        sleep(BEFORE).await;
        stage.kill_redis().await;
        sleep(GONE_FOR).await;
        stage.restart_redis().await?;
        Ok(Instant::now())
    });
    Ok(told.await?.rows("Redis killed and back", config))
}
