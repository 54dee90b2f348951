//! A burst: 300 broadcasts at once, to 1,000 clients on three servers.

use lab::{Result, Row, Stage, Transport};

use super::{fresh_servers, servers_memory};
use crate::experiment::burst::burst;

const RECEIVERS: usize = 1000;
const MESSAGES: usize = 300;

/// With as many packets for each client as socketioxide keeps by default, and with ours.
///
/// A client with a WebSocket takes packets as they come, and even the default holds. One
/// that polls takes nothing between two polls.
///
/// # Errors
/// When a part does not start, or somebody cannot connect.
pub async fn at_once(stage: &mut Stage) -> Result<Vec<Row>> {
    let redis = stage.start_redis().await?;
    let mut rows = Vec::new();
    for buffer in ["128", "4096"] {
        for transport in [Transport::Polling, Transport::WebSocket] {
            // New servers each time: what they hold afterwards is what this burst took.
            let environment = [("REDIS_URL", redis.as_str()), ("BUFFER", buffer)];
            fresh_servers(stage, &environment).await?;
            let urls = ['A', 'B', 'C'].map(|letter| stage.server_url(letter));
            let urls = urls.into_iter().collect::<Result<Vec<_>>>()?;
            let before = servers_memory(stage).await?;
            let seen = burst(&urls, transport, RECEIVERS, MESSAGES).await?;
            let after = servers_memory(stage).await?;
            stage.note(format!(
                "{transport}, {buffer} packets: {} of {MESSAGES} were said to be passed on; it took \
                 {:.1} s,\nand the three servers have grown from {} to {} MiB, their {RECEIVERS} \
                 clients included.",
                seen.passed_on,
                seen.took.as_secs_f64(),
                mebibytes(before),
                mebibytes(after),
            ));
            let row = Row::new(
                format!("{MESSAGES} broadcasts at once to {RECEIVERS} clients, {transport}"),
                format!("BUFFER={buffer}"),
            )
            .counted(seen.expected, "messages", seen.lost)
            .late(seen.out_of_order);
            rows.push(match (transport, buffer) {
                (Transport::Polling, "128") => row.loses_something(),
                _ => row,
            });
        }
    }
    Ok(rows)
}

fn mebibytes(bytes: u64) -> u64 {
    bytes / (1024 * 1024)
}
