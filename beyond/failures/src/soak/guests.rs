//! Clients that come and go, and the messages that each of them missed.

use std::{fmt, time::Duration};

use anyhow::{Result, ensure};
use ch06_full_stack::experiment::User;
use drills::{LossCounter, ReconnectingClient, Session};
use fastrand::Rng;
use lab::Stage;
use serde_json::json;
use tokio::time::sleep;

use crate::{
    broadcaster::{Broadcaster, must_arrive, number_of},
    clients::TRANSPORTS,
};

/// How many clients are connected at any time.
const AT_ONCE: usize = 30;
/// How many clients leave each second. As many new ones come.
const LEAVE: usize = 2;
/// How long the first connection, or the last message, may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// A client is back after its first attempt. If its server comes back during that, it is back
/// after its second.
const ATTEMPTS: u32 = 2;

/// The clients that are connected, and the counts of all clients so far.
pub(super) struct Guests {
    url: String,
    connected: Vec<Guest>,
    came: usize,
    counts: Counts,
}

/// The counts of all clients, also of those that have left.
#[derive(Default)]
struct Counts {
    received: usize,
    lost: usize,
    duplicates: usize,
    out_of_order: usize,
    returns: usize,
    slow_returns: usize,
    slowest_return: Duration,
    never_returned: usize,
    connect_errors: usize,
}

struct Guest {
    client: ReconnectingClient,
    messages: LossCounter,
}

impl Guests {
    /// Connects the first ones.
    pub(super) async fn connect(url: &str, random: &mut Rng) -> Result<Self> {
        let mut guests = Self {
            url: url.to_owned(),
            connected: Vec::new(),
            came: 0,
            counts: Counts::default(),
        };
        for _ in 0..AT_ONCE {
            guests.come(random);
        }
        for guest in &guests.connected {
            ensure!(
                guest.client.is_connected(1, PATIENCE).await,
                "{} cannot connect: {}",
                guest.client.name(),
                guest.client.refusals().join(", ")
            );
        }
        Ok(guests)
    }

    fn come(&mut self, random: &mut Rng) {
        let name = format!("guest {}", self.came);
        let transport = TRANSPORTS[random.usize(..TRANSPORTS.len())];
        let client = User::client(&self.url, &name, random.usize(..3));
        let auth = json!({ "user": name });
        self.connected.push(Guest {
            client: ReconnectingClient::start(client, transport, Some(auth)),
            messages: LossCounter::default(),
        });
        self.came += 1;
    }

    /// Some clients leave, and as many others come.
    pub(super) fn come_and_go(&mut self, random: &mut Rng) {
        for _ in 0..LEAVE {
            let index = random.usize(..self.connected.len());
            let guest = self.connected.swap_remove(index);
            self.counts.add(&guest);
            self.come(random);
        }
    }

    /// Counts the messages that came since the last call.
    pub(super) fn receive(&mut self, broadcaster: &Broadcaster) {
        for guest in &mut self.connected {
            let must_arrive = |number| broadcaster.must_arrive(number);
            self.counts.lost += guest.receive(must_arrive);
        }
    }

    /// Waits until all clients are connected. Those that never are, are counted.
    pub(super) async fn all_return(&mut self) {
        for guest in &self.connected {
            let returned = guest.client.is_connected(1, PATIENCE).await;
            self.counts.never_returned += usize::from(!returned);
        }
    }

    /// Ends the messages. Each client must receive the last of them.
    pub(super) async fn finish(&mut self, broadcaster: Broadcaster) -> Result<()> {
        // All are connected by now: each message from here on must arrive.
        sleep(Duration::from_secs(1)).await;
        let messages = broadcaster.finish().await?;
        let must_arrive = |number| must_arrive(&messages, number);
        let end = messages.len() as u64;
        for guest in &mut self.connected {
            let _came_or_lost = guest
                .client
                .has_heard(|heard| number_of(heard) >= end.checked_sub(1), PATIENCE)
                .await;
            self.counts.lost += guest.receive(must_arrive);
            let next = guest.messages.latest().unwrap_or_default() + 1;
            self.counts.lost += (next..end).filter(|number| must_arrive(*number)).count();
            self.counts.add(guest);
        }
        Ok(())
    }

