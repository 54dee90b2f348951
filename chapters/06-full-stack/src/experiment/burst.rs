//! A burst: one user says many things at once, and everybody should hear all of them.

use std::time::Duration;

use futures_util::future::join_all;
use lab::{Client, Socket, Transport, client::Error};
use serde_json::json;
use tokio::time::{Instant, interval};

/// What became of a burst.
#[derive(Debug, Default)]
pub struct Burst {
    /// Messages that should have arrived: each at each receiver.
    pub expected: usize,
    /// How many of them did not.
    pub lost: usize,
    /// How many a receiver heard after a later one.
    pub out_of_order: usize,
    /// How many of the messages their sender was told to be passed on.
    pub passed_on: usize,
    /// From the first message sent until everybody had heard the last.
    pub took: Duration,
}

/// How long an answer may take: a third of a million messages keep this machine busy.
const PATIENCE: Duration = Duration::from_mins(1);

/// How many clients connect at the same time.
const CONNECTING: usize = 50;

/// The text that ends the burst.
const END: &str = "end";

/// Connects `receivers` users over `transport`, spread over the servers at `urls`, and one more to the first
/// of them, who shouts `messages` times at once.
///
/// # Errors
/// When somebody cannot connect, or the sender's connection breaks.
pub async fn burst(
    urls: &[String],
    transport: Transport,
    receivers: usize,
    messages: usize,
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
        expected: receivers * messages,
        passed_on,
        ..Burst::default()
    };
    // The end may be lost as well, so it is said until everybody has heard it.
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
        all.lost += messages.saturating_sub(numbers.len());
        all.out_of_order += numbers.windows(2).filter(|pair| pair[0] > pair[1]).count();
    }
    Ok(all)
}

async fn connect(name: &str, url: &str, transport: Transport) -> Result<Socket, Error> {
    // No record is kept of what is heard: it would be a third of a million frames.
    let client = Client::new(name, url).telling(drop);
    let auth = json!({ "user": name });
    Socket::connect(&client, transport, Some(&auth)).await
}

/// Shouts, and returns whether the server says that it was passed on.
async fn shout(sender: &Socket, text: String) -> bool {
    let answer = sender.ask_within(PATIENCE, "shout", &json!(text)).await;
    answer.is_ok_and(|answer| answer == json!(true))
}

/// Hears the numbers that come before the end.
async fn listen(mut socket: Socket) -> Vec<u32> {
    let mut numbers = Vec::new();
    while let Some((_event, message)) = socket.next_event().await {
        match message["text"].as_str() {
            Some(END) => break,
            Some(text) => numbers.extend(text.parse::<u32>()),
            None => {}
        }
    }
    numbers
}
