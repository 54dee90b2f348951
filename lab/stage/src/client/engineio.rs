//! Engine.IO, protocol 4: packets, and the two transports that carry them.
//!
//! Source: the protocol's specification, <https://socket.io/docs/v4/engine-io-protocol/>.

use std::{
    fmt,
    net::SocketAddr,
    pin::Pin,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use futures_util::{Sink, SinkExt, Stream, StreamExt};
use hyper::header::HeaderValue;
use serde::Deserialize;
use tokio::time::timeout;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{self, Message, client::IntoClientRequest},
};

use super::{
    Answer, Client, Error,
    http::{fields, tried},
};
use crate::seen::event::Event;

/// Joins the packets of one polling payload.
const SEPARATOR: char = '\x1e';

/// One Engine.IO packet: a digit, and its data.
#[derive(Clone, Debug, PartialEq)]
pub enum Packet {
    /// `0`: the session begins.
    Open(OpenPacket),
    /// `1`: the session ends.
    Close,
    /// `2`: the server checks whether the client is there. A client sends `2probe` to try a
    /// WebSocket before the upgrade.
    Ping(String),
    /// `3`: the answer to a ping.
    Pong(String),
    /// `4`: a message of the protocol above, Socket.IO.
    Message(String),
    /// `5`: from now on, this WebSocket carries the session.
    Upgrade,
    /// `6`: no data. It ends a poll that is held during an upgrade.
    Noop,
}

/// The server's first packet, `0{…}`.
#[derive(Clone, Debug, PartialEq, Deserialize, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenPacket {
    /// The session's ID. Every later request carries it.
    pub sid: String,
    /// The transports that the client may change to.
    pub upgrades: Vec<String>,
    /// Milliseconds between the server's pings.
    pub ping_interval: u64,
    /// Milliseconds that the client may take to answer a ping.
    pub ping_timeout: u64,
    /// Bytes that a payload may have.
    pub max_payload: u64,
}

impl Packet {
    /// Reads one packet.
    ///
    /// # Errors
    /// When the text is no packet: its type is unknown, or an open packet does not hold the right JSON.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let unexpected = || Error::Unexpected(format!("no Engine.IO packet: {text:?}"));
        let kind = text.chars().next().ok_or_else(unexpected)?;
        let rest = text[kind.len_utf8()..].to_owned();
        Ok(match kind {
            '0' => Self::Open(serde_json::from_str(&rest).map_err(|_| unexpected())?),
            '1' => Self::Close,
            '2' => Self::Ping(rest),
            '3' => Self::Pong(rest),
            '4' => Self::Message(rest),
            '5' => Self::Upgrade,
            '6' => Self::Noop,
            _ => return Err(unexpected()),
        })
    }

    fn parse_payload(payload: &str) -> Result<Vec<Self>, Error> {
        payload.split(SEPARATOR).map(Self::parse).collect()
    }
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(open) => {
                let json = serde_json::to_string(open).map_err(|_| fmt::Error)?;
                write!(f, "0{json}")
            }
            Self::Close => write!(f, "1"),
            Self::Ping(data) => write!(f, "2{data}"),
            Self::Pong(data) => write!(f, "3{data}"),
            Self::Message(data) => write!(f, "4{data}"),
            Self::Upgrade => write!(f, "5"),
            Self::Noop => write!(f, "6"),
        }
    }
}

/// A session over long polling: `GET` to receive, `POST` to send.
#[derive(Clone)]
pub struct Polling {
    client: Client,
    /// The server's first packet.
    pub open: OpenPacket,
    /// The server that opened the session, if nginx named it.
    pub owner: Option<SocketAddr>,
}

impl Polling {
    /// Sends the first request. It has no session ID yet.
    ///
    /// # Errors
    /// When the server refuses, or does not answer with an open packet.
    pub async fn open(client: &Client) -> Result<Self, Error> {
        let answer = client
            .get(&target(client, "polling", None), client.inner.who.patience)
            .await
            .and_then(accepted)?;
        let owner = answer.server();
        match Packet::parse(&answer.body)? {
            Packet::Open(open) => Ok(Self {
                client: client.clone(),
                open,
                owner,
            }),
            other => Err(Error::Unexpected(format!("no open packet: {other}"))),
        }
    }

    /// The session with that ID. Another client may have opened it: a server looks at the ID only.
    pub fn with_id(client: &Client, sid: &str) -> Self {
        Self {
            client: client.clone(),
            open: OpenPacket {
                sid: sid.to_owned(),
                upgrades: Vec::new(),
                ping_interval: 25_000,
                ping_timeout: 20_000,
                max_payload: 100_000,
            },
            owner: None,
        }
    }

    /// Asks for packets. The server holds the request until it has a packet, at most until the
    /// next ping.
    ///
    /// # Errors
    /// When the server refuses: `Session ID unknown` if it does not know the session.
    pub async fn poll(&self) -> Result<Vec<Packet>, Error> {
        let held = Duration::from_millis(self.open.ping_interval + self.open.ping_timeout);
        let answer = self
            .client
            .get(&self.target(), held + self.client.inner.who.patience)
            .await
            .and_then(accepted)?;
        Packet::parse_payload(&answer.body)
    }

    /// Sends one packet.
    ///
    /// # Errors
    /// When the server refuses, as for [`Polling::poll`].
    pub async fn send(&self, packet: &Packet) -> Result<(), Error> {
        self.client
            .post(&self.target(), packet.to_string())
            .await
            .and_then(accepted)?;
        Ok(())
    }

