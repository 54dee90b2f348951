//! Chapter 3: a Socket.IO server, and what its clients send over the wire.
//!
//! [`app`] is the server; chapter 4 uses it as it is. The experiments take the URL of
//! what stands, a server alone or nginx in front of three, and do what a client does.
//! [`forge`] is about the session's ID, which is a secret.

pub mod beside_node;
pub mod bounds;
pub mod forge;
mod page;

use std::{net::SocketAddr, time::Duration};

use axum::Router;
use bounds::bounded;
use ch01_express_pid::{listen, log};
use lab::{
    Client, Event, Socket, Transport,
    client::{Answer, Error, OpenPacket, PATIENCE, Packet, Polling, Traffic},
};
use serde_json::json;
use socketioxide::{
    SocketIo,
    extract::{Data, SocketRef},
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

/// The server: it says who has connected, and passes a `message` on to everyone else.
/// At `/` is a page of clients to try it with.
pub fn app() -> (Router, SocketIo) {
    let (layer, io) = bounded().build_layer();
    io.ns("/", async |socket: SocketRef| {
        log(format!("{} connected", socket.id));
        socket.on("message", pass_on);
    });
    (page::routes().layer(layer), io)
}

async fn pass_on(socket: SocketRef, Data(text): Data<String>) {
    if let Err(error) = socket.broadcast().emit("message", &text).await {
        log(format!("a message was not passed on: {error}"));
    }
}

/// Serves [`app`] on the port that `PORT` names, until SIGTERM.
///
/// # Errors
/// When the port cannot be had.
pub async fn serve() -> lab::Result<()> {
    let (app, io) = app();
    let listener = listen().await?;
    // Sockets are closed first: a poll that is held, or a WebSocket, would keep the
    // server from ending.
    let drain = async move { io.close().await };
    Ok(ch01_express_pid::serve("Socket Server", listener, app, drain).await?)
}

/// What the first request of a polling client brings.
pub struct Handshake {
    /// The packet `0{…}`, if the server answered with one.
    pub open: Option<OpenPacket>,
    /// The exchange.
    pub seen: Vec<Event>,
}

/// Sends the first request: `GET /socket.io/?EIO=4&transport=polling`.
pub async fn handshake(url: &str) -> Handshake {
    let client = Client::new("you", url);
    let open = Polling::open(&client)
        .await
        .ok()
        .map(|polling| polling.open);
    Handshake {
        open,
        seen: client.take_seen(),
    }
}

/// A poll that the server held.
pub struct Held {
    /// How long the poll took, from the request to its answer.
    pub held: Duration,
    /// What was said, as the poll brought it.
    pub packets: Vec<Packet>,
    /// The exchanges.
    pub seen: Vec<Event>,
}

/// A client polls; somebody else says `text` once `pause` has passed.
///
/// # Errors
/// When one of the two cannot connect.
pub async fn hold_a_poll(url: &str, text: &str, pause: Duration) -> Result<Held, Error> {
    let client = Client::new("you", url);
    let polling = Polling::open(&client).await?;
    enter(&polling).await?;

    let friend = Client::new("friend", url);
    let speaker = Socket::connect(&friend, Transport::WebSocket, None).await?;
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
        seen: client.take_seen(),
    })
}

/// Connects to the namespace. The welcome and the first ping come at once; after them, the
/// server has nothing to say.
async fn enter(polling: &Polling) -> Result<(), Error> {
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

/// Connects over `transport`, and one message goes each way. Returns what went over the wire.
///
/// # Errors
/// When a client cannot connect, or a message does not arrive.
pub async fn talk(url: &str, transport: Transport, messages: usize) -> Result<Talk, Error> {
    let friend = Client::new("friend", url);
    let mut friend = Socket::connect(&friend, Transport::WebSocket, None).await?;
    let client = Client::new("you", url);
    let mut socket = Socket::connect(&client, transport, None).await?;
    for _ in 0..messages {
        socket.emit("message", &json!("hi"))?;
        friend
            .hear("message", PATIENCE)
            .await
            .ok_or(Error::TooSlow)?;
        friend.emit("message", &json!("hello world"))?;
        socket
            .hear("message", PATIENCE)
            .await
            .ok_or(Error::TooSlow)?;
    }
    Ok(Talk {
        id: socket.id.clone(),
        traffic: client.traffic(),
        seen: client.take_seen(),
    })
}

/// What it took to connect and talk.
pub struct Talk {
    /// The client's `socket.id`.
    pub id: String,
    /// Requests, frames and bytes.
    pub traffic: Traffic,
    /// The requests and frames themselves.
    pub seen: Vec<Event>,
}

/// What became of a client's first two requests.
pub struct Twice {
    /// The server that opened the session.
    pub owner: Option<SocketAddr>,
    /// The server that was asked second.
    pub asked: Option<SocketAddr>,
    /// Its answer, if it refused.
    pub refusal: Option<Answer>,
    /// Both exchanges.
    pub seen: Vec<Event>,
}

/// A client's first two requests over polling: the handshake, and the first poll.
///
/// # Errors
/// When the handshake already fails.
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
        seen: client.take_seen(),
    })
}

/// Whether an answer is Engine.IO's `Session ID unknown`.
pub fn is_session_unknown(answer: &Answer) -> bool {
    answer.status == 400 && answer.body.contains("Session ID unknown")
}

/// How many of several clients got through.
#[derive(Debug, Default)]
pub struct Tally {
    /// Clients that connected.
    pub connected: usize,
    /// Why the others did not, one reason each.
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

/// Connects `clients` clients over `transport`, all at once.
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

/// Tries once to connect, and returns what was seen, and whether it worked.
pub async fn connect_once(url: &str, transport: Transport) -> (Result<(), Error>, Vec<Event>) {
    let client = Client::new("you", url);
    let connected = Socket::connect(&client, transport, None).await.map(drop);
    (connected, client.take_seen())
}
