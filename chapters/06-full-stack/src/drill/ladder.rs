//! The delivery ladder: each rung meets the same four events.

use std::{fmt, time::Duration};

use futures_util::future::join_all;
use lab::{Result, Row, Stage};
use tokio::time::sleep;

use super::{
    fresh_servers,
    redis_killed::{BEFORE, GONE_FOR, may_be_killed},
};
use crate::{
    delivery::{
        Rung,
        flow::{Flow, Outcome, Pace},
        why_nothing_is_kept,
    },
    experiment::User,
};

const PACE: Pace = Pace {
    messages: 350,
    every: Duration::from_millis(20),
    patience: Duration::from_secs(20),
};

/// How long the receiver is away.
const AWAY: Duration = Duration::from_secs(5);

/// What happens while messages flow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Event {
    ServerKilled,
    RedisKilled,
    Away,
    AwayAndRedisKilled,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ServerKilled => "the receiver's server killed",
            Self::RedisKilled => "Redis killed and back",
            Self::Away => "the receiver away for 5 s",
            Self::AwayAndRedisKilled => "away for 5 s, Redis killed meanwhile",
        })
    }
}

/// What the stage's Redis still has when it is started again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Redis {
    KeepsNothing,
    KeepsKeys,
}

/// All rungs and all events; the history over a Redis that keeps nothing, too, where Redis
/// is killed.
///
/// # Errors
/// When a part does not start, somebody cannot connect, or Redis is not the stage's own.
pub async fn each_rung_meets_each_event(stage: &mut Stage) -> Result<Vec<Row>> {
    let url = set_up(stage, Redis::KeepsKeys).await?;
    may_be_killed(stage)?;
    let mut rungs = Rung::LADDER.to_vec();
    if let Some(why) = why_nothing_is_kept(&User::client(&url, "alice", 0)).await? {
        stage.note(format!("Without the rung \"{}\":\n{why}.", Rung::Kept));
        rungs.retain(|rung| *rung != Rung::Kept);
    }
    let mut rows = Vec::new();
    for event in [
        Event::ServerKilled,
        Event::RedisKilled,
        Event::Away,
        Event::AwayAndRedisKilled,
    ] {
        rows.extend(meet(stage, event, &rungs, Redis::KeepsKeys).await?);
    }
    if rungs.contains(&Rung::Kept) {
        for event in [Event::RedisKilled, Event::AwayAndRedisKilled] {
            rows.extend(meet(stage, event, &[Rung::Kept], Redis::KeepsNothing).await?);
        }
    }
    Ok(rows)
}

async fn meet(stage: &mut Stage, event: Event, rungs: &[Rung], redis: Redis) -> Result<Vec<Row>> {
    let url = set_up(stage, redis).await?;
    let mut flows = Vec::new();
    for rung in rungs {
        // Users of this event alone: a Redis that keeps its keys has the others' messages.
        let [alice, bob] = [("alice", 0), ("bob", 1)].map(|(name, server)| {
            let name = format!("{name}: {event}, {}", setting(*rung, redis));
            User::client(&url, &name, server).telling(drop)
        });
        flows.push(Flow::open(*rung, &alice, &bob).await?);
    }
    let scissors: Vec<_> = flows.iter().map(Flow::scissors).collect();
    let flowing = join_all(flows.into_iter().map(|flow| flow.run(PACE)));
    let (outcomes, happened) = tokio::join!(flowing, async {
        sleep(BEFORE).await;
        if matches!(event, Event::Away | Event::AwayAndRedisKilled) {
            for scissors in &scissors {
                scissors.cut(AWAY);
            }
            sleep(BEFORE).await;
        }
        match event {
            Event::ServerKilled => stage.kill_server('B').await?,
            Event::RedisKilled | Event::AwayAndRedisKilled => {
                stage.kill_redis().await;
                sleep(GONE_FOR).await;
                stage.restart_redis().await?;
            }
            Event::Away => {}
        }
        anyhow::Ok(())
    });
    happened?;
    let mut rows = Vec::new();
    for (rung, outcome) in rungs.iter().zip(outcomes) {
        rows.push(row(event, *rung, redis, &outcome?));
    }
    Ok(rows)
}

/// Three new servers, and a Redis of that kind.
async fn set_up(stage: &mut Stage, redis: Redis) -> Result<String> {
    stage.kill_redis().await;
    let redis = match redis {
        Redis::KeepsNothing => stage.start_redis().await?,
        Redis::KeepsKeys => stage.start_redis_with_persistence().await?,
    };
    let environment = [("REDIS_URL", redis.as_str())];
    fresh_servers(stage, &environment).await?;
    stage.start_nginx("06-full-stack.conf").await
}

/// How a row calls it.
fn setting(rung: Rung, redis: Redis) -> String {
    match (rung, redis) {
        (Rung::Kept, Redis::KeepsNothing) => format!("{rung}, appendonly no"),
        (Rung::Kept, Redis::KeepsKeys) => format!("{rung}, appendonly yes"),
        _ => rung.to_string(),
    }
}

fn row(event: Event, rung: Rung, redis: Redis, seen: &Outcome) -> Row {
    let row = Row::new(event.to_string(), setting(rung, redis))
        .counted(seen.sent(), "messages", seen.lost())
        .twice(seen.duplicated())
        .late(seen.out_of_order())
        .unknown(seen.unknown())
        .back_after(Some(seen.longest_silence()));
    let is_known = seen.unknown() == 0;
    match (rung, redis, event) {
        // Redis answers before it has told everybody: one or two may be lost, or none.
        (Rung::Kept, Redis::KeepsNothing, Event::RedisKilled) => row.loses_some(),
        (Rung::Kept, Redis::KeepsKeys, _) | (Rung::Retried, ..) => {
            row.and("the sender knows that each has arrived", is_known)
        }
        (Rung::Acknowledged, ..) => row.loses_something().and(
            "none that is lost was acknowledged",
            seen.lost_though_safe() == 0,
        ),
        _ => row.loses_something(),
    }
}
