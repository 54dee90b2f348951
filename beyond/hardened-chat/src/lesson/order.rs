//! The order of one client's messages.

use std::time::Duration;

use anyhow::Result;
use ch05_redis_pubsub::experiment::connect;
use drills::LossCounter;
use futures_util::future::join_all;
use lab::{Stage, client::PATIENCE};
use serde_json::json;
use tokio::{sync::mpsc, time::sleep};

use super::three_servers;
use crate::in_order::{InOrder, Work};

/// How many messages are sent at once.
const MESSAGES: u64 = 300;

/// Pieces of work as tasks, and in a queue. Then many messages on real servers.
///
/// # Errors
/// When a part does not start, or a connection breaks.
pub async fn kept(stage: &mut Stage) -> Result<()> {
    let tasks = order_of(|work| drop(tokio::spawn(work))).await;
    stage.claim_failure(
        "as a task each, five pieces of work overtake each other",
        words(&tasks),
        !tasks.is_sorted(),
    );
    let in_order = InOrder::default();
    let queue = order_of(|work| in_order.add(work)).await;
    stage.claim_seen(
        "in one queue, they are done in order",
        words(&queue),
        queue.is_sorted(),
    );

    let [a, b, _] = three_servers(stage, &[]).await?;
    let alice = connect(&a, "alice").await?;
    let mut bob = connect(&b, "bob").await?;
    let said = (0..MESSAGES).map(|number| {
        let message = json!({ "to": "bob", "text": number.to_string() });
        let alice = &alice;
        async move { alice.ask("say", &message).await }
    });
    let answers = join_all(said).await;
    let mut received = LossCounter::default();
    while received.latest() != Some(MESSAGES - 1) {
        let Some(message) = bob.hear("message", PATIENCE).await else {
            break;
        };
        if let Some(Ok(number)) = message["text"].as_str().map(str::parse) {
            received.receive(number);
        }
    }
    let confirmed = answers.into_iter().flatten();
    let confirmed = confirmed.filter(|answer| *answer == json!(true)).count();
    stage.claim_seen(
        format!("{MESSAGES} messages at once, from server A to server B: all come in order"),
        format!(
            "{} lost, {} out of order, {confirmed} confirmed",
            received.lost(0..MESSAGES),
            received.out_of_order()
        ),
        received.lost(0..MESSAGES) == 0
            && received.out_of_order() == 0
            && confirmed == answers_expected(),
    );
    Ok(())
}

fn answers_expected() -> usize {
    usize::try_from(MESSAGES).unwrap_or(usize::MAX)
}

/// The order in which five pieces of work are done. The first one waits longest, as for a slow
/// answer of Redis.
async fn order_of(start: impl Fn(Work)) -> Vec<u64> {
    let (done, mut order) = mpsc::unbounded_channel();
    for number in 1..=5 {
        let done = done.clone();
        start(Box::pin(async move {
            sleep(Duration::from_millis(120 - 20 * number)).await;
            // The receiver waits for all of them.
            let _received = done.send(number);
        }));
    }
    drop(done);
    let mut seen = Vec::new();
    while let Some(number) = order.recv().await {
        seen.push(number);
    }
    seen
}

fn words(numbers: &[u64]) -> String {
    let numbers: Vec<_> = numbers.iter().map(u64::to_string).collect();
    numbers.join(", ")
}
