//! A client between two polls. The messages to it wait on its server, if there is room.

use std::{collections::BTreeSet, sync::Arc};

use ch05_redis_pubsub::experiment::connect;
use drills::LossCounter;
use lab::{
    Client, Socket,
    client::{Error, Packet, Polling, Received},
};
use serde_json::{Value, json};

use crate::announced::Reached;

/// How a message to everybody is sent.
#[derive(Clone, Copy, Debug)]
pub enum Saying {
    /// The sender's server answers that it has passed the message on.
    Shout,
    /// The sender's server answers how many clients have received the message.
    Announce,
}

impl Saying {
    /// The event that the server listens to.
    pub fn event(self) -> &'static str {
        match self {
            Self::Shout => "shout",
            Self::Announce => "announce",
        }
    }
}

/// What happened to the messages for a client that did not poll.
#[derive(Debug)]
pub struct Silence {
    /// What the client received when it polled again.
    pub received: LossCounter,
    /// The messages of which the sender was told that a client has missed them.
    pub reported: BTreeSet<u64>,
    messages: u64,
}

impl Silence {
    /// How many messages the client did not receive.
    pub fn lost(&self) -> usize {
        self.received.lost(0..self.messages)
    }

    /// How many of the lost messages the sender believes to have arrived.
    pub fn lost_told_ok(&self) -> usize {
        let lost = (0..self.messages).filter(|number| !self.received.has(*number));
        lost.filter(|number| !self.reported.contains(number))
            .count()
    }
}

/// The text of the last message.
const END: &str = "end";

/// Connects a client to the server at `listens`. It does not poll while a user at `speaks` sends
/// `messages` messages to everybody. Then it polls again.
///
/// # Errors
/// When a client cannot connect, or a connection breaks.
pub async fn between_two_polls(
    listens: &str,
    speaks: &str,
    saying: Saying,
    messages: u64,
) -> Result<Silence, Error> {
    let mut bob = Bob::connect(listens).await?;
    // She has a WebSocket to the same server. When she has a message, his server has it too.
    let mut witness = connect(listens, "carol").await?;
    let speaker = Arc::new(connect(speaks, "alice").await?);

    let mut answers = Vec::new();
    for number in 0..messages {
        let speaker = Arc::clone(&speaker);
        answers.push(tokio::spawn(async move {
            let text = json!(number.to_string());
            speaker.ask(saying.event(), &text).await
        }));
        receive(&mut witness, number).await?;
    }
    // The first poll makes room for the message that ends the list.
    let mut texts = bob.poll().await?;
    speaker.ask("shout", &json!(END)).await?;
    while !texts.iter().any(|text| text == END) {
        texts.extend(bob.poll().await?);
    }
    let mut reported = BTreeSet::new();
    for (number, answer) in (0..).zip(answers) {
        let answer = answer.await.map_err(|error| unexpected(&error))??;
        if !says_that_all_have_it(&answer) {
            reported.insert(number);
        }
    }
    let numbers = texts.iter().filter_map(|text| text.parse::<u64>().ok());
    Ok(Silence {
        received: numbers.collect(),
        reported,
        messages,
    })
}

/// Waits until a client has received that number. The client acknowledges each message.
async fn receive(client: &mut Socket, number: u64) -> Result<(), Error> {
    while let Some(received) = client.next_received().await {
        client.acknowledge(&received, &Value::Null)?;
        if text(&received) == Some(&number.to_string()) {
            return Ok(());
        }
    }
    Err(unexpected(&"the session has ended"))
}

/// What a sender concludes from the server's answer. After a shout, `true` only means that the
/// message was passed on; the sender takes it for an arrival.
fn says_that_all_have_it(answer: &Value) -> bool {
    match serde_json::from_value::<Reached>(answer.clone()) {
        Ok(reached) => reached.missed == 0 && !reached.unknown,
        Err(_) => answer == &json!(true),
    }
}

fn text(received: &Received) -> Option<&str> {
    received.argument["text"].as_str()
}

fn unexpected(error: &impl ToString) -> Error {
    Error::Unexpected(error.to_string())
}

/// A user over long polling, who polls only when told to.
struct Bob(Polling);

impl Bob {
    async fn connect(url: &str) -> Result<Self, Error> {
        let polling = Polling::open(&Client::new("bob", url)).await?;
        let hello = format!("0{}", json!({ "user": "bob" }));
        polling.send(&Packet::Message(hello)).await?;
        // With this answer, he has joined the namespace.
        polling.poll().await?;
        Ok(Self(polling))
    }

    /// Polls once. Acknowledges the messages, and returns their texts.
    async fn poll(&mut self) -> Result<Vec<String>, Error> {
        let mut texts = Vec::new();
        for packet in self.0.poll().await? {
            let Packet::Message(message) = packet else {
                continue;
            };
            let Some(received) = Received::parse(&message) else {
                continue;
            };
            texts.extend(text(&received).map(str::to_owned));
            if let Some(number) = received.number {
                self.0
                    .send(&Packet::Message(format!("3{number}[]")))
                    .await?;
            }
        }
        Ok(texts)
    }
}
