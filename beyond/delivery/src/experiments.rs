//! Four ways to deliver a message meet the same four events.

use std::{fmt, time::Duration};

use anyhow::Result;
use ch06_full_stack::experiment::User;
use drills::{Row, fresh_servers};
use futures_util::future::join_all;
use hardened_chat::no_settings_are_left;
use lab::Stage;
use tokio::time::sleep;

use crate::{
    Way,
    flow::{Flow, Outcome, Pace},
    why_nothing_is_kept,
};

const PACE: Pace = Pace {
    messages: 350,
    every: Duration::from_millis(20),
    patience: Duration::from_secs(20),
};

/// How long messages are sent before something happens.
const BEFORE: Duration = Duration::from_secs(1);

/// How long the receiver is away.
const AWAY_FOR: Duration = Duration::from_secs(5);

/// The time from Redis' end to its new start.
const GONE_FOR: Duration = Duration::from_secs(1);

/// What happens while messages are sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Event {
    ServerKilled,
    RedisKilled,
    Away,
    AwayAndRedisKilled,
}

impl Event {
    fn kills_redis(self) -> bool {
        matches!(self, Self::RedisKilled | Self::AwayAndRedisKilled)
    }
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

/// The receiver's server is killed. It does not come back; the receiver connects to another one.
///
/// # Errors
/// As for [`receiver_away_and_redis_killed`].
pub async fn server_killed(stage: &mut Stage) -> Result<Vec<Row>> {
    rows(stage, Event::ServerKilled).await
}

/// Redis is killed, and is back after a second.
///
/// # Errors
/// As for [`receiver_away_and_redis_killed`].
pub async fn redis_killed(stage: &mut Stage) -> Result<Vec<Row>> {
    rows(stage, Event::RedisKilled).await
}

/// The receiver's connection is cut, and it reconnects after five seconds.
///
/// # Errors
/// As for [`receiver_away_and_redis_killed`].
pub async fn receiver_away(stage: &mut Stage) -> Result<Vec<Row>> {
    rows(stage, Event::Away).await
}

/// The same, and Redis is killed meanwhile.
///
/// # Errors
/// When a part does not start, a user cannot connect, or Redis does not belong to the stage.
pub async fn receiver_away_and_redis_killed(stage: &mut Stage) -> Result<Vec<Row>> {
    rows(stage, Event::AwayAndRedisKilled).await
}

/// One row for each way. If Redis is killed, the history has one more row, with a Redis that keeps
/// nothing.
async fn rows(stage: &mut Stage, event: Event) -> Result<Vec<Row>> {
    no_settings_are_left()?;
    let url = set_up(stage, Redis::KeepsKeys).await?;
    // All experiments need it: the rows say what Redis keeps.
    stage.redis.may_be_killed()?;
    let mut ways = Way::ALL.to_vec();
    if let Some(why) = why_nothing_is_kept(&User::client(&url, "alice", 0)).await? {
        stage.note(format!("Without the way \"{}\":\n{why}.", Way::Kept));
        ways.retain(|way| *way != Way::Kept);
    }
    let mut rows = meet(stage, event, &ways, &url, Redis::KeepsKeys).await?;
    if event.kills_redis() && ways.contains(&Way::Kept) {
        let url = set_up(stage, Redis::KeepsNothing).await?;
        rows.extend(meet(stage, event, &[Way::Kept], &url, Redis::KeepsNothing).await?);
    }
    Ok(rows)
}

async fn meet(
    stage: &mut Stage,
    event: Event,
    ways: &[Way],
    url: &str,
    redis: Redis,
) -> Result<Vec<Row>> {
    let mut flows = Vec::new();
    for way in ways {
        // Each pair of users is new: a Redis that keeps its keys still has older messages.
        let [alice, bob] = [("alice", 0), ("bob", 1)].map(|(name, server)| {
            let name = format!("{name}: {event}, {}", setting(*way, redis));
            User::client(url, &name, server)
        });
        flows.push(Flow::open(*way, &alice, &bob).await?);
    }
    let cutters: Vec<_> = flows.iter().map(Flow::cutter).collect();
    let flowing = join_all(flows.into_iter().map(|flow| flow.run(PACE)));
    let (outcomes, happened) = tokio::join!(flowing, async {
        sleep(BEFORE).await;
        if matches!(event, Event::Away | Event::AwayAndRedisKilled) {
            for cutter in &cutters {
                cutter.cut(AWAY_FOR);
            }
            sleep(BEFORE).await;
        }
        match event {
            Event::ServerKilled => stage.servers.kill('B').await?,
            Event::RedisKilled | Event::AwayAndRedisKilled => {
                stage.redis.kill().await;
                sleep(GONE_FOR).await;
                stage.redis.restart().await?;
            }
            Event::Away => {}
        }
        anyhow::Ok(())
    });
    happened?;
    let mut rows = Vec::new();
    for (way, outcome) in ways.iter().zip(outcomes) {
        rows.push(row(event, *way, redis, &outcome?));
    }
    Ok(rows)
}

/// Starts three new servers, nginx, and a Redis of that kind. Returns nginx's URL.
async fn set_up(stage: &mut Stage, redis: Redis) -> Result<String> {
    stage.redis.kill().await;
    let redis = match redis {
        Redis::KeepsNothing => stage.redis.start().await?,
        Redis::KeepsKeys => stage.redis.start_with_persistence().await?,
    };
    let environment = [("REDIS_URL", redis.as_str())];
    fresh_servers(stage, &environment).await?;
    stage.nginx.start("06-full-stack.conf").await
}

/// The name of a way in the table.
fn setting(way: Way, redis: Redis) -> String {
    match (way, redis) {
        (Way::Kept, Redis::KeepsNothing) => format!("{way}, appendonly no"),
        (Way::Kept, Redis::KeepsKeys) => format!("{way}, appendonly yes"),
        _ => way.to_string(),
    }
}

fn row(event: Event, way: Way, redis: Redis, seen: &Outcome) -> Row {
    let row = Row::new(event.to_string(), setting(way, redis))
        .counted(seen.sent(), "messages", seen.lost())
        .duplicates(seen.duplicates())
        .out_of_order(seen.out_of_order())
        .sender_not_sure(seen.sender_not_sure())
        .lost_told_ok(seen.lost_told_ok())
        .recovered_after(Some(seen.longest_silence()));
    let is_sure = seen.sender_not_sure() == 0;
    match (way, redis, event) {
        // Redis confirms a message before the receiver has fetched it. If Redis is killed between
        // the two, a message is lost: one or two here, or none.
        (Way::Kept, Redis::KeepsNothing, Event::RedisKilled) => row.may_lose(),
        (Way::Kept, Redis::KeepsKeys, _) | (Way::Retried, ..) => {
            row.and("the sender knows that each message has arrived", is_sure)
        }
        (Way::Acknowledged, ..) => row
            .loses_something()
            .and("no lost message was acknowledged", seen.lost_told_ok() == 0),
        _ => row.loses_something(),
    }
}
