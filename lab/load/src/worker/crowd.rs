//! Many sockets: opened, held, told something, bereft of their server.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::Semaphore,
    task::spawn_local,
    time::{Instant, sleep, timeout},
};

use super::{
    Boss, Said,
    connect::{Targets, Trouble},
    deliveries::Deliveries,
    polling::{self, Poller},
    say,
    socket::{Shared, Socket},
    speaker::Speaker,
    tell,
};
use crate::{
    clock,
    tally::{Tally, micros},
};

/// Sockets to open at the first order, and what comes then.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) targets: Targets,
    /// The number of the first of this worker's clients.
    pub(crate) first: u32,
    /// How many sockets this worker opens.
    pub(crate) clients: u32,
    pub(crate) then: Then,
}

/// What is done once all are open.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum Then {
    /// They are held. At the next order, one worker says one thing to all.
    Hold { transport: Transport, speaks: bool },
    /// At the next order, this worker's sender says one thing after the other.
    Broadcast {
        /// The sender's number, no other's; so is its client's.
        sender: u32,
        /// Said to everybody, or else to a room in which all receivers are.
        to_room: bool,
        /// How many messages may be under way to this worker's receivers.
        window: u32,
        duration: Duration,
    },
    /// After the next order their servers die or are replaced, and they come back. At the
    /// one after that, no more will go.
    Storm {
        away_since: Since,
        /// How long it may take, after that, until all are back.
        patience: Duration,
    },
}

/// Since when a socket that comes back has been away.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Since {
    /// Since the moment that was given with the order, when a server was killed.
    Order,
    /// Since its own connection was gone.
    Break,
}

/// How clients connect that are held. The names are those of `lab::Transport`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
pub(crate) enum Transport {
    /// Over a WebSocket from the beginning.
    #[value(name = "websocket")]
    WebSocket,
    /// Over long polling, then a WebSocket takes over: what a client does by itself.
    Upgrade,
    /// Over long polling, for good.
    Polling,
}

impl Then {
    /// How a client connects.
    fn transport(&self) -> Transport {
        match self {
            Self::Hold { transport, .. } => *transport,
            Self::Broadcast { .. } | Self::Storm { .. } => Transport::WebSocket,
        }
    }

    /// How many connections a client keeps.
    pub(crate) fn connections(&self) -> u32 {
        match self.transport() {
            Transport::WebSocket | Transport::Upgrade => 1,
            // On one of them it answers pings.
            Transport::Polling => 2,
        }
    }
}

/// How many of a worker's sockets are being opened at a time.
const AT_ONCE: usize = 64;
/// When nothing has come for so long, nothing more is to come.
const QUIET: Duration = Duration::from_secs(1);
/// The user that all receivers of a room are.
const ROOM: &str = "everyone";

pub(crate) async fn run(job: Job, mut boss: Boss) {
    let crowd = Rc::new(Crowd::new(job));
    boss.go().await;
    tell(&crowd.open().await);
    match crowd.job.then.clone() {
        Then::Hold { speaks, .. } => crowd.hold(&mut boss, speaks).await,
        Then::Broadcast {
            sender,
            to_room,
            window,
            duration,
        } => {
            let room = to_room.then_some(ROOM);
            let Ok(mut speaker) = crowd.speaker(sender, room).await else {
                return crowd.stay_silent(&mut boss).await;
            };
            boss.go().await;
            let hearers = crowd.job.clients.into();
            let speaking = speaker.speak(&crowd.deliveries, hearers, window.into(), duration);
            tell(&speaking.await);
            let listening = async {
                // The others may still be speaking.
                boss.go().await;
                crowd.await_quiet().await;
            };
            tokio::select! {
                () = listening => {}
                () = speaker.attend() => {}
            }
            tell(&crowd.deliveries.tally());
        }
        Then::Storm { patience, .. } => {
            crowd.killed_at.set(boss.go().await);
            boss.go().await;
            crowd.await_return(patience).await;
            tell(&crowd.returned.borrow());
        }
    }
}

/// A client that got in.
enum Connected {
    Socket(Socket),
    Poller(Poller),
}

/// The sockets of a worker.
struct Crowd {
    job: Job,
    shared: Shared,
    deliveries: Deliveries,
    /// What became of sockets that broke.
    returned: RefCell<Tally>,
    broken: Cell<u64>,
    killed_at: Cell<u64>,
    /// When a socket last broke or came back.
    moved: Cell<Instant>,
}

impl Crowd {
    fn new(job: Job) -> Self {
        Self {
            job,
            shared: Shared::default(),
            deliveries: Deliveries::default(),
            returned: RefCell::default(),
            broken: Cell::new(0),
            killed_at: Cell::new(0),
            moved: Cell::new(Instant::now()),
        }
    }

