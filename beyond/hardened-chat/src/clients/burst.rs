//! A burst: one user sends many messages to everybody at once.

use std::time::Duration;

use drills::LossCounter;
use futures_util::future::join_all;
use lab::{Client, Socket, Transport, client::Error};
use serde_json::json;
use tokio::time::{Instant, interval};

/// What happened to the messages of a burst.
#[derive(Debug, Default)]
pub struct Burst {
    /// How many deliveries there should be: each message to each receiver.
    pub expected: usize,
    /// How many never came.
    pub lost: usize,
    /// How many came after a later message.
    pub out_of_order: usize,
    /// Of how many messages the sender was told that they were passed on.
    pub passed_on: usize,
    /// The time from the first message until every receiver had the last one.
    pub took: Duration,
}

/// How long an answer may take. 300,000 messages keep two cores busy for a while.
const PATIENCE: Duration = Duration::from_mins(1);

/// How many clients connect at the same time.
const CONNECTING: usize = 50;

/// The text of the last message.
const END: &str = "end";

/// Connects `receivers` users over `transport` to the servers at `urls`, in turn. Then one more user,
/// on the first server, sends `messages` messages to everybody at once.
///
/// # Errors
/// When a user cannot connect, or the sender's connection breaks.
pub async fn burst(
    urls: &[String],
    transport: Transport,
    receivers: usize,
    messages: u64,
) -> Result<Burst, Error> {
    let urls: Vec<_> = urls.iter().cycle().take(receivers).collect();
    let mut listening = Vec::new();
    for (block, urls) in urls.chunks(CONNECTING).enumerate() {
        let connecting = urls.iter().enumerate().map(async |(number, url)| {
            let name = format!("user {}", block * CONNECTING + number);
            connect(&name, url, transport).await
        });
        for socket in join_all(connecting).await {
            listening.push(tokio::spawn(listen(socket?)));
        }
    }
    let first = urls.first().map_or("", |url| url.as_str());
    let sender = connect("alice", first, Transport::WebSocket).await?;

    let begun = Instant::now();
    let shouts = (0..messages).map(|number| shout(&sender, number.to_string()));
    let passed_on = join_all(shouts)
        .await
        .into_iter()
        .filter(|told| *told)
        .count();
    let mut all = Burst {
        expected: receivers * usize::try_from(messages).unwrap_or(usize::MAX),
        passed_on,
        ..Burst::default()
    };
    // The last message may be lost too, so it is sent until every receiver has it.
    let mut turns = interval(Duration::from_millis(200));
    while listening.iter().any(|receiver| !receiver.is_finished()) {
        turns.tick().await;
        let end = json!(END);
        sender.ask_within(PATIENCE, "shout", &end).await?;
    }
    all.took = begun.elapsed();
    for receiver in listening {
        let numbers = receiver
            .await
            .map_err(|error| Error::Unexpected(error.to_string()))?;
        all.lost += numbers.lost(0..messages);
        all.out_of_order += numbers.out_of_order();
    }
    Ok(all)
}

async fn connect(name: &str, url: &str, transport: Transport) -> Result<Socket, Error> {
    // Without a record, which would hold 300,000 frames.
    let client = Client::new(name, url).telling(|_| {});
    let auth = json!({ "user": name });
    Socket::connect(&client, transport, Some(&auth)).await
}

/// Sends a message to everybody. Returns whether the server says that it was passed on.
async fn shout(sender: &Socket, text: String) -> bool {
    let answer = sender.ask_within(PATIENCE, "shout", &json!(text)).await;
    answer.is_ok_and(|answer| answer == json!(true))
}

/// Receives numbers until the last message.
async fn listen(mut socket: Socket) -> LossCounter {
    let mut numbers = LossCounter::default();
    while let Some((_event, message)) = socket.next_event().await {
        match message["text"].as_str() {
            Some(END) => break,
            Some(text) => text
                .parse()
                .into_iter()
                .for_each(|number| numbers.receive(number)),
            None => {}
        }
    }
    numbers
}
