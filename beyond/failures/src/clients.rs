//! Clients that reconnect, and a program that sends numbered messages to all of them.

use std::{
    collections::{BTreeMap, HashSet},
    ops::Range,
    time::Duration,
};

use anyhow::{Result, ensure};
use ch06_full_stack::experiment::User;
use drills::{LossCounter, ReconnectingClient, Session};
use lab::Transport;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::broadcaster::{Broadcaster, ServersRedis, number_of};

/// Clients of each transport in a drill.
pub const EACH: usize = 30;
/// The three settings of a client.
pub const TRANSPORTS: [Transport; 3] =
    [Transport::WebSocket, Transport::Polling, Transport::Upgrade];

/// How long the first connection, or the last message, may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The clients have recovered once all are connected and nothing has changed for this long.
const CALM: Duration = Duration::from_secs(2);
/// After this long, waiting for them is no use.
const LIMIT: Duration = Duration::from_secs(30);

/// Clients on three servers, connected through nginx, and a program that sends messages to all of
/// them through Redis.
pub struct Clients {
    all: Vec<ReconnectingClient>,
    broadcaster: Broadcaster,
}

impl Clients {
    /// Connects `each` clients of each transport. Done once each has received a message.
    ///
    /// # Errors
    /// When one of them cannot connect, or receives nothing.
    pub async fn connect(url: &str, redis: &ServersRedis, each: usize) -> Result<Self> {
        let mut all = Vec::new();
        for transport in TRANSPORTS {
            for number in 0..each {
                let name = format!("{transport} {number}");
                // They send cookies back, for a balancer that uses them.
                let client = User::client(url, &name, number % 3).keeping_cookies();
                let auth = json!({ "user": name });
                all.push(ReconnectingClient::start(client, transport, Some(auth)));
            }
        }
        for client in &all {
            ensure!(
                client.is_connected(1, PATIENCE).await,
                "{} cannot connect: {}",
                client.name(),
                client.refusals().join(", ")
            );
        }
        let broadcaster = Broadcaster::start(redis).await?;
        for client in &all {
            ensure!(
                client.has_heard(|_| true, PATIENCE).await,
                "{} receives nothing, although nothing has been killed yet",
                client.name()
            );
        }
        Ok(Self { all, broadcaster })
    }

