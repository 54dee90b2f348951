//! Users of all three servers: from each to each, one who writes to one who listens.

use anyhow::Result;
use futures_util::future::join_all;
use lab::{Row, client};
use tokio::time::Instant;

use crate::{
    delivery::{
        Rung,
        flow::{Flow, Outcome, Pace},
    },
    experiment::User,
};

/// How many servers there are.
const SERVERS: usize = 3;

/// All of them connected, before the first message.
pub struct Pairs {
    near: Vec<Flow>,
    far: Vec<Flow>,
}

/// What became of their messages.
pub struct Told {
    near: Vec<Outcome>,
    far: Vec<Outcome>,
    /// From when on messages should arrive again.
    since: Instant,
}

impl Pairs {
    /// Connects everybody through the nginx at `url`.
    ///
    /// # Errors
    /// When somebody cannot connect.
    pub async fn connect(url: &str) -> Result<Self> {
        let (mut near, mut far) = (Vec::new(), Vec::new());
        for from in 0..SERVERS {
            for to in 0..SERVERS {
                let [sender, receiver] = [("from", from), ("to", to)].map(|(role, server)| {
                    User::client(url, &format!("{role}, {from} to {to}"), server).telling(drop)
                });
                let flow = Flow::open(Rung::PassedOn, &sender, &receiver).await?;
                if from == to { &mut near } else { &mut far }.push(flow);
            }
        }
        Ok(Self { near, far })
    }

    /// They write while something happens, which says from when on all should be well.
    ///
    /// # Errors
    /// When a sender's connection breaks, or what happens fails.
    pub async fn write(
        self,
        pace: Pace,
        event: impl Future<Output = Result<Instant>>,
    ) -> Result<Told> {
        let run = |flows: Vec<Flow>| join_all(flows.into_iter().map(|flow| flow.run(pace)));
        let (near, far, since) = tokio::join!(run(self.near), run(self.far), event);
        let all = |flows: Vec<Result<_, client::Error>>| flows.into_iter().collect();
        let near: Result<_, client::Error> = all(near);
        Ok(Told {
            near: near?,
            far: all(far)?,
            since: since?,
        })
    }
}

impl Told {
    /// A row for what went within each server, and one for what went between them.
    pub fn rows(&self, event: &str, config: &str) -> [Row; 2] {
        [
            self.row(format!("{event}: within one server"), config, &self.near),
            self.row(format!("{event}: between servers"), config, &self.far),
        ]
    }

    fn row(&self, event: String, config: &str, flows: &[Outcome]) -> Row {
        let total = |count: fn(&Outcome) -> usize| flows.iter().map(count).sum();
        // Until the last of them was well again; none if one never was.
        let backs = flows.iter().map(|flow| flow.recovered_after(self.since));
        let backs = backs.collect::<Option<Vec<_>>>();
        let back = backs.and_then(|backs| backs.into_iter().max());
        Row::new(event, config)
            .counted(total(Outcome::sent), "messages", total(Outcome::lost))
            .twice(total(Outcome::duplicated))
            .late(total(Outcome::out_of_order))
            .unknown(total(Outcome::unknown))
            .back_after(back)
    }

    /// How many of what was lost between servers its sender takes for delivered.
    pub fn untold(&self) -> usize {
        self.far.iter().map(Outcome::lost_though_safe).sum()
    }
}
