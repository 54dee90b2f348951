//! Many messages at once: to 1,000 clients, and to one client between two polls.

use anyhow::Result;
use drills::{Row, servers_memory};
use lab::{Stage, Transport};

use super::three_servers;
use crate::clients::{
    between_polls::{Saying, between_two_polls},
    burst::burst,
};

const RECEIVERS: usize = 1000;
const MESSAGES: u64 = 300;
const ELSEWHERE: &str = "other server";

/// 300 messages at once to 1,000 clients, and 300 messages to a client that does not poll
/// meanwhile.
///
/// # Errors
/// When a part does not start, or a client cannot connect.
pub async fn at_once(stage: &mut Stage) -> Result<Vec<Row>> {
    let mut rows = between_polls(stage).await?;
    rows.extend(to_many(stage).await?);
    Ok(rows)
}

/// With room for as many packets as socketioxide has by default, and with our room.
///
/// A client with a WebSocket takes packets as they come. A polling client takes nothing between
/// two polls.
async fn between_polls(stage: &mut Stage) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (buffer, saying) in [
        ("128", Saying::Shout),
        ("128", Saying::Announce),
        ("4096", Saying::Shout),
    ] {
        let [home, _, away] = three_servers(stage, &[("BUFFER", buffer)]).await?;
        for (speaks, from) in [(&home, "same server"), (&away, ELSEWHERE)] {
            let seen = between_two_polls(&home, speaks, saying, MESSAGES).await?;
            let row = Row::new(
                format!(
                    "{MESSAGES} times `{}` between two polls, {from}",
                    saying.event()
                ),
                format!("BUFFER={buffer}"),
            )
            .counted(usize::try_from(MESSAGES)?, "messages", seen.lost())
            .lost_told_ok(seen.lost_told_ok());
            rows.push(match (buffer, saying, from) {
                ("4096", ..) => row,
                (_, Saying::Shout, ELSEWHERE) => row.loses_something(),
                _ => row
                    .loses_something()
                    .and("the sender is told of each loss", seen.lost_told_ok() == 0),
            });
        }
    }
    Ok(rows)
}

/// To clients of both transports, with our room for packets.
async fn to_many(stage: &mut Stage) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for transport in [Transport::Polling, Transport::WebSocket] {
        // New servers each time, so that their memory shows what this burst took.
        let urls = three_servers(stage, &[("BUFFER", "4096")]).await?;
        let before = servers_memory(stage).await?;
        let seen = burst(&urls, transport, RECEIVERS, MESSAGES).await?;
        let after = servers_memory(stage).await?;
        stage.note(format!(
            "{transport}: the sender was told OK for {} of {MESSAGES} messages. It took {:.1} s.\n\
             The memory of the three servers, with their {RECEIVERS} clients, grew from {} to {} MiB.",
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
            .out_of_order(seen.out_of_order),
        );
    }
    Ok(rows)
}

fn mebibytes(bytes: u64) -> u64 {
    bytes / (1024 * 1024)
}
