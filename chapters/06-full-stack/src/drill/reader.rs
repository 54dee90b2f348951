//! A client stops reading.

use lab::{Client, Result, Row, Stage};
use tokio::time::Instant;

use super::servers_memory;
use crate::experiment::{
    User,
    reader::{connect_and_read_nothing, write_to_it},
};

/// What the servers may grow by meanwhile, in bytes: half of what is written at most.
const GROWTH: u64 = 32 * 1024 * 1024;

/// How often a line is waited for, each time for as long as a line may take.
const TRIES: usize = 12;

/// Directly, and through nginx, which keeps some for it as well.
///
/// # Errors
/// When a part does not start, or somebody cannot connect.
pub async fn stops(stage: &mut Stage) -> Result<Vec<Row>> {
    let redis = stage.start_redis().await?;
    stage
        .start_servers(3, &[("REDIS_URL", redis.as_str())])
        .await?;
    let nginx = stage.start_nginx("06-full-stack.conf").await?;
    let [a, b, c] = ['A', 'B', 'C'].map(|letter| stage.server_url(letter));
    let (a, b, c) = (a?, b?, c?);
    let direct = Client::new("deaf", &b);
    let through_nginx = User::client(&nginx, "deaf too", 2);
    let mut rows = Vec::new();
    for (config, deaf, letter, own) in [
        ("direct", direct, 'B', &b),
        ("through nginx", through_nginx, 'C', &c),
    ] {
        let name = deaf.name().to_owned();
        let others = [("alice", own), ("carol", &a), ("ann", own)];
        let others = others.map(|(name, url)| Client::new(name, url).telling(drop));
        let before = servers_memory(stage).await?;
        let _unread = connect_and_read_nothing(&deaf.telling(drop)).await?;
        let begun = Instant::now();
        let mut is_dropped = false;
        let seen = write_to_it(others.each_ref(), &name, async {
            for _ in 0..TRIES {
                is_dropped = stage.await_line(letter, "has read nothing").await;
                if is_dropped {
                    break;
                }
            }
        })
        .await?;
        let after = servers_memory(stage).await?;
        let growth = after.saturating_sub(before);
        stage.note(format!(
            "{} KiB were written to it, and the three servers grew by {} KiB. The slowest message \
             to another\nclient of its server took {} ms.",
            seen.bytes / 1024,
            growth / 1024,
            seen.slowest.as_millis(),
        ));
        rows.push(
            Row::new("a client stops reading: the others", config)
                .counted(seen.expected, "messages", seen.expected - seen.heard)
                .back_after(Some(begun.elapsed()))
                .and("it is dropped", is_dropped)
                .and("the servers grow by less than 32 MiB", growth < GROWTH),
        );
    }
    Ok(rows)
}
