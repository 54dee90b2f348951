//! The page's clients: they connect, stay, hear, and come back when they are thrown out.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Result, bail, ensure};
use lab::{Client, Event, Recorder, Socket, Transport};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinSet,
    time::sleep,
};

use crate::Talk;

/// How many clients the page may have.
const SEATS: usize = 60;
/// After how long a client that was refused tries again, as the official one does.
const AGAIN: Duration = Duration::from_secs(1);
/// After how long a message counts as lost.
pub(crate) const LOST_AFTER: Duration = Duration::from_millis(1500);
/// The longest message, in bytes.
const TEXT: usize = 200;

/// Users of a chapter in which they write to each other; the rest have numbers.
const USERS: [&str; 8] = [
    "alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi",
];

/// Where clients come from.
#[derive(Clone, Copy, Debug, Deserialize)]
pub enum Crowd {
    /// All from one address.
    #[serde(rename = "one-address")]
    OneAddress,
    /// All from one /24.
    #[serde(rename = "one-24")]
    OneSubnet,
    /// Each from a /24 of its own.
    #[serde(rename = "spread")]
    Spread,
}

impl Crowd {
    /// Addresses of their own, so that a client of the lesson or of a learner is told apart.
    fn address(self, seat: usize) -> Ipv4Addr {
        let number = u8::try_from(seat).unwrap_or(u8::MAX);
        match self {
            Self::OneAddress => Ipv4Addr::new(10, 1, 0, 1),
            Self::OneSubnet => Ipv4Addr::new(10, 1, 0, number),
            Self::Spread => Ipv4Addr::new(10, 1, number, 1),
        }
    }
}

/// Where a client knocks.
#[derive(Clone)]
pub(crate) enum Door {
    /// At nginx, which chooses a server.
    Nginx(String),
    /// At the servers themselves, in turn.
    Servers(Vec<SocketAddr>),
}

/// All clients of the page. Dropping it ends them.
pub(crate) struct Clients {
    talk: Talk,
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
    /// What each client is to send.
    orders: BTreeMap<usize, mpsc::UnboundedSender<(&'static str, Value)>>,
}

struct Shared {
    recorder: Recorder,
    changed: Notify,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    seats: BTreeMap<usize, Seat>,
    ledger: Ledger,
    under_way: Vec<UnderWay>,
}

/// A client, as the page shows it.
#[derive(Clone)]
pub(crate) struct Seat {
    pub(crate) name: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) transport: Transport,
    pub(crate) server: Option<SocketAddr>,
    pub(crate) status: Status,
    pub(crate) attempts: u32,
    pub(crate) why: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Connecting,
    Connected,
    Refused,
}

/// What became of all that was sent.
#[derive(Clone, Copy, Default, Serialize)]
pub(crate) struct Ledger {
    pub(crate) requests: u64,
    pub(crate) answered: u64,
    pub(crate) refused: u64,
    /// Messages, one for each who should hear it.
    pub(crate) sent: u64,
    pub(crate) delivered: u64,
    pub(crate) lost: u64,
}

/// A message that somebody has not heard yet.
struct UnderWay {
    number: u64,
    from: String,
    to: String,
    text: String,
}

impl Clients {
    pub(crate) fn new(talk: Talk, recorder: Recorder) -> Self {
        Self {
            talk,
            shared: Arc::new(Shared {
                recorder,
                changed: Notify::new(),
                inner: Mutex::default(),
            }),
            tasks: JoinSet::new(),
            orders: BTreeMap::new(),
        }
    }

    /// Ready when a client's state has changed since the last call.
    pub(crate) async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    pub(crate) fn seats(&self) -> Vec<Seat> {
        self.shared.lock().seats.values().cloned().collect()
    }

    pub(crate) fn ledger(&self) -> Ledger {
        self.shared.lock().ledger
    }

    /// Adds clients, which connect and stay.
    pub(crate) fn add(
        &mut self,
        count: usize,
        transport: Transport,
        crowd: Crowd,
        door: &Door,
    ) -> Result<()> {
        let taken = self.orders.len();
        ensure!(
            (1..=SEATS - taken.min(SEATS)).contains(&count),
            "{count} clients are asked for, and there is room for {} more",
            SEATS - taken.min(SEATS)
        );
        for _ in 0..count {
            // They leave together, so the numbers have no gaps.
            self.seat(self.orders.len() + 1, transport, crowd, door);
        }
        self.shared.changed.notify_one();
        Ok(())
    }

