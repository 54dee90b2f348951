//! A client between two polls: what is said meanwhile waits on its server, as far as there
//! is room.

use std::{collections::BTreeSet, sync::Arc};

use ch05_redis_pubsub::experiment::connect;
use lab::{
    Client, Socket,
    client::{Error, Packet, Polling, Received},
};
use serde_json::{Value, json};

use crate::delivery::announced::Reached;

/// How something is said to everybody.
#[derive(Clone, Copy, Debug)]
pub enum Saying {
    /// The sender's server answers that it has passed it on.
    Shout,
    /// The sender's server answers how many have heard it.
    Announce,
}

impl Saying {
    /// The event that the server hears.
    pub fn event(self) -> &'static str {
        match self {
            Self::Shout => "shout",
            Self::Announce => "announce",
        }
    }
}

/// What became of messages to a client that did not poll.
#[derive(Debug)]
pub struct Silence {
    /// What the client heard afterwards: the messages' numbers, in that order.
    pub heard: Vec<usize>,
    /// Of which messages the sender was told that not everybody has heard them.
    pub told: BTreeSet<usize>,
    messages: usize,
}

impl Silence {
    /// How many messages the client did not hear.
    pub fn lost(&self) -> usize {
        self.messages - self.heard.len()
    }

    /// How many of them the sender believes to have arrived.
    pub fn untold(&self) -> usize {
        let unheard = |number: &usize| !self.heard.contains(number);
        let lost = (0..self.messages).filter(unheard);
        lost.filter(|number| !self.told.contains(number)).count()
    }
}

/// The text that ends what is said.
const END: &str = "end";

/// Connects a client to the server at `listens`, which polls no more; has somebody at `speaks`
/// say `messages` things to everybody, and then the client poll again.
///
/// # Errors
/// When somebody cannot connect, or a connection breaks.
pub async fn between_two_polls(
    listens: &str,
    speaks: &str,
    saying: Saying,
    messages: usize,
) -> Result<Silence, Error> {
    let mut bob = Bob::connect(listens).await?;
    // Has a WebSocket to the same server: what she has heard has come to him too.
    let mut witness = connect(listens, "carol").await?;
    let speaker = Arc::new(connect(speaks, "alice").await?);

    let mut answers = Vec::new();
    for number in 0..messages {
        let speaker = Arc::clone(&speaker);
        answers.push(tokio::spawn(async move {
            let text = json!(number.to_string());
            speaker.ask(saying.event(), &text).await
        }));
        hears(&mut witness, number).await?;
    }
    // The first poll makes room for what tells him that this was all.
    let mut heard = bob.poll().await?;
    speaker.ask("shout", &json!(END)).await?;
    while !heard.iter().any(|text| text == END) {
        heard.extend(bob.poll().await?);
    }
    let mut told = BTreeSet::new();
    for (number, answer) in answers.into_iter().enumerate() {
        let answer = answer.await.map_err(|error| unexpected(&error))??;
        if !has_reached_everybody(&answer) {
            told.insert(number);
        }
    }
    Ok(Silence {
        heard: heard.iter().filter_map(|text| text.parse().ok()).collect(),
        told,
        messages,
    })
}

/// Waits until somebody has heard that number, and says so to whoever wants to know.
async fn hears(somebody: &mut Socket, number: usize) -> Result<(), Error> {
    while let Some(received) = somebody.next_received().await {
        somebody.acknowledge(&received, &Value::Null)?;
        if text(&received) == Some(&number.to_string()) {
            return Ok(());
        }
    }
    Err(unexpected(&"the session has ended"))
}

/// What a sender may conclude from the server's answer: to a shout `true` means no more than
/// that it was passed on, and this is what the sender takes for an arrival.
fn has_reached_everybody(answer: &Value) -> bool {
    match serde_json::from_value::<Reached>(answer.clone()) {
        Ok(reached) => reached.missed == 0,
        Err(_) => answer == &json!(true),
    }
}

fn text(received: &Received) -> Option<&str> {
    received.argument["text"].as_str()
}

fn unexpected(error: &impl ToString) -> Error {
    Error::Unexpected(error.to_string())
}

/// A user over long polling, who polls when told to.
struct Bob(Polling);

impl Bob {
    async fn connect(url: &str) -> Result<Self, Error> {
        let polling = Polling::open(&Client::new("bob", url)).await?;
        let hello = format!("0{}", json!({ "user": "bob" }));
        polling.send(&Packet::Message(hello)).await?;
        // The welcome: from now on he is in the namespace.
        polling.poll().await?;
        Ok(Self(polling))
    }

    /// Polls once; returns the texts, and acknowledges them.
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
