//! Redis is killed, and started again a second later.

use std::time::Duration;

use anyhow::ensure;
use futures_util::future::join_all;
use lab::{Result, Row, Stage, client};
use tokio::time::{Instant, sleep};

use super::fresh_servers;
use crate::{
    delivery::{
        Rung,
        flow::{Flow, Outcome, Pace},
    },
    experiment::User,
};

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
    let (mut near, mut far) = (Vec::new(), Vec::new());
    for from in 0..3 {
        for to in 0..3 {
            let [sender, receiver] = [("from", from), ("to", to)].map(|(role, server)| {
                User::client(&url, &format!("{role}, {from} to {to}"), server).telling(drop)
            });
            let flow = Flow::open(Rung::PassedOn, &sender, &receiver).await?;
            if from == to { &mut near } else { &mut far }.push(flow);
        }
    }
    let run = |flows: Vec<Flow>| join_all(flows.into_iter().map(|flow| flow.run(PACE)));
    let (near, far, returned) = tokio::join!(run(near), run(far), async {
        sleep(BEFORE).await;
        stage.kill_redis().await;
        sleep(GONE_FOR).await;
        stage.restart_redis().await?;
        anyhow::Ok(Instant::now())
    });
    let returned = returned?;
    Ok([
        row("within one server", config, returned, near)?,
        row("between servers", config, returned, far)?,
    ])
}

fn row(
    whose: &str,
    config: &str,
    returned: Instant,
    flows: Vec<Result<Outcome, client::Error>>,
) -> Result<Row> {
    let flows = flows.into_iter().collect::<Result<Vec<_>, _>>()?;
    let total = |count: fn(&Outcome) -> usize| flows.iter().map(count).sum();
    // From Redis' return until the last of them was well again; none if one never was.
    let backs = flows.iter().map(|flow| flow.recovered_after(returned));
    let backs = backs.collect::<Option<Vec<_>>>();
    let back = backs.and_then(|backs| backs.into_iter().max());
    Ok(Row::new(format!("Redis killed and back: {whose}"), config)
        .counted(total(Outcome::sent), "messages", total(Outcome::lost))
        .twice(total(Outcome::duplicated))
        .late(total(Outcome::out_of_order))
        .unknown(total(Outcome::unknown))
        .back_after(back))
}
