//! Redis is killed, and started again a second later.

use std::time::Duration;

use anyhow::ensure;
use futures_util::future::join_all;
use lab::{Result, Row, Stage};
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
    let mut rows = Vec::new();
    for (driver, config) in [
        ("stock", "the adapter's own driver"),
        ("resilient", "ResilientDriver"),
    ] {
        let environment = [("REDIS_URL", redis.as_str()), ("DRIVER", driver)];
        fresh_servers(stage, &environment).await?;
        let url = stage.start_nginx("06-full-stack.conf").await?;
        let (near, far) = outage(stage, &url).await?;
        let [near, far] = [("within one server", near), ("between servers", far)].map(
            |(where_to, seen)| {
                Row::new(format!("Redis killed and back: {where_to}"), config)
                    .counted(seen.sent, "messages", seen.lost)
                    .twice(seen.twice)
                    .late(seen.late)
                    .back_after(seen.back)
            },
        );
        rows.extend(match driver {
            "stock" => {
                let never = "they are lost for good";
                let [near_back, far_back] = [near.back, far.back].map(|back| back.is_none());
                [
                    near.loses_something().and(never, near_back),
                    far.loses_something().and(never, far_back),
                ]
            }
            _ => {
                let each = "each server reaches each other one again";
                let is_back = far.back.is_some();
                [
                    // Nobody noticed anything: there is nothing to come back from.
                    near.back_after(None),
                    far.loses_some()
                        .within(Duration::from_secs(2))
                        .and(each, is_back),
                ]
            }
        });
    }
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

/// What became of several flows.
struct Sum {
    sent: usize,
    lost: usize,
    twice: usize,
    late: usize,
    /// From Redis' return until the last of them was well again; none if one never was.
    back: Option<Duration>,
}

async fn outage(stage: &mut Stage, url: &str) -> Result<(Sum, Sum)> {
    let (mut near, mut far) = (Vec::new(), Vec::new());
    for from in 0..3 {
        for to in 0..3 {
            let [sender, receiver] = [("from", from), ("to", to)].map(|(role, server)| {
                User::client(url, &format!("{role}, {from} to {to}"), server).telling(drop)
            });
            let flow = Flow::open(Rung::PassedOn, &sender, &receiver).await?;
            if from == to { &mut near } else { &mut far }.push(flow);
        }
    }
    let flows = |flows: Vec<Flow>| join_all(flows.into_iter().map(|flow| flow.run(PACE)));
    let (near, far, returned) = tokio::join!(flows(near), flows(far), async {
        sleep(BEFORE).await;
        stage.kill_redis().await;
        sleep(GONE_FOR).await;
        stage.restart_redis().await?;
        anyhow::Ok(Instant::now())
    });
    let returned = returned?;
    let sum = |flows: Vec<Result<Outcome, _>>| -> Result<Sum> {
        let flows = flows.into_iter().collect::<Result<Vec<Outcome>, lab::client::Error>>()?;
        let total = |count: fn(&Outcome) -> usize| flows.iter().map(count).sum();
        let backs = flows.iter().map(|flow| flow.recovered_after(returned));
        Ok(Sum {
            sent: total(Outcome::sent),
            lost: total(Outcome::lost),
            twice: total(Outcome::duplicated),
            late: total(Outcome::out_of_order),
            back: backs.collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().max()),
        })
    };
    Ok((sum(near)?, sum(far)?))
}
