//! Socket.IO, protocol 5: events over an Engine.IO session.
//!
//! Source: the protocol's specification, <https://socket.io/docs/v4/socket-io-protocol/>.

use std::{
    collections::HashMap,
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use serde_json::Value;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};

use super::{
    Client, Error, PATIENCE, Packet, Polling, WebSocket,
    connecting::{upgrade, welcome_over_polling, welcome_over_websocket},
    lock,
};

/// The client's setting `transports`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// `transports: ["polling"]`.
    Polling,
    /// `transports: ["websocket"]`.
    WebSocket,
    /// The default, `["polling", "websocket"]`: the client begins with polling, then upgrades.
    Upgrade,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Polling => "polling",
            Self::WebSocket => "websocket",
            Self::Upgrade => "default",
        })
    }
}

/// A connected Socket.IO client of the namespace `/`. Dropping it breaks the connection.
pub struct Socket {
    /// `socket.id`, as the server calls this connection.
    pub id: String,
    /// The server that holds the session, if nginx named it.
    pub owner: Option<SocketAddr>,
    outgoing: mpsc::UnboundedSender<Packet>,
    events: mpsc::UnboundedReceiver<Received>,
    acks: Acks,
    /// How many acknowledgements the client has asked for. It is also the number of the next one.
    asked: AtomicU64,
    carrier: JoinHandle<()>,
}

/// An event that a client has received.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    /// Its name.
    pub event: String,
    /// Its first argument.
    pub argument: Value,
    /// The number of the acknowledgement that the server waits for, if it waits for one.
    pub number: Option<u64>,
}

impl Received {
    /// Reads an event, such as `2["message",{"text":"Hi"}]`. If the server wants an acknowledgement,
    /// a number stands before the `[`. Returns `None` for any other message.
    pub fn parse(message: &str) -> Option<Self> {
        let (number, arguments) = parts(message, "2")?;
        let mut arguments = arguments.into_iter();
        let Value::String(event) = arguments.next()? else {
            return None;
        };
        Some(Self {
            event,
            argument: arguments.next().unwrap_or(Value::Null),
            number,
        })
    }
}

/// The senders that wait for an acknowledgement, by its number.
type Acks = Arc<Mutex<HashMap<u64, oneshot::Sender<Value>>>>;

/// The session, on whichever transport carries it.
enum Session {
    Polling(Polling),
    WebSocket(WebSocket),
}

impl Socket {
    /// Connects, and returns when the server has accepted the client (`40{"sid":…}`).
    ///
    /// `auth` is the handshake's payload. It says which user the client is.
    ///
    /// # Errors
    /// When a request is refused, a connection breaks, or it takes too long.
    pub async fn connect(
        client: &Client,
        transport: Transport,
        auth: Option<&Value>,
    ) -> Result<Self, Error> {
        let patience = client.inner.who.patience;
        timeout(patience, Self::try_connect(client, transport, auth))
            .await
            .unwrap_or(Err(Error::TooSlow(patience)))
    }

    async fn try_connect(
        client: &Client,
        transport: Transport,
        auth: Option<&Value>,
    ) -> Result<Self, Error> {
        let hello = Packet::Message(match auth {
            Some(auth) => format!("0{auth}"),
            None => "0".to_owned(),
        });
        // Packets that come with the welcome, or during the upgrade, are received too.
        let mut early = Vec::new();
        let (session, id, owner) = match transport {
            Transport::WebSocket => {
                let mut socket = WebSocket::open(client, None).await?;
                match socket.receive().await? {
                    Packet::Open(_) => {}
                    other => return Err(Error::Unexpected(format!("no open packet: {other}"))),
                }
                socket.send(&hello).await?;
                let id = welcome_over_websocket(&mut socket).await?;
                let owner = socket.owner;
                (Session::WebSocket(socket), id, owner)
            }
            Transport::Polling | Transport::Upgrade => {
                let polling = Polling::open(client).await?;
                polling.send(&hello).await?;
                let id = welcome_over_polling(&polling, &mut early).await?;
                let owner = polling.owner;
                if transport == Transport::Upgrade
                    && polling.open.upgrades.iter().any(|to| to == "websocket")
                {
                    (
                        Session::WebSocket(upgrade(client, &polling, &mut early).await?),
                        id,
                        owner,
                    )
                } else {
                    (Session::Polling(polling), id, owner)
                }
            }
        };
        let (outgoing, to_send) = mpsc::unbounded_channel();
        let (heard, events) = mpsc::unbounded_channel();
        let acks = Acks::default();
        let ears = Ears {
            outgoing: outgoing.clone(),
            heard,
            acks: Arc::clone(&acks),
        };
        for packet in early {
            ears.hear(packet);
        }
        let unanswered = Arc::clone(&acks);
        let carrier = tokio::spawn(async move {
            // The record shows how a session ends, and `next_event` returns `None`.
            let _how_it_ended = match session {
                Session::Polling(polling) => carry_polling(polling, to_send, ears).await,
                Session::WebSocket(socket) => carry_websocket(socket, to_send, ears).await,
            };
            // No answer comes any more. Every sender that waits for one gets an error.
            lock(&unanswered).clear();
        });
        Ok(Self {
            id,
            owner,
            outgoing,
            events,
            acks,
            asked: AtomicU64::new(0),
            carrier,
        })
    }

