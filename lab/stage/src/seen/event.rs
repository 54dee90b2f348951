//! The observed events, as one typed list.
//!
//! Clients report their requests. The stage adds its own events, such as the start of a server or a
//! request that nginx has forwarded. The terminal, the page and the snapshots all show this list.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use serde::{Serialize, Serializer};

use crate::seen::redact::{redact, redact_console};

/// A part of the stage: a process that the stage started or uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// One of the servers, by its letter: `A`, `B`, …
    Server(char),
    /// nginx.
    Nginx,
    /// Redis, or the embedded pub/sub server in its place.
    Redis,
    /// Any other program, by its name: `subscriber`, `emit`, …
    Program(&'static str),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(letter) => write!(f, "{letter}"),
            Self::Nginx => write!(f, "nginx"),
            Self::Redis => write!(f, "Redis"),
            Self::Program(name) => write!(f, "{name}"),
        }
    }
}

/// The result that a claim predicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expected {
    /// It works.
    Success,
    /// It fails, and the lesson predicts this failure.
    Failure,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A chapter begins.
    Chapter {
        /// Its number and its question.
        title: String,
    },
    /// The next experiment begins.
    Step {
        /// The title of the experiment.
        title: String,
    },
    /// The lesson explains a result.
    Note {
        /// One or more lines.
        text: String,
    },
    /// The lesson claims something, and the result agrees or does not.
    Claim {
        /// The claim, as a sentence.
        text: String,
        /// The result, if the claim's text does not say it. It may be empty.
        seen: String,
        /// Whether the lesson predicts a success or a failure.
        expects: Expected,
        /// Whether the result agrees.
        held: bool,
    },
    /// A part runs and answers.
    Up {
        /// The part.
        part: Part,
        /// Its PID, if it is a process.
        pid: Option<u32>,
        /// The program, and the address on which it listens.
        detail: String,
    },
    /// A part has ended.
    Down {
        /// The part.
        part: Part,
        /// How it ended.
        how: String,
    },
    /// A part printed a line.
    Said {
        /// The part.
        part: Part,
        /// The line, without its end.
        line: String,
    },
    /// A client sent a request. Its answer is the exchange with the same `id`. A lesson's clients
    /// report it, and clients with a listener ([`crate::Client::telling`]).
    Asked {
        /// The request's number.
        id: u64,
        /// The client's name.
        client: String,
        /// The client's address, if it is not the address of this machine.
        address: Option<Ipv4Addr>,
        /// `GET` or `POST`.
        method: &'static str,
        /// Path and query.
        target: String,
    },
    /// A client sent a request and got an answer, or an error.
    Exchange(Exchange),
    /// A client sent or received a WebSocket frame.
    Frame {
        /// The client's name.
        client: String,
        /// Whether the client sent the frame. Otherwise it received the frame.
        sent: bool,
        /// The text of the frame: an Engine.IO packet.
        text: String,
    },
    /// nginx finished a request: a line of its access log.
    Forwarded(Forwarded),
    /// A client published a message, and Redis passed it on to its subscribers.
    Published {
        /// The channel.
        channel: String,
        /// The message's length.
        bytes: usize,
    },
    /// A user wrote to another, and the message arrived or did not.
    Message {
        /// The sender.
        from: String,
        /// The receiver.
        to: String,
        /// The message.
        text: String,
        /// Whether it arrived in time.
        arrived: bool,
    },
}

/// An HTTP request and its answer, as the client saw them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Exchange {
    /// The request's number. This process counts its requests.
    pub id: u64,
    /// The client's name.
    pub client: String,
    /// `GET` or `POST`.
    pub method: &'static str,
    /// Path and query.
    pub target: String,
    /// The request's body, if it has one.
    pub sent: String,
    /// The servers that nginx asked, in order, from its header `X-Upstream`. The last one
    /// answered. Empty without nginx.
    pub tried: Vec<SocketAddr>,
    /// The answer's status, or what came instead of an answer.
    pub outcome: Result<Answered, String>,
    /// From the first byte sent to the last one received.
    #[serde(serialize_with = "milliseconds")]
    pub took: Duration,
}

