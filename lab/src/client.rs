//! Somebody who asks: a client that keeps a record of all it sends and receives.
//!
//! It speaks HTTP/1.1, Engine.IO 4 over both transports, and Socket.IO 5, packet by
//! packet, because the packets are what the lessons are about.

mod engineio;
mod http;
mod socketio;

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

pub use engineio::{OpenPacket, Packet, Polling, WebSocket};
pub use http::{Answer, Connection};
pub use socketio::{Received, Socket, Transport};

use crate::event::Event;

/// How long a client waits for an answer that should come at once.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A client of one server, or of nginx in front of several.
///
/// Cloned handles are the same client: one name, one address, one record.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    /// `host:port` of the URL.
    authority: String,
    address: Option<Ipv4Addr>,
    keeps_cookies: bool,
    listener: Option<Listener>,
    cookie: Mutex<Option<String>>,
    idle: Mutex<Vec<Connection>>,
    seen: Mutex<Vec<Event>>,
    traffic: Arc<Counters>,
}

/// Hears what a client sends and receives, as it happens.
type Listener = Box<dyn Fn(Event) + Send + Sync>;

/// What a client has sent and received so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// HTTP requests, the one that opens a WebSocket included.
    pub requests: u64,
    /// WebSocket frames, both ways.
    pub frames: u64,
    /// Bytes written to the socket: bodies, headers, frames.
    pub bytes_sent: u64,
    /// Bytes read from the socket.
    pub bytes_received: u64,
}

#[derive(Default)]
struct Counters {
    requests: AtomicU64,
    frames: AtomicU64,
    bytes_sent: AtomicU64,
    bytes_received: AtomicU64,
}

impl Client {
    /// A client called `name` that asks `url`, such as `http://127.0.0.1:3000`.
    pub fn new(name: impl Into<String>, url: &str) -> Self {
        Self::build(name.into(), url, None, false, None)
    }

    /// The same, standing for `address`: it says so in `X-Forwarded-For`, which the
    /// configs believe of this machine.
    pub fn at(name: impl Into<String>, url: &str, address: Ipv4Addr) -> Self {
        Self::build(name.into(), url, Some(address), false, None)
    }

    /// The same client, which keeps cookies as a browser does.
    #[must_use]
    pub fn keeping_cookies(self) -> Self {
        Self::build(
            self.inner.name.clone(),
            &self.inner.authority,
            self.inner.address,
            true,
            None,
        )
    }

    /// The same client, which tells `listener` what it sends and receives as it happens,
    /// and keeps no record of it.
    #[must_use]
    pub fn telling(self, listener: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self::build(
            self.inner.name.clone(),
            &self.inner.authority,
            self.inner.address,
            self.inner.keeps_cookies,
            Some(Box::new(listener)),
        )
    }

    fn build(
        name: String,
        url: &str,
        address: Option<Ipv4Addr>,
        keeps_cookies: bool,
        listener: Option<Listener>,
    ) -> Self {
        let authority = url.trim_start_matches("http://").trim_end_matches('/');
        Self {
            inner: Arc::new(Inner {
                name,
                authority: authority.to_owned(),
                address,
                keeps_cookies,
                listener,
                cookie: Mutex::default(),
                idle: Mutex::default(),
                seen: Mutex::default(),
                traffic: Arc::default(),
            }),
        }
    }

    /// The client's name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Takes the record of what was seen since the last call.
    pub fn take_seen(&self) -> Vec<Event> {
        std::mem::take(&mut lock(&self.inner.seen))
    }

    /// What was sent and received so far.
    pub fn traffic(&self) -> Traffic {
        let counters = &self.inner.traffic;
        Traffic {
            requests: counters.requests.load(Relaxed),
            frames: counters.frames.load(Relaxed),
            bytes_sent: counters.bytes_sent.load(Relaxed),
            bytes_received: counters.bytes_received.load(Relaxed),
        }
    }

    fn saw(&self, event: Event) {
        match &self.inner.listener {
            Some(listener) => listener(event),
            None => lock(&self.inner.seen).push(event),
        }
    }
}

/// Why a client did not get what it asked for.
#[derive(Debug)]
pub enum Error {
    /// The answer was an HTTP error.
    Refused(Answer),
    /// There was no answer: the connection failed or broke.
    Broken(io::Error),
    /// There was no answer in time.
    TooSlow,
    /// There was an answer that the protocol does not allow.
    Unexpected(String),
}

impl Error {
    /// The answer of a refused request, if that is what happened.
    pub fn refusal(&self) -> Option<&Answer> {
        match self {
            Self::Refused(answer) => Some(answer),
            _ => None,
        }
    }

    /// The server that refused, where nginx said which one it was.
    pub fn refused_by(&self) -> Option<SocketAddr> {
        self.refusal().and_then(Answer::server)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(answer) => write!(f, "{} {}", answer.status, answer.body.trim()),
            Self::Broken(source) => write!(f, "the connection broke: {source}"),
            Self::TooSlow => write!(f, "no answer within {} s", PATIENCE.as_secs()),
            Self::Unexpected(what) => write!(f, "{what}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(source: io::Error) -> Self {
        Self::Broken(source)
    }
}

impl From<hyper::Error> for Error {
    fn from(source: hyper::Error) -> Self {
        if source.is_canceled() || source.is_closed() || source.is_incomplete_message() {
            return Self::Broken(closed());
        }
        Self::Broken(io::Error::other(source))
    }
}

/// The end of a connection, in the words of whoever looks at the socket.
fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the other side closed it")
}

/// None of these locks is held across an `.await`, and a panic leaves their contents whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
