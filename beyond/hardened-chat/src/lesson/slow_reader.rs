//! A client stays connected and stops reading.

use anyhow::Result;
use ch06_full_stack::experiment::User;
use drills::{Row, servers_memory};
use lab::{Client, Stage};
use tokio::time::Instant;

use super::three_servers;
use crate::clients::slow_reader::{connect_and_read_nothing, write_to_it};

/// How many bytes the servers may grow by meanwhile. Without a limit, they would grow by all that
/// is written.
const GROWTH: u64 = 32 * 1024 * 1024;

/// How often to wait for the server's line. Each time takes as long as a line may take.
const TRIES: usize = 12;

/// Directly, and through nginx, which has buffers of its own.
///
/// # Errors
/// When a part does not start, or a client cannot connect.
pub async fn disconnected(stage: &mut Stage) -> Result<Vec<Row>> {
    let [a, b, c] = three_servers(stage, &[]).await?;
    let nginx = stage.nginx.start("06-full-stack.conf").await?;
    let direct = Client::new("slow", &b);
    let through_nginx = User::client(&nginx, "slow too", 2);
    let mut rows = Vec::new();
    for (config, slow, letter, own) in [
        ("direct", direct, 'B', &b),
        ("through nginx", through_nginx, 'C', &c),
    ] {
        let name = slow.name().to_owned();
        let others = [("alice", own), ("carol", &a), ("ann", own)];
        let others = others.map(|(name, url)| Client::new(name, url).telling(|_| {}));
        let before = servers_memory(stage).await?;
        let _unread = connect_and_read_nothing(&slow).await?;
        let begun = Instant::now();
        let mut is_disconnected = false;
        let seen = write_to_it(others.each_ref(), &name, async {
            for _ in 0..TRIES {
                is_disconnected = stage.servers.await_line(letter, "has read nothing").await;
                if is_disconnected {
                    break;
                }
            }
        })
        .await?;
        let after = servers_memory(stage).await?;
        let growth = after.saturating_sub(before);
        stage.note(format!(
            "{} KiB were written to it, and the three servers grew by {} KiB.\nThe slowest message \
             between two other clients took {} ms.",
            seen.bytes / 1024,
            growth / 1024,
            seen.slowest.as_millis(),
        ));
        rows.push(
            Row::new("a client stops reading: the others", config)
                .counted(seen.expected, "messages", seen.expected - seen.received)
                .recovered_after(Some(begun.elapsed()))
                .and("it is disconnected", is_disconnected)
                .and("the servers grow by less than 32 MiB", growth < GROWTH),
        );
    }
    Ok(rows)
}