    /// Opens all sockets. Returns how many were, and how long each took.
    async fn open(self: &Rc<Self>) -> Tally {
        let opened = Rc::new(RefCell::new(Tally::default()));
        let doors = Arc::new(Semaphore::new(AT_ONCE));
        let mut told = 0;
        for client in self.job.first..self.job.first + self.job.clients {
            let Ok(door) = Arc::clone(&doors).acquire_owned().await else {
                break;
            };
            let (crowd, opened) = (Rc::clone(self), Rc::clone(&opened));
            spawn_local(async move {
                let begun = Instant::now();
                let connected = crowd.enter(client).await;
                {
                    let mut opened = opened.borrow_mut();
                    opened.counts.sent += 1;
                    match &connected {
                        Ok(_) => {
                            opened.counts.delivered += 1;
                            opened.times.record(micros(begun.elapsed()));
                        }
                        Err(Trouble::Refused) => opened.counts.refused += 1,
                        Err(Trouble::Failed) => opened.counts.failed += 1,
                    }
                }
                drop(door);
                match connected {
                    Ok(Connected::Socket(socket)) => crowd.keep(client, socket).await,
                    Ok(Connected::Poller(poller)) => poller.poll(crowd.deliveries.clone()).await,
                    Err(_counted) => {}
                }
            });
            told += 1;
            if told == 100 {
                say(&Said::Progress(told));
                told = 0;
            }
        }
        // Those that are still under way.
        let _all_doors = doors
            .acquire_many(u32::try_from(AT_ONCE).unwrap_or(1))
            .await;
        say(&Said::Progress(told));
        opened.take()
    }

    /// Connects a client the way that it is to be held.
    async fn enter(&self, client: u32) -> Result<Connected, Trouble> {
        let targets = &self.job.targets;
        match self.job.then.transport() {
            Transport::WebSocket => self.connect(client).await.map(Connected::Socket),
            Transport::Upgrade => {
                let sid = polling::enter(targets, client).await?.into_sid();
                let upgraded = Socket::upgrade(targets, client, &sid, &self.shared);
                upgraded.await.map(Connected::Socket)
            }
            Transport::Polling => {
                let poller = polling::enter(targets, client).await?;
                Ok(Connected::Poller(poller))
            }
        }
    }

    async fn connect(&self, client: u32) -> Result<Socket, Trouble> {
        let user = match self.job.then {
            Then::Broadcast { to_room: true, .. } => ROOM.to_owned(),
            _ => format!("user {client}"),
        };
        Socket::connect(&self.job.targets, client, &user, &self.shared).await
    }

    /// Reads what comes, for as long as the socket lives; in a storm, opens it again.
    async fn keep(&self, client: u32, mut socket: Socket) {
        let mut heard = HashMap::new();
        loop {
            let reading = socket.read(|packet| self.deliveries.take(packet, &mut heard));
            if reading.await.is_ok() {
                continue;
            }
            self.broken.set(self.broken.get() + 1);
            self.moved.set(Instant::now());
            let Then::Storm { away_since, .. } = self.job.then else {
                return;
            };
            let since = match away_since {
                Since::Order => self.killed_at.get(),
                Since::Break => clock::now(),
            };
            drop(socket);
            socket = self.reconnect(client, since).await;
        }
    }

    /// Tries at once, and then every 100 ms.
    async fn reconnect(&self, client: u32, since: u64) -> Socket {
        const PAUSE: Duration = Duration::from_millis(100);
        loop {
            let socket = self.connect(client).await;
            self.count_return(since, socket.as_ref().err().copied());
            if let Ok(socket) = socket {
                return socket;
            }
            sleep(PAUSE).await;
        }
    }

    fn count_return(&self, since: u64, trouble: Option<Trouble>) {
        let mut returned = self.returned.borrow_mut();
        returned.counts.sent += 1;
        match trouble {
            None => {
                returned.counts.delivered += 1;
                returned.times.record(clock::micros_since(since));
                returned.last = clock::now();
                self.moved.set(Instant::now());
            }
            Some(Trouble::Refused) => returned.counts.refused += 1,
            Some(Trouble::Failed) => returned.counts.failed += 1,
        }
    }

    /// Holds them until the order comes; then one says something, and who hears it is there.
    async fn hold(self: &Rc<Self>, boss: &mut Boss, speaks: bool) {
        boss.go().await;
        let mut said = Tally::default();
        // It listens until all is quiet: the server would drop a socket that is gone.
        let mut speaker = None;
        if speaks {
            speaker = self.speaker(self.job.first, None).await.ok();
            let was_said = match &mut speaker {
                Some(speaker) => speaker.say().await.is_ok(),
                None => false,
            };
            said.counts.sent = was_said.into();
            said.counts.failed = (!was_said).into();
        }
        tell(&said);
        boss.go().await;
        self.await_quiet().await;
        let mut heard = self.deliveries.tally();
        heard.counts.failed += self.broken.get();
        tell(&heard);
        drop(speaker);
    }

    async fn speaker(&self, number: u32, room: Option<&'static str>) -> Result<Speaker, Trouble> {
        Speaker::connect(&self.job.targets, number, room, &self.shared).await
    }

    /// A speaker that could not connect: said once, and the others' work goes on.
    async fn stay_silent(&self, boss: &mut Boss) {
        boss.go().await;
        let mut said = Tally::default();
        said.counts.failed = 1;
        tell(&said);
        boss.go().await;
        self.await_quiet().await;
        tell(&self.deliveries.tally());
    }

    async fn await_quiet(&self) {
        while timeout(QUIET, self.deliveries.grown()).await.is_ok() {}
    }

    /// Waits until as many are back as were broken, and nothing moves any more.
    async fn await_return(&self, patience: Duration) {
        let begun = Instant::now();
        self.moved.set(begun);
        while begun.elapsed() < patience {
            let back = self.returned.borrow().counts.delivered;
            if back == self.broken.get() && self.moved.get().elapsed() > QUIET {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
        let mut returned = self.returned.borrow_mut();
        let missing = self.broken.get().saturating_sub(returned.counts.delivered);
        returned.counts.lost = missing;
    }
}

#[cfg(test)]
mod tests;