    /// Waits until all clients are connected, and none has connected or disconnected for two
    /// seconds. If that never happens, the records show it.
    pub async fn recover(&self) {
        let since = Instant::now();
        let mut changed = since;
        let mut before = 0;
        while since.elapsed() < LIMIT {
            let sessions: Vec<_> = self.all.iter().map(ReconnectingClient::sessions).collect();
            let count = sessions.iter().map(|sessions| changes(sessions)).sum();
            if count != before {
                (before, changed) = (count, Instant::now());
            }
            let all_connected = sessions.iter().all(|sessions| is_connected(sessions));
            if all_connected && changed.elapsed() > CALM {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until each client that `which` names has had that many sessions and is connected.
    /// Returns whether that happened in time.
    pub async fn are_connected(
        &self,
        which: impl Fn(&ReconnectingClient) -> bool,
        sessions: usize,
    ) -> bool {
        for client in self.all.iter().filter(|client| which(client)) {
            if !client.is_connected(sessions, LIMIT).await {
                return false;
            }
        }
        true
    }

    /// Sends the last message, waits until each client has received it, and returns their records.
    ///
    /// # Errors
    /// When Redis does not take all messages.
    pub async fn finish(self) -> Result<ClientRecords> {
        let taken = self.broadcaster.finish().await?;
        ensure!(
            taken.iter().all(|taken| *taken),
            "Redis did not take all messages"
        );
        let sent = taken.len() as u64;
        let last = sent.saturating_sub(1);
        let mut clients = Vec::new();
        for client in self.all {
            // If it does not come, it is lost, and counted below.
            let _came = client
                .has_heard(|heard| number_of(heard) == Some(last), PATIENCE)
                .await;
            let heard = client.take_heard().into_iter();
            let messages = heard.filter_map(|heard| Some((heard.session, number_of(&heard)?)));
            clients.push(ClientRecord {
                name: client.name().to_owned(),
                transport: client.transport(),
                sessions: client.sessions(),
                refusals: client.refusals(),
                messages: messages.collect(),
            });
        }
        Ok(ClientRecords { sent, clients })
    }
}

/// How often a client has connected and disconnected.
fn changes(sessions: &[Session]) -> usize {
    sessions.len()
        + sessions
            .iter()
            .filter(|session| session.until.is_some())
            .count()
}

fn is_connected(sessions: &[Session]) -> bool {
    sessions
        .last()
        .is_some_and(|session| session.until.is_none())
}

/// What all clients have seen.
pub struct ClientRecords {
    /// How many messages were sent to each; the first has number 0.
    pub sent: u64,
    /// What each client has seen.
    pub clients: Vec<ClientRecord>,
}

/// What one client has seen.
pub struct ClientRecord {
    /// Its name.
    pub name: String,
    /// Its transport.
    pub transport: Transport,
    /// Its sessions.
    pub sessions: Vec<Session>,
    /// Why attempts to connect failed.
    pub refusals: Vec<String>,
    /// The messages in the order in which they came: session and number.
    pub messages: Vec<(usize, u64)>,
}

/// The messages to all clients. Each delivery is counted: 10 messages to 90 clients are 900.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageCounts {
    /// How many deliveries there should be.
    pub sent: usize,
    /// How many never came.
    pub lost: usize,
    /// How many of the lost were sent within a session: the client was connected before and after.
    pub lost_within_session: usize,
    /// How many came more than once.
    pub duplicates: usize,
    /// How many came after a later one.
    pub out_of_order: usize,
}

impl ClientRecords {
    /// How often each reason was given for a failed attempt to connect.
    pub fn refusals(&self) -> BTreeMap<&str, usize> {
        let mut refusals = BTreeMap::new();
        for refusal in self.clients.iter().flat_map(|client| &client.refusals) {
            // Of nginx's error page, the first line is enough.
            let reason = refusal.lines().next().unwrap_or_default();
            *refusals.entry(reason).or_default() += 1;
        }
        refusals
    }

    /// The clients of one transport.
    pub fn of(&self, transport: Transport) -> impl Iterator<Item = &ClientRecord> {
        let clients = self.clients.iter();
        clients.filter(move |client| client.transport == transport)
    }

    /// The counts of the messages.
    pub fn messages(&self) -> MessageCounts {
        let mut counts = MessageCounts::default();
        for client in &self.clients {
            let numbers = client.messages.iter().map(|(_, number)| *number);
            let counter: LossCounter = numbers.collect();
            let within_sessions = client.numbers_of_sessions(self.sent);
            counts.sent += usize::try_from(self.sent).unwrap_or(usize::MAX);
            counts.lost += counter.lost(0..self.sent);
            counts.lost_within_session += within_sessions
                .map(|sent| counter.lost(sent))
                .sum::<usize>();
            counts.duplicates += counter.duplicates();
            counts.out_of_order += counter.out_of_order();
        }
        counts
    }
}

impl ClientRecord {
    /// Whether the client is connected.
    pub fn is_connected(&self) -> bool {
        is_connected(&self.sessions)
    }

    /// The times between two sessions.
    pub fn times_away(&self) -> impl Iterator<Item = Duration> {
        self.sessions.windows(2).filter_map(|pair| {
            let ended = pair[0].until?;
            Some(pair[1].from - ended)
        })
    }

    /// How many attempts each session took, except the first.
    pub fn attempts(&self) -> impl Iterator<Item = u32> {
        self.sessions.iter().skip(1).map(|session| session.attempts)
    }

    /// Whether each session has an ID of its own.
    pub fn has_new_sessions(&self) -> bool {
        let ids: HashSet<_> = self.sessions.iter().map(|session| &session.id).collect();
        ids.len() == self.sessions.len()
    }

    /// The numbers of the messages of each session: from the first that came in it to the last.
    /// The first session starts with message 0, and a session that lasts ends with the last one.
    fn numbers_of_sessions(&self, sent: u64) -> impl Iterator<Item = Range<u64>> {
        self.sessions
            .iter()
            .enumerate()
            .map(move |(index, session)| {
                let messages = self.messages.iter();
                let numbers = messages
                    .filter(move |(its_session, _)| *its_session == index)
                    .map(|(_, number)| *number);
                let first = if index == 0 {
                    Some(0)
                } else {
                    numbers.clone().min()
                };
                let last = if session.until.is_none() {
                    sent.checked_sub(1)
                } else {
                    numbers.max()
                };
                match (first, last) {
                    (Some(first), Some(last)) => first..last + 1,
                    _ => 0..0,
                }
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client with as many sessions, of which only the last may still last.
    fn record(sessions: usize, lasts: bool, messages: &[(usize, u64)]) -> ClientRecords {
        let now = Instant::now();
        let session = |index| Session {
            id: format!("{index}"),
            server: None,
            attempts: 1,
            from: now,
            until: (index + 1 < sessions || !lasts).then_some(now),
        };
        ClientRecords {
            sent: 10,
            clients: vec![ClientRecord {
                name: "bob".to_owned(),
                transport: Transport::Polling,
                sessions: (0..sessions).map(session).collect(),
                refusals: Vec::new(),
                messages: messages.to_vec(),
            }],
        }
    }

    #[test]
    fn a_message_between_two_sessions_is_lost_but_not_within_a_session() {
        let messages = [(0, 0), (0, 1), (0, 2), (1, 6), (1, 7), (1, 8), (1, 9)];
        let counts = record(2, true, &messages).messages();
        assert_eq!((counts.sent, counts.lost), (10, 3));
        assert_eq!(counts.lost_within_session, 0);
    }

    #[test]
    fn a_gap_within_a_session_is_counted() {
        let messages = [(0, 1), (0, 2), (1, 6), (1, 8)];
        let counts = record(2, true, &messages).messages();
        assert_eq!(counts.lost, 6);
        assert_eq!(counts.lost_within_session, 3, "0, 7 and 9");
        let counts = record(2, false, &messages).messages();
        assert_eq!(counts.lost_within_session, 2, "the session ended before 9");
    }
}
