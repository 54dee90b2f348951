//! A client that records everything that it sends and receives.
//!
//! It speaks HTTP/1.1, Engine.IO 4 over both transports, and Socket.IO 5, packet by
//! packet, because the packets are what the lessons are about.

mod connecting;
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
use hyper::header::HeaderName;
pub use socketio::{Received, Socket, Transport};

use crate::seen::event::Event;

/// How long a client waits for an answer that should come immediately.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A client of one server, or of nginx in front of several.
///
/// Cloned handles are the same client: one name, one address, one record.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    who: Who,
    /// The functions that are called with each event of the client.
    listeners: Vec<Tell>,
    cookie: Mutex<Option<String>>,
    idle: Mutex<Vec<Connection>>,
    traffic: Arc<Counters>,
}

/// What tells one client from another.
#[derive(Clone, Default)]
struct Who {
    name: String,
    /// `host:port` of the URL.
    authority: String,
    address: Option<Ipv4Addr>,
    /// A query that is added to the requests of Engine.IO. Most clients have none.
    query: String,
    /// The origin of the page that its requests claim to come from.
    origin: Option<String>,
    /// Headers that most clients do not send.
    headers: Vec<(HeaderName, String)>,
    keeps_cookies: bool,
    /// How long it waits for an answer that should come immediately.
    patience: Duration,
}

type Tell = Arc<dyn Fn(Event) + Send + Sync>;

tokio::task_local! {
    /// The function that gets the events of all clients that this task makes.
    static OVERHEARS: Tell;
}

/// Runs `lesson`. `tell` gets everything that the clients made in it send and receive, as it
/// happens.
pub(crate) async fn overheard<T>(
    tell: impl Fn(Event) + Send + Sync + 'static,
    lesson: impl Future<Output = T>,
) -> T {
    OVERHEARS.scope(Arc::new(tell), lesson).await
}

/// The events of a client, for code that looks at them later.
#[derive(Clone, Default)]
pub struct Seen(Arc<Mutex<Vec<Event>>>);

impl Seen {
    /// The events since the last call, in order.
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut lock(&self.0))
    }
}

/// What a client has sent and received so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// HTTP requests. The request that opens a WebSocket is one of them.
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
    /// A client called `name`. It sends its requests to `url`, such as `http://127.0.0.1:3000`.
    pub fn new(name: impl Into<String>, url: &str) -> Self {
        let authority = url.trim_start_matches("http://").trim_end_matches('/');
        let who = Who {
            name: name.into(),
            authority: authority.to_owned(),
            patience: PATIENCE,
            ..Who::default()
        };
        let overhears = OVERHEARS.try_with(Arc::clone).ok();
        Self::of(who, overhears.into_iter().collect())
    }

    /// The same, with another address. The client sends the address in `X-Forwarded-For`. The
    /// configs accept this header from this machine.
    pub fn at(name: impl Into<String>, url: &str, address: Ipv4Addr) -> Self {
        Self::new(name, url).with(|who| who.address = Some(address))
    }

    /// The same client, but it keeps cookies as a browser does.
    #[must_use]
    pub fn keeping_cookies(self) -> Self {
        self.with(|who| who.keeps_cookies = true)
    }

    /// The same client, but it adds `query`, such as `server=b`, to its requests of Engine.IO. The
    /// official client's option `query` does the same.
    #[must_use]
    pub fn with_query(self, query: &str) -> Self {
        self.with(|who| query.clone_into(&mut who.query))
    }

    /// The same client, but it sends `Origin`, as a browser does for a page of that origin.
    #[must_use]
    pub fn with_origin(self, origin: &str) -> Self {
        self.with(|who| who.origin = Some(origin.to_owned()))
    }

    /// The same client, but it waits for answers as long as `patience`, and not [`PATIENCE`].
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        self.with(|who| who.patience = patience)
    }

    /// The same client, but it sends another header, or another value than a client should.
    #[must_use]
    pub fn with_header(self, name: &'static str, value: &str) -> Self {
        let header = (HeaderName::from_static(name), value.to_owned());
        self.with(|who| who.headers.push(header))
    }

    /// The same client, but its events go to `listener` only, as they happen.
    #[must_use]
    pub fn telling(self, listener: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self::of(self.inner.who.clone(), vec![Arc::new(listener)])
    }

    /// The same client, and the record of its events from now on.
    #[must_use]
    pub fn recorded(self) -> (Self, Seen) {
        let seen = Seen::default();
        let mut listeners = self.inner.listeners.clone();
        let record = seen.clone();
        listeners.push(Arc::new(move |event| lock(&record.0).push(event)));
        (Self::of(self.inner.who.clone(), listeners), seen)
    }

    fn with(self, change: impl FnOnce(&mut Who)) -> Self {
        let mut who = self.inner.who.clone();
        change(&mut who);
        Self::of(who, self.inner.listeners.clone())
    }

    fn of(who: Who, listeners: Vec<Tell>) -> Self {
        Self {
            inner: Arc::new(Inner {
                who,
                listeners,
                cookie: Mutex::default(),
                idle: Mutex::default(),
                traffic: Arc::default(),
            }),
        }
    }

    /// The client's name.
    pub fn name(&self) -> &str {
        &self.inner.who.name
    }

    /// How much the client has sent and received so far.
    pub fn traffic(&self) -> Traffic {
        let counters = &self.inner.traffic;
        Traffic {
            requests: counters.requests.load(Relaxed),
            frames: counters.frames.load(Relaxed),
            bytes_sent: counters.bytes_sent.load(Relaxed),
            bytes_received: counters.bytes_received.load(Relaxed),
        }
    }

    fn saw(&self, event: &Event) {
        for tell in &self.inner.listeners {
            tell(event.clone());
        }
    }
}

/// Why a request or a connection of a client failed.
#[derive(Debug)]
pub enum Error {
    /// The answer was an HTTP error.
    Refused(Answer),
    /// There was no answer: the connection failed or broke.
    Broken(io::Error),
    /// There was no answer within this time.
    TooSlow(Duration),
    /// There was an answer that the protocol does not allow.
    Unexpected(String),
}

impl Error {
    /// The answer, if the request was refused.
    pub fn refusal(&self) -> Option<&Answer> {
        match self {
            Self::Refused(answer) => Some(answer),
            _ => None,
        }
    }

    /// The server that refused the request, if nginx named it.
    pub fn refused_by(&self) -> Option<SocketAddr> {
        self.refusal().and_then(Answer::server)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(answer) => write!(f, "{} {}", answer.status, answer.body.trim()),
            Self::Broken(source) => write!(f, "the connection broke: {source}"),
            Self::TooSlow(time) => write!(f, "no answer within {} s", time.as_secs()),
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

/// The error for a connection that the other side has closed.
fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the other side closed it")
}

/// Locks a mutex. None of these locks is held across an `.await`, and a panic does not leave the
/// contents half changed.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
