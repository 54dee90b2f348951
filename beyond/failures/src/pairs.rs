//! Nine pairs of users on three servers: one sender and one receiver for each pair of servers.

use anyhow::Result;
use ch06_full_stack::experiment::User;
use delivery::{
    Way,
    flow::{Flow, Outcome, Pace},
};
use drills::Row;
use futures_util::future::join_all;
use lab::client;
use tokio::time::Instant;

/// How many servers there are.
const SERVERS: usize = 3;

/// The pairs, connected, before the first message.
pub struct Pairs {
    one_server: Vec<Flow>,
    two_servers: Vec<Flow>,
}

/// What the receivers of all pairs got.
pub struct PairOutcomes {
    one_server: Vec<Outcome>,
    two_servers: Vec<Outcome>,
    /// From this time on, messages should arrive again.
    since: Instant,
}

impl Pairs {
    /// Connects all users through the nginx at `url`.
    ///
    /// # Errors
    /// When a user cannot connect.
    pub async fn connect(url: &str) -> Result<Self> {
        let (mut one_server, mut two_servers) = (Vec::new(), Vec::new());
        for from in 0..SERVERS {
            for to in 0..SERVERS {
                let [sender, receiver] = [("from", from), ("to", to)].map(|(role, server)| {
                    User::client(url, &format!("{role}, {from} to {to}"), server)
                });
                let flow = Flow::open(Way::PassedOn, &sender, &receiver).await?;
                let flows = if from == to {
                    &mut one_server
                } else {
                    &mut two_servers
                };
                flows.push(flow);
            }
        }
        Ok(Self {
            one_server,
            two_servers,
        })
    }

    /// All senders send while `event` happens. It returns the time from which on messages should
    /// arrive again.
    ///
    /// # Errors
    /// When the connection of a sender breaks, or `event` fails.
    pub async fn send(
        self,
        pace: Pace,
        event: impl Future<Output = Result<Instant>>,
    ) -> Result<PairOutcomes> {
        let run = |flows: Vec<Flow>| join_all(flows.into_iter().map(|flow| flow.run(pace)));
        let (one_server, two_servers, since) =
            tokio::join!(run(self.one_server), run(self.two_servers), event);
        let all =
            |flows: Vec<Result<_, client::Error>>| flows.into_iter().collect::<Result<Vec<_>, _>>();
        Ok(PairOutcomes {
            one_server: all(one_server)?,
            two_servers: all(two_servers)?,
            since: since?,
        })
    }
}

impl PairOutcomes {
    /// One row for the messages within a server, and one for those between servers.
    pub fn rows(&self, event: &str, config: &str) -> [Row; 2] {
        [
            self.row(
                format!("{event}: within one server"),
                config,
                &self.one_server,
            ),
            self.row(
                format!("{event}: between servers"),
                config,
                &self.two_servers,
            ),
        ]
    }

    fn row(&self, event: String, config: &str, flows: &[Outcome]) -> Row {
        let total = |count: fn(&Outcome) -> usize| flows.iter().map(count).sum();
        // The slowest of them; `None` if one never recovered.
        let times = flows.iter().map(|flow| flow.recovered_after(self.since));
        let times = times.collect::<Option<Vec<_>>>();
        let slowest = times.and_then(|times| times.into_iter().max());
        Row::new(event, config)
            .counted(total(Outcome::sent), "messages", total(Outcome::lost))
            .duplicates(total(Outcome::duplicates))
            .out_of_order(total(Outcome::out_of_order))
            .sender_not_sure(total(Outcome::sender_not_sure))
            .recovered_after(slowest)
    }

    /// How many messages between servers were lost although their sender was told OK.
    pub fn lost_told_ok(&self) -> usize {
        self.two_servers.iter().map(Outcome::lost_told_ok).sum()
    }
}