    fn seat(&mut self, number: usize, transport: Transport, crowd: Crowd, door: &Door) {
        let name = match self.talk {
            Talk::Private => USERS
                .get(number - 1)
                .map_or_else(|| format!("user {number}"), ToString::to_string),
            Talk::None | Talk::Everyone => format!("client {number}"),
        };
        let address = crowd.address(number);
        self.shared.recorder.self_told(address);
        let (url, server) = match door {
            Door::Nginx(url) => (url.clone(), None),
            Door::Servers(servers) => {
                let server = servers[(number - 1) % servers.len()];
                (format!("http://{server}"), Some(server))
            }
        };
        let shared = Arc::clone(&self.shared);
        let client = Client::at(name.clone(), &url, address)
            .keeping_cookies()
            .telling(move |event| shared.hear(event));
        self.shared.lock().seats.insert(
            number,
            Seat {
                name: name.clone(),
                address,
                transport,
                server: None,
                status: Status::Connecting,
                attempts: 0,
                why: None,
            },
        );
        let auth = (self.talk == Talk::Private).then(|| json!({ "user": name }));
        let (order, orders) = mpsc::unbounded_channel();
        self.orders.insert(number, order);
        self.tasks.spawn(live(
            number,
            client,
            transport,
            auth,
            server,
            Arc::clone(&self.shared),
            orders,
        ));
    }

    /// Ends all of them; the next ones begin with a clean ledger.
    pub(crate) async fn remove_all(&mut self) {
        self.tasks.shutdown().await;
        self.orders.clear();
        *self.shared.lock() = Inner::default();
        self.shared.changed.notify_one();
    }

    /// Plain requests, one after the other. Returns which server answered each.
    pub(crate) async fn request(
        &self,
        count: usize,
        crowd: Crowd,
        door: &Door,
    ) -> Result<Vec<Option<SocketAddr>>> {
        ensure!(
            (1..=SEATS).contains(&count),
            "{count} requests are asked for, and {SEATS} at once are the most"
        );
        let Door::Nginx(url) = door else {
            bail!("there is no nginx in this chapter to ask");
        };
        let mut answered = Vec::new();
        for number in 1..=count {
            let shared = Arc::clone(&self.shared);
            let address = crowd.address(number);
            shared.recorder.self_told(address);
            // Who has one address is one client.
            let name = match crowd {
                Crowd::OneAddress => "client 1".to_owned(),
                Crowd::OneSubnet | Crowd::Spread => format!("client {number}"),
            };
            let client = Client::at(name, url, address).telling(move |event| shared.hear(event));
            let answer = client.get_once("/").await;
            answered.push(
                answer
                    .ok()
                    .filter(|answer| answer.status == 200)
                    .and_then(|answer| answer.server()),
            );
        }
        Ok(answered)
    }

    /// One client says something: to another, or to everyone else.
    pub(crate) fn say(&mut self, from: &str, to: &str, text: &str) -> Result<()> {
        ensure!(!text.is_empty(), "a message needs a text");
        ensure!(
            text.len() <= TEXT,
            "a message has at most {TEXT} bytes here, and this one has {}",
            text.len()
        );
        let seats = self.shared.lock().seats.clone();
        let find = |name: &str| seats.iter().find(|(_, seat)| seat.name == name);
        let Some((number, speaker)) = find(from) else {
            bail!("there is no client {from:?}");
        };
        ensure!(
            speaker.status == Status::Connected,
            "{from} is not connected, so it cannot speak"
        );
        let (receivers, order): (Vec<String>, _) = match self.talk {
            Talk::None => bail!("clients of this chapter do not speak to each other"),
            Talk::Everyone => (
                seats
                    .values()
                    .filter(|seat| seat.name != from)
                    .map(|seat| seat.name.clone())
                    .collect(),
                ("message", json!(text)),
            ),
            Talk::Private => {
                ensure!(find(to).is_some(), "there is no client {to:?}");
                (
                    vec![to.to_owned()],
                    ("say", json!({ "to": to, "text": text })),
                )
            }
        };
        let waited_for = self.shared.expect(from, receivers, text);
        self.orders[number].send(order)?;
        let shared = Arc::clone(&self.shared);
        self.tasks.spawn(async move {
            sleep(LOST_AFTER).await;
            shared.give_up(&waited_for);
        });
        Ok(())
    }
}

