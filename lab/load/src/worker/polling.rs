//! Users over long polling: each has one connection on which it polls, and another on
//! which it writes to the next user.

use std::{collections::HashMap, rc::Rc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::{
    task::{JoinSet, spawn_local},
    time::{Instant, timeout},
};

use super::{
    Boss,
    connect::{Targets, Trouble, connect, source},
    deliveries::{Deliveries, Stamp},
    response::Connection,
    schedule::Schedule,
    tell,
};
use crate::{
    clock,
    tally::{Tally, micros},
};

/// Users to connect, and how often each writes.
#[derive(Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) targets: Targets,
    /// The number of the first of this worker's users.
    pub(crate) first: u32,
    /// How many users this worker has.
    pub(crate) clients: u32,
    /// How many there are altogether.
    pub(crate) all: u32,
    /// The time from one message of a user to its next.
    pub(crate) pace: Duration,
    pub(crate) duration: Duration,
}

/// When nothing has come for so long, nothing more is to come.
const QUIET: Duration = Duration::from_secs(1);

pub(crate) async fn run(job: Job, mut boss: Boss) {
    let job = Rc::new(job);
    let deliveries = Deliveries::default();
    let mut opened = Tally::default();
    let mut writers = Vec::new();
    for number in job.first..job.first + job.clients {
        let begun = Instant::now();
        opened.counts.sent += 1;
        match user(&job, number).await {
            Ok((writer, poller)) => {
                opened.counts.delivered += 1;
                opened.times.record(micros(begun.elapsed()));
                spawn_local(poller.poll(deliveries.clone()));
                writers.push(writer);
            }
            Err(Trouble::Refused) => opened.counts.refused += 1,
            Err(Trouble::Failed) => opened.counts.failed += 1,
        }
    }
    tell(&opened);

    boss.go().await;
    let begin = Instant::now();
    let mut writing = JoinSet::new();
    for (place, writer) in (0..).zip(writers) {
        // Not all at once.
        let schedule = Schedule::new(begin + job.pace * place / job.clients, job.pace);
        writing.spawn_local(writer.write(schedule, Rc::clone(&job), begin + job.duration));
    }
    tell(&Tally::of(&writing.join_all().await));

    // Others may still be writing.
    boss.go().await;
    while timeout(QUIET, deliveries.grown()).await.is_ok() {}
    tell(&deliveries.tally());
}

/// Connects a user who will write.
async fn user(job: &Job, number: u32) -> Result<(Writer, Poller), Trouble> {
    let poller = enter(&job.targets, number).await?;
    let writer = Writer {
        line: Line::connect(&job.targets, number).await?,
        session: poller.session.clone(),
    };
    Ok((writer, poller))
}

/// A session: what every request of it begins with.
#[derive(Clone)]
struct Session {
    number: u32,
    sid: String,
}

impl Session {
    fn target(&self) -> String {
        format!("/socket.io/?EIO=4&transport=polling&sid={}", self.sid)
    }

    fn get(&self) -> Vec<u8> {
        get(&self.target(), self.number)
    }

    fn post(&self, packet: &str) -> Vec<u8> {
        format!(
            "POST {} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {}\r\n\
             Content-Type: text/plain;charset=UTF-8\r\nContent-Length: {}\r\n\r\n{packet}",
            self.target(),
            source(self.number),
            packet.len()
        )
        .into_bytes()
    }
}

fn get(target: &str, client: u32) -> Vec<u8> {
    let address = source(client);
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {address}\r\n\r\n")
        .into_bytes()
}

