//! Requests over connections that stay open, each sent once the one before is answered.

use std::{cell::RefCell, rc::Rc, time::Duration};

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
    /// The number of the first of this worker's clients.
    pub(crate) first: u32,
    /// How many clients this worker has, each with one connection.
    pub(crate) clients: u32,
    /// Time before the order to go, in which nothing is counted: Node compiles what is hot.
    pub(crate) warm_up: Duration,
    pub(crate) duration: Duration,
    /// The time from one request of a client to its next; none for as fast as it goes.
    pub(crate) pace: Option<Duration>,
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

pub(crate) async fn run(job: Job, mut boss: Boss) {
    let mut clients: Vec<_> = (job.first..job.first + job.clients)
        .map(|number| Client {
            number,
            targets: job.targets.clone(),
            connection: None,
        })
        .collect();
    clients = all_ask(clients, job.warm_up, None, &Rc::default()).await;
    tell(&Tally::default());

    boss.go().await;
    let tally = Rc::default();
    all_ask(clients, job.duration, job.pace, &tally).await;
    tell(&tally.borrow());
}

async fn all_ask(
    clients: Vec<Client>,
    duration: Duration,
    pace: Option<Duration>,
    tally: &Rc<RefCell<Tally>>,
) -> Vec<Client> {
    let begin = Instant::now();
    let count = u32::try_from(clients.len()).unwrap_or(u32::MAX);
    let mut asking = JoinSet::new();
    for (place, client) in (0..).zip(clients) {
        // Not all at once.
        let schedule = pace.map(|pace| Schedule::new(begin + pace * place / count, pace));
        asking.spawn_local(client.ask_until(begin + duration, schedule, Rc::clone(tally)));
    }
    asking.join_all().await
}

struct Client {
    number: u32,
    targets: Targets,
    connection: Option<Connection>,
}

impl Client {
    async fn ask_until(
        mut self,
        end: Instant,
        mut schedule: Option<Schedule>,
        tally: Rc<RefCell<Tally>>,
    ) -> Self {
        loop {
            let sent_at = match &mut schedule {
                Some(schedule) => schedule.turn().await,
                None => Instant::now(),
            };
            if Instant::now() >= end {
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
        let response = connection.ask(REQUEST).await?;
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
