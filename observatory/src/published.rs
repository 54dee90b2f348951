//! What Redis carries, seen by a subscriber of all channels.

use std::time::Duration;

use futures_util::StreamExt;
use lab::{Event, Recorder};
use redis::{Client, RedisError};
use tokio::time::sleep;

/// The least time between two attempts to reach a Redis that is gone.
const PAUSE: Duration = Duration::from_millis(200);

/// Records each message that Redis carries; subscribes again whenever Redis is back.
pub(crate) async fn watch(url: String, recorder: Recorder) {
    loop {
        // Why it ended is on the list already: Redis is down.
        let _ended = listen(&url, &recorder).await;
        sleep(PAUSE).await;
    }
}

async fn listen(url: &str, recorder: &Recorder) -> Result<(), RedisError> {
    let mut subscriber = Client::open(url)?.get_async_pubsub().await?;
    subscriber.psubscribe("*").await?;
    let mut messages = subscriber.on_message();
    while let Some(message) = messages.next().await {
        recorder.record(Event::Published {
            channel: message.get_channel_name().to_owned(),
            bytes: message.get_payload_bytes().len(),
        });
    }
    Ok(())
}
