//! Drill: Redis is killed, and started again a second later.

use std::time::Duration;

use delivery::flow::Pace;
use drills::{Row, fresh_servers};
use lab::{Result, Stage};
use tokio::time::{Instant, sleep};

use crate::pairs::Pairs;

/// How long Redis is away.
const AWAY: Duration = Duration::from_secs(1);

/// How long messages pass before Redis is killed.
pub const BEFORE: Duration = Duration::from_secs(1);

const PACE: Pace = Pace {
    messages: 120,
    every: Duration::from_millis(50),
    patience: Duration::from_secs(5),
};

/// With the adapter's stock driver and with `ResilientDriver`: messages within each server, and
/// between servers.
///
/// # Errors
/// When a part does not start, a user cannot connect, or Redis is not the stage's own.
pub async fn and_back(stage: &mut Stage) -> Result<Vec<Row>> {
    let redis = stage.redis.start().await?;
    stage.redis.may_be_killed()?;
    let [within, between] = kill_and_restart(stage, &redis, "stock", "stock driver").await?;
    let never = "it never recovers";
    let [within_recovers, between_recovers] =
        [&within, &between].map(|row| row.recovered_after.is_some());
    let mut rows = vec![
        within.loses_something().and(never, !within_recovers),
        between.loses_something().and(never, !between_recovers),
    ];

    let resilient = "ResilientDriver";
    let [within, between] = kill_and_restart(stage, &redis, "resilient", resilient).await?;
    let recovers = between.recovered_after.is_some();
    rows.extend([
        // Nothing failed, so there is nothing to recover from.
        within.recovered_after(None),
        between
            .may_lose()
            .and("each server reaches each other one again", recovers),
    ]);
    Ok(rows)
}

async fn kill_and_restart(
    stage: &mut Stage,
    redis: &str,
    driver: &str,
    config: &str,
) -> Result<[Row; 2]> {
    let environment = [("REDIS_URL", redis), ("DRIVER", driver)];
    fresh_servers(stage, &environment).await?;
    let url = stage.nginx.start("06-full-stack.conf").await?;
    let pairs = Pairs::connect(&url).await?;
    let outcomes = pairs.send(PACE, async {
        sleep(BEFORE).await;
        stage.redis.kill().await;
        sleep(AWAY).await;
        stage.redis.restart().await?;
        Ok(Instant::now())
    });
    Ok(outcomes.await?.rows("Redis killed and back", config))
}
