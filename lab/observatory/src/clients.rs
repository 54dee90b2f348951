//! The page's clients. They connect, stay connected, and connect again after a failure.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Result, bail, ensure};
use lab::{Client, Event, Recorder, Socket, Transport};
use serde_json::{Value, json};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinSet,
    time::sleep,
};

use crate::{
    scene::Talk,
    seat::{Addresses, Door, Ledger, Seat, Status, UnderWay},
};

/// How many clients the page may have.
const SEATS: usize = 60;
/// The time after which a refused client tries again. The official client waits as long.
const AGAIN: Duration = Duration::from_secs(1);
/// The time after which a message counts as lost.
pub(crate) const LOST_AFTER: Duration = Duration::from_millis(1500);
/// The longest message, in bytes.
const TEXT: usize = 200;

/// The names of the first clients in a chapter with private messages. More clients have numbers.
const USERS: [&str; 8] = [
    "alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi",
];

/// All clients of the page. Dropping it ends them.
pub(crate) struct Clients {
    talk: Talk,
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
    /// For each client, the events that it must send.
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

    /// Waits until a client's state has changed since the last call.
    pub(crate) async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    pub(crate) fn seats(&self) -> Vec<Seat> {
        self.shared.lock().seats.values().cloned().collect()
    }

    pub(crate) fn ledger(&self) -> Ledger {
        self.shared.lock().ledger
    }

    /// Counts a request that no client of the page has sent.
    pub(crate) fn count_request(&self, is_answered: bool) {
        let ledger = &mut self.shared.lock().ledger;
        ledger.requests += 1;
        if is_answered {
            ledger.answered += 1;
        } else {
            ledger.refused += 1;
        }
    }

    /// Adds clients. They connect and stay connected.
    pub(crate) fn add(
        &mut self,
        count: usize,
        transport: Transport,
        addresses: Addresses,
        door: &Door,
    ) -> Result<()> {
        let taken = self.orders.len();
        ensure!(
            (1..=SEATS - taken.min(SEATS)).contains(&count),
            "the page cannot add {count} clients: it has room for {} more",
            SEATS - taken.min(SEATS)
        );
        for _ in 0..count {
            // All clients are removed together, so the numbers have no gaps.
            self.seat(self.orders.len() + 1, transport, addresses, door);
        }
        self.shared.changed.notify_one();
        Ok(())
    }

    fn seat(&mut self, number: usize, transport: Transport, addresses: Addresses, door: &Door) {
        let name = match self.talk {
            Talk::Private => USERS
                .get(number - 1)
                .map_or_else(|| format!("user {number}"), ToString::to_string),
            Talk::None | Talk::Everyone => format!("client {number}"),
        };
        let address = addresses.address(number);
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

    /// Ends all clients and sets the counters to 0.
    pub(crate) async fn remove_all(&mut self) {
        self.tasks.shutdown().await;
        self.orders.clear();
        *self.shared.lock() = Inner::default();
        self.shared.changed.notify_one();
    }

    /// Sends plain requests, one after the other. Returns the server that answered each one.
    pub(crate) async fn request(
        &self,
        count: usize,
        addresses: Addresses,
        door: &Door,
    ) -> Result<Vec<Option<SocketAddr>>> {
        ensure!(
            (1..=SEATS).contains(&count),
            "the page cannot send {count} requests: give a number from 1 to {SEATS}"
        );
        let Door::Nginx(url) = door else {
            bail!("this chapter has no nginx");
        };
        let mut answered = Vec::new();
        for number in 1..=count {
            let shared = Arc::clone(&self.shared);
            let address = addresses.address(number);
            shared.recorder.self_told(address);
            // Requests from one address are requests of one client.
            let name = match addresses {
                Addresses::One => "client 1".to_owned(),
                Addresses::OneSubnet | Addresses::ManySubnets => format!("client {number}"),
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

    /// One client sends a message: to one other client, or to all others.
    pub(crate) fn say(&mut self, from: &str, to: &str, text: &str) -> Result<()> {
        ensure!(!text.is_empty(), "the message has no text: write one");
        ensure!(
            text.len() <= TEXT,
            "the message has {} bytes, and at most {TEXT} are allowed: write a shorter one",
            text.len()
        );
        let seats = self.shared.lock().seats.clone();
        let find = |name: &str| seats.iter().find(|(_, seat)| seat.name == name);
        let Some((number, speaker)) = find(from) else {
            bail!("the page has no client {from:?}");
        };
        ensure!(
            speaker.status == Status::Connected,
            "{from} is not connected, so it cannot send a message"
        );
        let (receivers, order): (Vec<String>, _) = match self.talk {
            Talk::None => bail!("the clients of this chapter send no messages to each other"),
            Talk::Everyone => (
                seats
                    .values()
                    .filter(|seat| seat.name != from)
                    .map(|seat| seat.name.clone())
                    .collect(),
                ("message", json!(text)),
            ),
            Talk::Private => {
                ensure!(find(to).is_some(), "the page has no client {to:?}");
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

/// Keeps a client connected until the page removes it.
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
    /// Counts and records an event of a client: a request, an answer or a frame.
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

    /// Notes the receivers of a message. Returns one number for each of them.
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

    /// A client has got a message. In a private message, the field `text` holds the text.
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

    /// Counts the messages with these numbers as lost if they have not arrived.
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
        // A panic elsewhere does not leave the states and sums half changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