    fn target(&self) -> String {
        target(&self.client, "polling", Some(&self.open.sid))
    }
}

/// A WebSocket that carries Engine.IO packets, one in each frame.
pub struct WebSocket {
    client: Client,
    outgoing: Pin<Box<dyn Sink<Message, Error = tungstenite::Error> + Send>>,
    incoming: Pin<Box<dyn Stream<Item = tungstenite::Result<Message>> + Send>>,
    /// The server at the other end, if nginx named it.
    pub owner: Option<SocketAddr>,
    /// The answer to the handshake.
    pub answer: Answer,
}

impl WebSocket {
    /// Opens a WebSocket: for a new session, or to upgrade the session `sid`.
    ///
    /// A successful handshake (101) does not mean that the session exists. The session exists when
    /// the first packet has come.
    ///
    /// # Errors
    /// When the handshake is refused or breaks.
    pub async fn open(client: &Client, sid: Option<&str>) -> Result<Self, Error> {
        let target = target(client, "websocket", sid);
        let started = Instant::now();
        client.counters().requests.fetch_add(1, Relaxed);
        let id = client.asks("GET", &target);
        let patience = client.inner.who.patience;
        let outcome = timeout(patience, Self::handshake(client, &target))
            .await
            .unwrap_or(Err(Error::TooSlow(patience)));
        let (outcome, socket) = match outcome {
            Ok((answer, socket)) => (Ok(answer), Ok(socket)),
            Err(Error::Refused(answer)) => (Ok(answer.clone()), Err(Error::Refused(answer))),
            Err(error) => (Err(Error::Unexpected(error.to_string())), Err(error)),
        };
        client.saw_exchange("GET", &target, id, String::new(), started, &outcome);
        socket
    }

    async fn handshake(client: &Client, target: &str) -> Result<(Answer, Self), Error> {
        let mut request =
            format!("ws://{}{target}", client.inner.who.authority).into_client_request()?;
        for (name, value) in client.headers() {
            let value = HeaderValue::from_str(&value)
                .map_err(|error| Error::Unexpected(error.to_string()))?;
            request.headers_mut().insert(name, value);
        }
        let stream = client.dial().await?;
        let (socket, response): (WebSocketStream<_>, _) =
            tokio_tungstenite::client_async(request, stream).await?;
        client.keep_cookie(response.headers());
        let answer = Answer {
            status: response.status().as_u16(),
            body: String::new(),
            tried: tried(response.headers()),
            headers: fields(response.headers()),
        };
        let owner = answer.server();
        let (outgoing, incoming) = socket.split();
        Ok((
            answer.clone(),
            Self {
                client: client.clone(),
                outgoing: Box::pin(outgoing),
                incoming: Box::pin(incoming),
                owner,
                answer,
            },
        ))
    }

    /// Sends one packet as a frame.
    ///
    /// # Errors
    /// When the WebSocket is closed.
    pub async fn send(&mut self, packet: &Packet) -> Result<(), Error> {
        let text = packet.to_string();
        self.saw_frame(true, &text);
        Ok(self.outgoing.send(Message::text(text)).await?)
    }

    /// Waits for the next packet.
    ///
    /// # Errors
    /// When the WebSocket is closed, or a frame holds no packet.
    pub async fn receive(&mut self) -> Result<Packet, Error> {
        loop {
            match self.incoming.next().await {
                Some(Ok(Message::Text(text))) => {
                    self.saw_frame(false, &text);
                    return Packet::parse(&text);
                }
                // The WebSocket's own control frames carry no packets.
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(Some(close)))) => {
                    let why = format!("{} {}", u16::from(close.code), close.reason);
                    return Err(Error::Unexpected(format!(
                        "the WebSocket was closed: {why}"
                    )));
                }
                Some(Ok(_)) | None => {
                    return Err(Error::Unexpected("the WebSocket was closed".to_owned()));
                }
                Some(Err(error)) => return Err(error.into()),
            }
        }
    }

    fn saw_frame(&self, sent: bool, text: &str) {
        self.client.counters().frames.fetch_add(1, Relaxed);
        self.client.saw(&Event::Frame {
            client: self.client.name().to_owned(),
            sent,
            text: text.to_owned(),
        });
    }
}

fn target(client: &Client, transport: &str, sid: Option<&str>) -> String {
    let mut target = format!("/socket.io/?EIO=4&transport={transport}");
    if let Some(sid) = sid {
        target += &format!("&sid={sid}");
    }
    if !client.inner.who.query.is_empty() {
        target += &format!("&{}", client.inner.who.query);
    }
    target
}

/// Every answer but 200 is a refusal.
fn accepted(answer: Answer) -> Result<Answer, Error> {
    if answer.status == 200 {
        Ok(answer)
    } else {
        Err(Error::Refused(answer))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_payload_is_packets_between_record_separators() {
        assert_eq!(
            Packet::parse_payload("2\x1e42[\"hi\"]").unwrap(),
            [
                Packet::Ping(String::new()),
                Packet::Message("2[\"hi\"]".into())
            ]
        );
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_the_same(text in "[1234].*|[56]") {
            prop_assume!(!text.starts_with('1') || text.len() == 1);
            prop_assert_eq!(Packet::parse(&text).unwrap().to_string(), text);
        }

        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            let _read_or_refused = Packet::parse_payload(&text);
        }
    }
}
