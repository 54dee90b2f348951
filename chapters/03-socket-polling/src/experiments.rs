//! What a client sends over polling and over WebSocket, and what it gets.

use std::{net::SocketAddr, time::Duration};

use lab::{
    Client, Socket, Transport,
    client::{Answer, Error, PATIENCE, Packet, Polling, Traffic},
};
use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

/// A poll that the server held.
pub struct Held {
    /// How long the poll took, from the request to its answer.
    pub held: Duration,
    /// The packets in the answer.
    pub packets: Vec<Packet>,
}

/// `client` polls. After `pause`, `friend` says `text`.
pub async fn hold_a_poll(
    client: &Client,
    friend: &Client,
    text: &str,
    pause: Duration,
) -> Result<Held, Error> {
    let polling = Polling::open(client).await?;
    enter(&polling).await?;

    let speaker = Socket::connect(friend, Transport::WebSocket, None).await?;
    let started = Instant::now();
    let speaking = async {
        sleep(pause).await;
        speaker.emit("message", &json!(text))
    };
    let (packets, spoken) = tokio::join!(polling.poll(), speaking);
    spoken?;
    Ok(Held {
        held: started.elapsed(),
        packets: packets?,
    })
}

/// Connects to the namespace `/`. The answer and the first ping come at once. After them, the
/// server has nothing to send, so it holds the next poll.
pub async fn enter(polling: &Polling) -> Result<(), Error> {
    polling.send(&Packet::Message("0".to_owned())).await?;
    let (mut welcomed, mut pinged) = (false, false);
    while !(welcomed && pinged) {
        for packet in polling.poll().await? {
            match packet {
                Packet::Message(_) => welcomed = true,
                Packet::Ping(_) => {
                    pinged = true;
                    polling.send(&Packet::Pong(String::new())).await?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// `client` connects over `transport`. Then `messages` messages go in each direction.
pub async fn talk(
    client: &Client,
    friend: &Client,
    transport: Transport,
    messages: usize,
) -> Result<Talk, Error> {
    let mut friend = Socket::connect(friend, Transport::WebSocket, None).await?;
    let mut socket = Socket::connect(client, transport, None).await?;
    for _ in 0..messages {
        socket.emit("message", &json!("hi"))?;
        friend
            .hear("message", PATIENCE)
            .await
            .ok_or(Error::TooSlow(PATIENCE))?;
        friend.emit("message", &json!("hello world"))?;
        socket
            .hear("message", PATIENCE)
            .await
            .ok_or(Error::TooSlow(PATIENCE))?;
    }
    Ok(Talk {
        id: socket.id.clone(),
        traffic: client.traffic(),
    })
}

/// What a conversation took.
pub struct Talk {
    /// The client's `socket.id`.
    pub id: String,
    /// Requests, frames and bytes.
    pub traffic: Traffic,
}

/// The outcome of a client's first two requests.
pub struct Twice {
    /// The server that opened the session.
    pub owner: Option<SocketAddr>,
    /// The server that got the second request.
    pub asked: Option<SocketAddr>,
    /// That server's answer, if it refused.
    pub refusal: Option<Answer>,
}

/// A client's first two requests over polling: the handshake, and the first poll.
pub async fn poll_twice(client: &Client) -> Result<Twice, Error> {
    let polling = Polling::open(client).await?;
    let (asked, refusal) = match polling.poll().await {
        Ok(_) => (polling.owner, None),
        Err(error) => (error.refused_by(), error.refusal().cloned()),
    };
    Ok(Twice {
        owner: polling.owner,
        asked,
        refusal,
    })
}

/// Whether an answer is Engine.IO's `Session ID unknown`.
pub fn is_session_unknown(answer: &Answer) -> bool {
    answer.status == 400 && answer.body.contains("Session ID unknown")
}

/// How many of several clients connected.
#[derive(Debug, Default)]
pub struct Tally {
    /// How many connected.
    pub connected: usize,
    /// Why each of the others did not.
    pub reasons: Vec<String>,
}

impl Tally {
    fn add(&mut self, outcome: Result<Socket, Error>) {
        match outcome {
            Ok(_) => self.connected += 1,
            Err(error) => self.reasons.push(error.to_string()),
        }
    }
}

/// Connects `clients` clients over `transport`, one after the other.
pub async fn connect_one_by_one(url: &str, transport: Transport, clients: usize) -> Tally {
    let mut tally = Tally::default();
    for number in 1..=clients {
        let client = Client::new(format!("client {number}"), url);
        tally.add(Socket::connect(&client, transport, None).await);
    }
    tally
}

/// Connects `clients` clients over `transport`, all at the same time.
pub async fn connect_at_once(url: &str, transport: Transport, clients: usize) -> Tally {
    let mut attempts = JoinSet::new();
    for number in 1..=clients {
        let client = Client::new(format!("client {number}"), url);
        attempts.spawn(async move { Socket::connect(&client, transport, None).await });
    }
    let mut tally = Tally::default();
    while let Some(Ok(outcome)) = attempts.join_next().await {
        tally.add(outcome);
    }
    tally
}