    /// Claims what must hold.
    pub(super) fn claim(&self, stage: &Stage) {
        let counts = &self.counts;
        stage.claim_seen(
            "no message is lost within a session, except while Redis was away",
            format!("{} received, {} lost", counts.received, counts.lost),
            counts.lost == 0 && counts.received > 0,
        );
        stage.claim_seen(
            "all messages came once, and in order",
            format!(
                "{} duplicates, {} out of order",
                counts.duplicates, counts.out_of_order
            ),
            counts.duplicates == 0 && counts.out_of_order == 0,
        );
        stage.claim_seen(
            "each client whose connection broke was back by its second attempt",
            format!(
                "{} returns, the slowest after {:.2} s, {} needed more, {} never",
                counts.returns,
                counts.slowest_return.as_secs_f64(),
                counts.slow_returns,
                counts.never_returned
            ),
            counts.slow_returns == 0 && counts.never_returned == 0,
        );
        stage.claim_seen(
            "no client got a connect error from a server that was ending",
            format!("{} did", counts.connect_errors),
            counts.connect_errors == 0,
        );
    }
}

impl Guest {
    /// Counts the messages that came since the last call. Returns how many were lost within a
    /// session that had to arrive.
    fn receive(&mut self, must_arrive: impl Fn(u64) -> bool) -> usize {
        let heard = self.client.take_heard().into_iter();
        let messages = heard.filter_map(|heard| Some((heard.session, number_of(&heard)?)));
        count(&mut self.messages, messages, must_arrive)
    }
}

fn count(
    counter: &mut LossCounter,
    messages: impl Iterator<Item = (usize, u64)>,
    must_arrive: impl Fn(u64) -> bool,
) -> usize {
    let missing = messages.flat_map(|(session, number)| counter.receive_in(session, number));
    missing.filter(|number| must_arrive(*number)).count()
}

impl fmt::Display for Guests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} clients came, {} returned; {} messages lost",
            self.came, self.counts.returns, self.counts.lost,
        )
    }
}

impl Counts {
    /// Adds the counts of a client that leaves.
    fn add(&mut self, guest: &Guest) {
        self.received += guest.messages.received();
        self.duplicates += guest.messages.duplicates();
        self.out_of_order += guest.messages.out_of_order();
        self.add_returns(&guest.client.sessions());
        let refusals = guest.client.refusals();
        let errors = refusals.iter().filter(|why| why.contains("welcome"));
        self.connect_errors += errors.count();
    }

    fn add_returns(&mut self, sessions: &[Session]) {
        for pair in sessions.windows(2) {
            if let Some(ended) = pair[0].until {
                let away = pair[1].from - ended;
                self.returns += 1;
                let is_slow = pair[1].attempts > ATTEMPTS || pair[0].id == pair[1].id;
                self.slow_returns += usize::from(is_slow);
                self.slowest_return = self.slowest_return.max(away);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    /// How many messages a client loses that receives these: session, number.
    fn lost(messages: &[(usize, u64)], must_arrive: impl Fn(u64) -> bool) -> usize {
        let mut counter = LossCounter::default();
        count(&mut counter, messages.iter().copied(), must_arrive)
    }

    #[test]
    fn a_message_is_lost_within_a_session_and_not_between_two() {
        let all = |_| true;
        assert_eq!(lost(&[(0, 4), (0, 5), (1, 9), (1, 10)], all), 0);
        assert_eq!(lost(&[(0, 4), (0, 7)], all), 2);
    }

    #[test]
    fn a_message_that_need_not_arrive_is_not_lost() {
        assert_eq!(lost(&[(0, 4), (0, 7)], |number| number != 5), 1);
    }

    #[test]
    fn a_slow_return_is_counted() {
        let start = Instant::now();
        let session = |id: &str, attempts, from: u64, until: Option<u64>| Session {
            id: id.to_owned(),
            server: None,
            attempts,
            from: start + Duration::from_secs(from),
            until: until.map(|until| start + Duration::from_secs(until)),
        };
        let mut counts = Counts::default();
        counts.add_returns(&[
            session("a", 1, 0, Some(10)),
            session("b", 2, 11, Some(20)),
            session("c", 3, 25, None),
        ]);
        assert_eq!((counts.returns, counts.slow_returns), (2, 1));
        assert_eq!(counts.slowest_return, Duration::from_secs(5));
    }
}
