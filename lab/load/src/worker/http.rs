//! Requests over connections that stay open, each sent once the one before is answered.

use std::{
    borrow::Cow,
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{task::JoinSet, time::Instant};

use super::{
    Boss,
    connect::{Targets, Trouble, connect},
    response::Connection,
    schedule::Schedule,
    tell,
};
use crate::tally::{Tally, micros};

/// Requests to send.
#[derive(Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) targets: Targets,
    pub(crate) request: Request,
    /// The number of the first of this worker's clients.
    pub(crate) first: u32,
    /// How many clients this worker has, each with one connection.
    pub(crate) clients: u32,
    /// Time before the order to go, in which nothing is counted: Node compiles what is hot.
    pub(crate) warm_up: Duration,
    /// How long they are counted; none for until the next order.
    pub(crate) duration: Option<Duration>,
    /// The time from one request of a client to its next; none for as fast as it goes.
    pub(crate) pace: Option<Duration>,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Request {
    /// `GET /`.
    Page,
    /// `POST /orders/{id}`, each with an ID of its own.
    Order,
}

impl Request {
    /// The request that is a client's `nth`.
    fn bytes(self, client: u32, nth: u32) -> Cow<'static, [u8]> {
        match self {
            Self::Page => Cow::Borrowed(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            Self::Order => {
                let id = (u64::from(client) << 32) + u64::from(nth);
                let head = format!(
                    "POST /orders/{id} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
                );
                Cow::Owned(head.into_bytes())
            }
        }
    }
}

pub(crate) async fn run(job: Job, mut boss: Boss) {
    let mut clients: Vec<_> = (job.first..job.first + job.clients)
        .map(|number| Client {
            number,
            targets: job.targets.clone(),
            request: job.request,
            asked: 0,
            connection: None,
        })
        .collect();
    let warm = End::after(Some(job.warm_up));
    clients = all_ask(clients, &warm, None, &Rc::default()).await;
    tell(&Tally::default());

    boss.go().await;
    let (tally, end) = (Rc::default(), End::after(job.duration));
    let listening = async {
        if job.duration.is_none() {
            boss.go().await;
            end.0.set(Some(Instant::now()));
        }
    };
    tokio::join!(all_ask(clients, &end, job.pace, &tally), listening);
    tell(&tally.borrow());
}

async fn all_ask(
    clients: Vec<Client>,
    end: &End,
    pace: Option<Duration>,
    tally: &Rc<RefCell<Tally>>,
) -> Vec<Client> {
    let begin = Instant::now();
    let count = u32::try_from(clients.len()).unwrap_or(u32::MAX);
    let mut asking = JoinSet::new();
    for (place, client) in (0..).zip(clients) {
        // Not all at once.
        let schedule = pace.map(|pace| Schedule::new(begin + pace * place / count, pace));
        asking.spawn_local(client.ask_until(end.clone(), schedule, Rc::clone(tally)));
    }
    asking.join_all().await
}

/// When no more is sent, as far as it is known.
#[derive(Clone)]
struct End(Rc<Cell<Option<Instant>>>);

impl End {
    fn after(duration: Option<Duration>) -> Self {
        Self(Rc::new(Cell::new(duration.map(|it| Instant::now() + it))))
    }

    fn is_over(&self) -> bool {
        self.0.get().is_some_and(|end| Instant::now() >= end)
    }
}

struct Client {
    number: u32,
    targets: Targets,
    request: Request,
    /// How many requests it has sent.
    asked: u32,
    connection: Option<Connection>,
}

impl Client {
    async fn ask_until(
        mut self,
        end: End,
        mut schedule: Option<Schedule>,
        tally: Rc<RefCell<Tally>>,
    ) -> Self {
        loop {
            let sent_at = match &mut schedule {
                Some(schedule) => schedule.turn().await,
                None => Instant::now(),
            };
            if end.is_over() {
                return self;
            }
            let outcome = self.ask().await;
            let mut tally = tally.borrow_mut();
            tally.counts.sent += 1;
            match outcome {
                Ok(()) => {
                    tally.counts.delivered += 1;
                    tally.times.record(micros(sent_at.elapsed()));
                }
                Err(Trouble::Refused) => tally.counts.refused += 1,
                Err(Trouble::Failed) => tally.counts.failed += 1,
            }
        }
    }

    /// One request. A connection that the server has closed, as it said, is opened again.
    async fn ask(&mut self) -> Result<(), Trouble> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::new(connect(&self.targets, self.number).await?),
        };
        let request = self.request.bytes(self.number, self.asked);
        self.asked += 1;
        let response = connection.ask(&request).await?;
        connection.forget(response);
        if !response.closes {
            self.connection = Some(connection);
        }
        if response.status == 200 {
            Ok(())
        } else {
            Err(Trouble::Refused)
        }
    }
}
