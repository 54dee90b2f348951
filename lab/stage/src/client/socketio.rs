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
    /// The default, `["polling", "websocket"]`: begins with polling, then upgrades.
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
    /// The server that holds the session, where nginx says which one it is.
    pub owner: Option<SocketAddr>,
    outgoing: mpsc::UnboundedSender<Packet>,
    events: mpsc::UnboundedReceiver<Received>,
    acks: Acks,
    /// How many acknowledgements were asked for: the number of the next one.
    asked: AtomicU64,
    carrier: JoinHandle<()>,
}

/// An event that a client has heard.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    /// Its name.
    pub event: String,
    /// Its first argument.
    pub argument: Value,
    /// The number under which the server waits for an acknowledgement, if it does.
    pub number: Option<u64>,
}

impl Received {
    /// Reads a message that is an event, such as `2["message",{"text":"Hi"}]`, with a number
    /// between if the server wants an acknowledgement. `None` for any other message.
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

/// Who waits for the acknowledgement with which number.
type Acks = Arc<Mutex<HashMap<u64, oneshot::Sender<Value>>>>;

/// The session, on whichever transport carries it.
enum Session {
    Polling(Polling),
    WebSocket(WebSocket),
}

impl Socket {
    /// Connects, and is done when the server has said so (`40{"sid":…}`).
    ///
    /// `auth` is the handshake's payload: who the client says it is.
    ///
    /// # Errors
    /// When a request is refused, a connection breaks, or it takes too long.
    pub async fn connect(
        client: &Client,
        transport: Transport,
        auth: Option<&Value>,
    ) -> Result<Self, Error> {
        timeout(PATIENCE, Self::try_connect(client, transport, auth))
            .await
            .unwrap_or(Err(Error::TooSlow))
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
        // What comes with the welcome, or during the upgrade, is heard too.
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
            // How a session ends shows in the record and to whoever waits for an event.
            let _how_it_ended = match session {
                Session::Polling(polling) => carry_polling(polling, to_send, ears).await,
                Session::WebSocket(socket) => carry_websocket(socket, to_send, ears).await,
            };
            // No answer comes any more: whoever waits for one is told so.
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
            .map_err(|_| Error::TooSlow)?
            .map_err(|_| gone())
    }

    /// Waits for the next event: its name, and its first argument. `None` once the
    /// connection is gone.
    pub async fn next_event(&mut self) -> Option<(String, Value)> {
        let received = self.next_received().await?;
        Some((received.event, received.argument))
    }

    /// The same, with what an acknowledgement needs.
    pub async fn next_received(&mut self) -> Option<Received> {
        self.events.recv().await
    }

    /// Acknowledges what was heard, if the server waits for that.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn acknowledge(&self, received: &Received, answer: &Value) -> Result<(), Error> {
        match received.number {
            Some(number) => self.send(format!("3{number}{}", serde_json::json!([answer]))),
            None => Ok(()),
        }
    }

    /// Waits for an event of that name; others are passed over. `None` if it does not
    /// come within the given time, or the connection is gone.
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

    /// Waits for the session's end. Returns whether it came within the given time.
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

/// Where a session's packets go.
struct Ears {
    outgoing: mpsc::UnboundedSender<Packet>,
    heard: mpsc::UnboundedSender<Received>,
    acks: Acks,
}

impl Ears {
    fn hear(&self, packet: Packet) {
        match packet {
            Packet::Ping(_) => {
                // Closed only when nobody sends any more, the carrier included.
                let _sent = self.outgoing.send(Packet::Pong(String::new()));
            }
            Packet::Message(message) => self.hear_message(&message),
            _ => {}
        }
    }

    fn hear_message(&self, message: &str) {
        if let Some(received) = Received::parse(message) {
            // Nobody listens once the socket is dropped.
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