/// Status and body of an answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answered {
    /// The HTTP status code.
    pub status: u16,
    /// The body, as text.
    pub body: String,
}

/// A line of nginx's access log (`log_format lab` in `nginx/include/http.conf`).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Forwarded {
    /// The client's address, after `X-Forwarded-For`.
    pub client: String,
    /// Method, path and query, protocol.
    pub request: String,
    /// The status sent to the client.
    pub status: u16,
    /// The servers asked, in order.
    pub tried: Vec<SocketAddr>,
    /// Seconds from the first byte received to the last one sent.
    pub seconds: f64,
}

impl Event {
    /// Whether the terminal leaves the event out while an experiment runs. The clients report the
    /// same requests already, and the order of the servers' lines changes from run to run.
    pub fn is_background(&self) -> bool {
        matches!(
            self,
            Self::Asked { .. }
                | Self::Forwarded(_)
                | Self::Said {
                    part: Part::Server(_),
                    ..
                }
        )
    }

    /// The same event, with session IDs cut to their first characters. With polling, an ID is a
    /// secret of its client.
    #[must_use]
    pub fn without_secrets(mut self) -> Self {
        match &mut self {
            Self::Said { line, .. } => *line = redact_console(line),
            Self::Asked { target, .. } => *target = redact(target),
            Self::Frame { text, .. } => *text = redact(text),
            Self::Forwarded(forwarded) => forwarded.request = redact(&forwarded.request),
            Self::Exchange(exchange) => {
                exchange.target = redact(&exchange.target);
                exchange.sent = redact(&exchange.sent);
                if let Ok(answered) = &mut exchange.outcome {
                    answered.body = redact(&answered.body);
                }
            }
            _ => {}
        }
        self
    }
}

impl Forwarded {
    /// Reads a line of the access log; `None` for any other line.
    pub fn parse(line: &str) -> Option<Self> {
        let (client, rest) = line.strip_prefix("access ")?.split_once(" \"")?;
        let (request, rest) = rest.split_once("\" ")?;
        let mut fields = rest.splitn(3, ' ');
        Some(Self {
            client: client.to_owned(),
            request: request.to_owned(),
            status: fields.next()?.parse().ok()?,
            seconds: fields.next()?.parse().ok()?,
            tried: upstreams(fields.next()?),
        })
    }
}

/// The addresses in a value of nginx's `$upstream_addr`: `127.0.0.1:8000, 127.0.0.1:8001`.
///
/// If nginx could ask no server, the value is the upstream's name, and the list is empty.
pub(crate) fn upstreams(value: &str) -> Vec<SocketAddr> {
    value
        .split([',', ' '])
        .filter_map(|address| address.parse().ok())
        .collect()
}

fn milliseconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::Forwarded;

    #[test]
    fn a_line_of_the_access_log_is_read_whole() {
        let line =
            r#"access 10.0.0.1 "GET /?a=1 HTTP/1.1" 200 0.004 127.0.0.1:8001, 127.0.0.1:8002"#;
        let seen = Forwarded::parse(line).unwrap();
        assert_eq!(seen.client, "10.0.0.1");
        assert_eq!(seen.request, "GET /?a=1 HTTP/1.1");
        assert_eq!(seen.status, 200);
        assert_eq!(seen.tried.len(), 2);
    }

    #[test]
    fn no_server_asked_and_no_line_of_the_log_are_told_apart() {
        let none = Forwarded::parse(r#"access ::1 "GET / HTTP/1.1" 502 0.000 nodes"#).unwrap();
        assert!(none.tried.is_empty());
        assert_eq!(Forwarded::parse("nginx: [emerg] bind() failed"), None);
    }
}