    /// Sends an event with one argument.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn emit(&self, event: &str, argument: &Value) -> Result<(), Error> {
        self.send(format!("2{}", serde_json::json!([event, argument])))
    }

    /// Sends an event and waits for the server's acknowledgement.
    ///
    /// # Errors
    /// When the connection is gone, or there is no acknowledgement in time.
    pub async fn ask(&self, event: &str, argument: &Value) -> Result<Value, Error> {
        self.ask_within(PATIENCE, event, argument).await
    }

    /// The same, where an answer may take longer.
    ///
    /// # Errors
    /// When the connection is gone, or there is no acknowledgement in that time.
    pub async fn ask_within(
        &self,
        patience: Duration,
        event: &str,
        argument: &Value,
    ) -> Result<Value, Error> {
        let (acknowledged, answer) = oneshot::channel();
        let number = self.asked.fetch_add(1, Relaxed);
        lock(&self.acks).insert(number, acknowledged);
        self.send(format!("2{number}{}", serde_json::json!([event, argument])))?;
        timeout(patience, answer)
            .await
            .map_err(|_| Error::TooSlow(patience))?
            .map_err(|_| gone())
    }

    /// Waits for the next event. Returns its name and its first argument, or `None` when the
    /// connection is gone.
    pub async fn next_event(&mut self) -> Option<(String, Value)> {
        let received = self.next_received().await?;
        Some((received.event, received.argument))
    }

    /// The same, with the data that an acknowledgement needs.
    pub async fn next_received(&mut self) -> Option<Received> {
        self.events.recv().await
    }

    /// Acknowledges an event, if the server waits for that.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn acknowledge(&self, received: &Received, answer: &Value) -> Result<(), Error> {
        match received.number {
            Some(number) => self.send(format!("3{number}{}", serde_json::json!([answer]))),
            None => Ok(()),
        }
    }

    /// Waits for an event of that name and ignores others. Returns `None` if it does not come
    /// within the given time, or if the connection is gone.
    pub async fn hear(&mut self, event: &str, within: Duration) -> Option<Value> {
        timeout(within, async {
            loop {
                let (name, argument) = self.next_event().await?;
                if name == event {
                    return Some(argument);
                }
            }
        })
        .await
        .ok()
        .flatten()
    }

    /// Waits for the session's end. Returns whether the session has ended within the given time.
    pub async fn ends(&mut self, within: Duration) -> bool {
        timeout(within, async { while self.next_event().await.is_some() {} })
            .await
            .is_ok()
    }

    fn send(&self, message: String) -> Result<(), Error> {
        self.outgoing
            .send(Packet::Message(message))
            .map_err(|_| gone())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.carrier.abort();
    }
}

fn gone() -> Error {
    Error::Unexpected("the session has ended".to_owned())
}

/// Passes on a session's packets.
struct Ears {
    outgoing: mpsc::UnboundedSender<Packet>,
    heard: mpsc::UnboundedSender<Received>,
    acks: Acks,
}

impl Ears {
    fn hear(&self, packet: Packet) {
        match packet {
            Packet::Ping(_) => {
                // It is closed only when no sender is left. This task is one of them.
                let _sent = self.outgoing.send(Packet::Pong(String::new()));
            }
            Packet::Message(message) => self.hear_message(&message),
            _ => {}
        }
    }

    fn hear_message(&self, message: &str) {
        if let Some(received) = Received::parse(message) {
            // There is no receiver after the socket was dropped.
            let _unheard = self.heard.send(received);
        } else if let Some((number, arguments)) = parts(message, "3")
            && let Some(waiting) = number.and_then(|number| lock(&self.acks).remove(&number))
        {
            let answer = arguments.into_iter().next().unwrap_or(Value::Null);
            let _gave_up_waiting = waiting.send(answer);
        }
    }
}

/// The number and the arguments of a message of one kind, a digit of the protocol.
fn parts(message: &str, kind: &str) -> Option<(Option<u64>, Vec<Value>)> {
    let rest = message.strip_prefix(kind)?;
    let digits = rest.find(|c: char| !c.is_ascii_digit())?;
    let (number, json) = rest.split_at(digits);
    Some((number.parse().ok(), serde_json::from_str(json).ok()?))
}

async fn carry_polling(
    polling: Polling,
    mut to_send: mpsc::UnboundedReceiver<Packet>,
    ears: Ears,
) -> Result<(), Error> {
    loop {
        let poll = polling.poll();
        tokio::pin!(poll);
        let packets = loop {
            tokio::select! {
                packets = &mut poll => break packets?,
                Some(packet) = to_send.recv() => polling.send(&packet).await?,
            }
        };
        for packet in packets {
            ears.hear(packet);
        }
    }
}

async fn carry_websocket(
    mut socket: WebSocket,
    mut to_send: mpsc::UnboundedReceiver<Packet>,
    ears: Ears,
) -> Result<(), Error> {
    loop {
        tokio::select! {
            packet = socket.receive() => ears.hear(packet?),
            Some(packet) = to_send.recv() => socket.send(&packet).await?,
        }
    }
}
