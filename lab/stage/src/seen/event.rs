//! What is observed, as one typed list.
//!
//! An experiment returns events, the stage adds its own (a server is up, nginx
//! forwarded a request), and every view (terminal, page, snapshot) is a rendering
//! of that one list.

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
    /// Redis, or the pub/sub server that stands in for it.
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

/// What a claim says will be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expected {
    /// It works.
    Success,
    /// It fails, and the lesson says so beforehand.
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
    /// The lesson turns to its next experiment.
    Step {
        /// What is about to be tried.
        title: String,
    },
    /// The lesson says how to read what was seen.
    Note {
        /// One or more lines.
        text: String,
    },
    /// The lesson claims something, and what was seen agrees or does not.
    Claim {
        /// The claim, as a sentence.
        text: String,
        /// What was seen, where the claim alone does not say it; may be empty.
        seen: String,
        /// Whether the lesson shows something that works here, or something that fails.
        expects: Expected,
        /// Whether what was seen agrees.
        held: bool,
    },
    /// A part is there and answers.
    Up {
        /// Which one.
        part: Part,
        /// Its process, where it has one of its own.
        pid: Option<u32>,
        /// Which program it is and where it listens.
        detail: String,
    },
    /// A part is gone.
    Down {
        /// Which one.
        part: Part,
        /// What ended it.
        how: String,
    },
    /// A part wrote a line to its console.
    Said {
        /// Which one.
        part: Part,
        /// The line, without its end.
        line: String,
    },
    /// A client sent a request; its answer is the exchange with the same `id`. Told
    /// by a lesson's clients, and by those with a listener ([`crate::Client::telling`]).
    Asked {
        /// The request's number.
        id: u64,
        /// Who asked.
        client: String,
        /// The address that it stands for, if not its own.
        address: Option<Ipv4Addr>,
        /// `GET` or `POST`.
        method: &'static str,
        /// Path and query.
        target: String,
    },
    /// A client sent a request and had an answer (or none).
    Exchange(Exchange),
    /// A client sent or received a WebSocket frame.
    Frame {
        /// Who.
        client: String,
        /// Sent by the client, or received.
        sent: bool,
        /// The text of the frame: an Engine.IO packet.
        text: String,
    },
    /// nginx finished a request that it had passed on: a line of its access log.
    Forwarded(Forwarded),
    /// Redis carried a message: a subscriber of all channels saw it.
    Published {
        /// On which channel.
        channel: String,
        /// How long the message is.
        bytes: usize,
    },
    /// A user wrote to another, and the message arrived or did not.
    Message {
        /// Who wrote.
        from: String,
        /// To whom.
        to: String,
        /// What.
        text: String,
        /// Whether it arrived within the time given to it.
        arrived: bool,
    },
}

/// An HTTP request and its answer, as the client saw them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Exchange {
    /// The request's number, of all that this process sent.
    pub id: u64,
    /// Who asked.
    pub client: String,
    /// `GET` or `POST`.
    pub method: &'static str,
    /// Path and query.
    pub target: String,
    /// The request's body, if it has one.
    pub sent: String,
    /// The servers that nginx asked, in order, from its header `X-Upstream`; the
    /// last one answered. Empty without nginx in between.
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
    /// Whether it is left out while a lesson runs: its clients tell what they see, and
    /// consoles and logs would tell it twice, in an order that changes from run to run.
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

    /// The same with each session ID cut to its first characters, for whoever is not its
    /// owner: under polling, an ID is a secret.
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
/// The name of the upstream, which stands there when no server could be asked, is no address.
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
