//! A burst: 300 broadcasts at once, to 1,000 clients on three servers.

use lab::{Result, Row, Stage, Transport};

use super::{fresh_servers, servers_memory};
use crate::experiment::{
    between_polls::{Saying, between_two_polls},
    burst::burst,
};

const RECEIVERS: usize = 1000;
const MESSAGES: usize = 300;
const ELSEWHERE: &str = "other server";

/// 300 at once to many, and 300 to one client that takes none of them meanwhile.
///
/// # Errors
/// When a part does not start, or somebody cannot connect.
pub async fn at_once(stage: &mut Stage) -> Result<Vec<Row>> {
    let redis = stage.start_redis().await?;
    let mut rows = between_polls(stage, &redis).await?;
    rows.extend(to_many(stage, &redis).await?);
    Ok(rows)
}

/// With as many packets for each client as socketioxide keeps by default, and with ours.
///
/// A client with a WebSocket takes packets as they come. One that polls takes nothing between
/// two polls.
async fn between_polls(stage: &mut Stage, redis: &str) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (buffer, saying) in [
        ("128", Saying::Shout),
        ("128", Saying::Announce),
        ("4096", Saying::Shout),
    ] {
        let [home, _, away] = servers_with(stage, redis, buffer).await?;
        for (speaks, from) in [(&home, "same server"), (&away, ELSEWHERE)] {
            let seen = between_two_polls(&home, speaks, saying, MESSAGES).await?;
            let row = Row::new(
                format!(
                    "{MESSAGES} times `{}` between two polls, {from}",
                    saying.event()
                ),
                format!("BUFFER={buffer}"),
            )
            .counted(MESSAGES, "messages", seen.lost())
            .untold(seen.untold());
            rows.push(match (buffer, saying, from) {
                ("4096", ..) => row,
                (_, Saying::Shout, ELSEWHERE) => row.loses_something(),
                _ => row
                    .loses_something()
                    .and("the sender was told of each", seen.untold() == 0),
            });
        }
    }
    Ok(rows)
}

/// To clients of both transports, with the packets for each that are kept here.
async fn to_many(stage: &mut Stage, redis: &str) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for transport in [Transport::Polling, Transport::WebSocket] {
        // New servers each time: what they hold afterwards is what this burst took.
        let urls = servers_with(stage, redis, "4096").await?;
        let before = servers_memory(stage).await?;
        let seen = burst(&urls, transport, RECEIVERS, MESSAGES).await?;
        let after = servers_memory(stage).await?;
        stage.note(format!(
            "{transport}: {} of {MESSAGES} were said to be passed on; it took {:.1} s,\nand the \
             three servers have grown from {} to {} MiB, their {RECEIVERS} clients included.",
            seen.passed_on,
            seen.took.as_secs_f64(),
            mebibytes(before),
            mebibytes(after),
        ));
        rows.push(
            Row::new(
                format!("{MESSAGES} broadcasts at once to {RECEIVERS} clients, {transport}"),
                "BUFFER=4096",
            )
            .counted(seen.expected, "messages", seen.lost)
            .late(seen.out_of_order),
        );
    }
    Ok(rows)
}

/// New servers that keep so many packets for each client: their addresses.
async fn servers_with(stage: &mut Stage, redis: &str, buffer: &str) -> Result<[String; 3]> {
    let environment = [("REDIS_URL", redis), ("BUFFER", buffer)];
    fresh_servers(stage, &environment).await?;
    let [a, b, c] = ['A', 'B', 'C'].map(|letter| stage.server_url(letter));
    Ok([a?, b?, c?])
}

fn mebibytes(bytes: u64) -> u64 {
    bytes / (1024 * 1024)
}