/// A client's life.
async fn live(
    number: usize,
    client: Client,
    transport: Transport,
    auth: Option<Value>,
    server: Option<SocketAddr>,
    shared: Arc<Shared>,
    mut orders: mpsc::UnboundedReceiver<(&'static str, Value)>,
) {
    loop {
        shared.update(number, |seat| seat.attempts += 1);
        match Socket::connect(&client, transport, auth.as_ref()).await {
            Ok(mut socket) => {
                shared.update(number, |seat| {
                    seat.status = Status::Connected;
                    seat.server = socket.owner.or(server);
                    seat.why = None;
                });
                loop {
                    tokio::select! {
                        event = socket.next_event() => match event {
                            Some((name, argument)) if name == "message" => {
                                shared.heard(client.name(), &argument);
                            }
                            Some(_) => {}
                            None => break,
                        },
                        Some((event, argument)) = orders.recv() => {
                            if socket.emit(event, &argument).is_err() {
                                break;
                            }
                        }
                    }
                }
                shared.update(number, |seat| {
                    seat.status = Status::Connecting;
                    seat.server = None;
                    seat.why = Some("the connection was lost".to_owned());
                });
            }
            Err(error) => shared.update(number, |seat| {
                seat.status = Status::Refused;
                seat.why = Some(error.to_string());
            }),
        }
        sleep(AGAIN).await;
    }
}

impl Shared {
    /// Takes what a client tells of its requests and frames.
    fn hear(&self, event: Event) {
        if let Event::Exchange(exchange) = &event {
            let mut inner = self.lock();
            inner.ledger.requests += 1;
            match &exchange.outcome {
                Ok(answered) if answered.status < 400 => inner.ledger.answered += 1,
                _ => inner.ledger.refused += 1,
            }
        }
        self.recorder.record(event);
        self.changed.notify_one();
    }

    fn update(&self, number: usize, change: impl FnOnce(&mut Seat)) {
        if let Some(seat) = self.lock().seats.get_mut(&number) {
            change(seat);
        }
        self.changed.notify_one();
    }

    /// Notes who should hear a message. Returns the numbers under which they are noted.
    fn expect(&self, from: &str, receivers: Vec<String>, text: &str) -> Vec<u64> {
        let mut inner = self.lock();
        receivers
            .into_iter()
            .map(|to| {
                inner.ledger.sent += 1;
                let number = inner.ledger.sent;
                inner.under_way.push(UnderWay {
                    number,
                    from: from.to_owned(),
                    to,
                    text: text.to_owned(),
                });
                number
            })
            .collect()
    }

    /// A client heard a message: of a private one, the text says what it was.
    fn heard(&self, name: &str, message: &Value) {
        let text = message.get("text").unwrap_or(message);
        let arrived = {
            let mut inner = self.lock();
            let place = inner
                .under_way
                .iter()
                .position(|message| message.to == name && *text == message.text);
            let Some(place) = place else {
                return;
            };
            inner.ledger.delivered += 1;
            inner.under_way.remove(place)
        };
        self.tell(arrived, true);
    }

    /// Whoever has not heard a message by now will not.
    fn give_up(&self, numbers: &[u64]) {
        let lost: Vec<_> = {
            let mut inner = self.lock();
            let under_way = std::mem::take(&mut inner.under_way);
            let (lost, kept): (Vec<_>, Vec<_>) = under_way
                .into_iter()
                .partition(|message| numbers.contains(&message.number));
            inner.under_way = kept;
            inner.ledger.lost += lost.len() as u64;
            lost
        };
        for message in lost {
            self.tell(message, false);
        }
    }

    fn tell(&self, message: UnderWay, arrived: bool) {
        self.recorder.record(Event::Message {
            from: message.from,
            to: message.to,
            text: message.text,
            arrived,
        });
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere leaves whole seats and sums.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