/// Opens a session and connects as the user with that number: GET `0{…}`, POST `40{"user":…}`, and polls until `40{…}`.
pub(crate) async fn enter(targets: &Targets, number: u32) -> Result<Poller, Trouble> {
    let mut polls = Line::connect(targets, number).await?;
    let opened = polls
        .ask(&get("/socket.io/?EIO=4&transport=polling", number))
        .await?;
    let session = Session {
        number,
        sid: sid(&opened).ok_or(Trouble::Failed)?,
    };
    let mut answers = Line::connect(targets, number).await?;
    let hello = format!(r#"40{{"user":"user {number}"}}"#);
    answers.ask(&session.post(&hello)).await?;
    loop {
        let packets = polls.ask(&session.get()).await?;
        if packets
            .split(|byte| *byte == SEPARATOR)
            .any(|packet| packet == b"2")
        {
            answers.ask(&session.post("3")).await?;
        }
        if packets
            .split(|byte| *byte == SEPARATOR)
            .any(|packet| packet.starts_with(b"40"))
        {
            break;
        }
    }
    Ok(Poller {
        polls,
        answers,
        session,
    })
}

/// Between packets of one payload (Engine.IO protocol 4, "HTTP long-polling").
const SEPARATOR: u8 = 0x1e;

/// The session ID in `0{"sid":"…",…}`.
fn sid(payload: &[u8]) -> Option<String> {
    let open = payload.strip_prefix(b"0")?;
    let open: serde_json::Value = serde_json::from_slice(open).ok()?;
    Some(open.get("sid")?.as_str()?.to_owned())
}

/// A connection that is opened again where the other side has closed it, as it said.
struct Line {
    targets: Targets,
    client: u32,
    connection: Option<Connection>,
}

impl Line {
    async fn connect(targets: &Targets, client: u32) -> Result<Self, Trouble> {
        Ok(Self {
            connection: Some(Connection::new(connect(targets, client).await?)),
            targets: targets.clone(),
            client,
        })
    }

    /// The body of the answer to a request.
    async fn ask(&mut self, request: &[u8]) -> Result<Vec<u8>, Trouble> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::new(connect(&self.targets, self.client).await?),
        };
        let response = connection.ask(request).await?;
        let body = connection.buffer[response.body..response.end].to_vec();
        connection.forget(response);
        if !response.closes {
            self.connection = Some(connection);
        }
        if response.status == 200 {
            Ok(body)
        } else {
            Err(Trouble::Refused)
        }
    }
}

/// The half of a user that listens: two connections.
pub(crate) struct Poller {
    polls: Line,
    answers: Line,
    session: Session,
}

impl Poller {
    /// Ends it, and leaves its session to a WebSocket.
    pub(crate) fn into_sid(self) -> String {
        self.session.sid
    }

    /// Polls for as long as there is an answer; pings are answered.
    pub(crate) async fn poll(mut self, deliveries: Deliveries) {
        let mut heard = HashMap::new();
        loop {
            let packets = match self.polls.ask(&self.session.get()).await {
                Ok(packets) => packets,
                Err(trouble) => {
                    return deliveries.count(|tally| match trouble {
                        Trouble::Refused => tally.counts.refused += 1,
                        Trouble::Failed => tally.counts.failed += 1,
                    });
                }
            };
            for packet in packets.split(|byte| *byte == SEPARATOR) {
                if packet == b"2" {
                    let pong = self.session.post("3");
                    if self.answers.ask(&pong).await.is_err() {
                        deliveries.count(|tally| tally.counts.failed += 1);
                    }
                } else {
                    deliveries.take(packet, &mut heard);
                }
            }
        }
    }
}

/// The half of a user that writes.
struct Writer {
    line: Line,
    session: Session,
}

impl Writer {
    /// Writes to the next user on schedule, until `end`.
    async fn write(mut self, mut schedule: Schedule, job: Rc<Job>, end: Instant) -> Tally {
        let mut tally = Tally::default();
        let number = self.session.number;
        let next = (number + 1) % job.all;
        loop {
            let waited_since = schedule.turn().await;
            if Instant::now() >= end {
                return tally;
            }
            let text = Stamp {
                sender: number,
                number: tally.counts.sent,
                at: clock::now() - micros(waited_since.elapsed()) * 1_000,
            }
            .text();
            let packet = format!(r#"42["say",{{"to":"user {next}","text":"{text}"}}]"#);
            tally.counts.sent += 1;
            match self.send(&packet).await {
                Ok(()) => {}
                Err(Trouble::Refused) => tally.counts.refused += 1,
                Err(Trouble::Failed) => tally.counts.failed += 1,
            }
        }
    }

    async fn send(&mut self, packet: &str) -> Result<(), Trouble> {
        let request = self.session.post(packet);
        self.line.ask(&request).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::sid;

    #[test]
    fn the_session_id_is_that_of_the_open_packet() {
        assert_eq!(
            sid(br#"0{"sid":"abc","upgrades":[]}"#).as_deref(),
            Some("abc")
        );
        for other in [&br#"40{"sid":"abc"}"#[..], b"0{}", b"Session ID unknown"] {
            assert_eq!(sid(other), None);
        }
    }
}
