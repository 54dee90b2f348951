//! Users on three servers, brokers between them: who hears what, and what becomes of it when
//! a broker dies.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use lab::{Program, Socket, Stage};
use serde_json::json;

use crate::{
    experiment::{LOST_AFTER, connect},
    link::Effort,
};

/// Brokers that run, in the order in which servers know them.
pub struct Cast {
    brokers: Vec<(Option<Program>, u16)>,
    users: Vec<(String, Socket)>,
    alice: Socket,
}

/// What it took to write to everybody.
#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    /// How many users have heard Alice.
    pub arrived: usize,
    /// How many messages were published: those to users of other servers.
    pub published: usize,
    /// How often a server was handed one.
    pub handed: usize,
}

/// Starts `brokers` brokers and three servers that know them; connects so many `users`, one
/// server after the other, and Alice to the first. None of them is known to be subscribed yet.
///
/// # Errors
/// When a part does not start, or somebody cannot connect.
pub async fn with_brokers(stage: &mut Stage, brokers: usize, users: usize) -> Result<Cast> {
    let mut running = Vec::new();
    for _ in 0..brokers {
        let (broker, port) = start(stage, 0).await?;
        running.push((Some(broker), port));
    }
    let addresses: Vec<String> = running
        .iter()
        .map(|(_, port)| format!("127.0.0.1:{port}"))
        .collect();
    let environment = [("LINK", "brokers"), ("BROKERS", &addresses.join(","))];
    fresh_servers(stage, &environment).await?;
    for letter in ['A', 'B', 'C'] {
        for broker in 0..brokers {
            let line = format!("broker {broker} is there");
            ensure!(
                stage.await_line(letter, &line).await,
                "{letter} sees no {line}"
            );
        }
    }
    let mut cast = Cast::connect(stage, running, users).await?;
    // Alice, and everybody else.
    cast.subscriptions(users + 1).await?;
    Ok(cast)
}

/// The same with the Redis at `redis` between the servers.
///
/// # Errors
/// As above.
pub async fn with_redis(stage: &mut Stage, redis: &str, users: usize) -> Result<Cast> {
    fresh_servers(stage, &[("LINK", "redis"), ("REDIS_URL", redis)]).await?;
    Cast::connect(stage, Vec::new(), users).await
}

async fn fresh_servers(stage: &mut Stage, environment: &[(&str, &str)]) -> Result<()> {
    stage.stop_servers().await;
    stage.start_servers(3, environment).await
}

async fn start(stage: &Stage, port: u16) -> Result<(Program, u16)> {
    let mut broker = stage.start_program("broker", &[], &[("PORT", &port.to_string())])?;
    let line = broker.next_line().await.unwrap_or_default();
    let port = line
        .split_whitespace()
        .nth(3)
        .and_then(|port| port.parse().ok());
    Ok((broker, port.context(line)?))
}

impl Cast {
    async fn connect(
        stage: &Stage,
        brokers: Vec<(Option<Program>, u16)>,
        count: usize,
    ) -> Result<Self> {
        let mut users = Vec::new();
        for (number, letter) in (0..count).zip("ABC".chars().cycle()) {
            let name = format!("user-{number}");
            let socket = connect(&stage.server_url(letter)?, &name).await?;
            users.push((name, socket));
        }
        let alice = connect(&stage.server_url('A')?, "alice").await?;
        Ok(Self {
            brokers,
            users,
            alice,
        })
    }

    /// Waits until the brokers have been asked for so many channels that they were not asked
    /// for before.
    async fn subscriptions(&mut self, count: usize) -> Result<()> {
        let mut seen = BTreeSet::new();
        while seen.len() < count {
            let living = self
                .brokers
                .iter_mut()
                .filter_map(|(broker, _)| broker.as_mut());
            let lines = living.map(|broker| Box::pin(broker.next_line()));
            let (line, ..) = futures_util::future::select_all(lines).await;
            seen.insert(line.context("a broker has ended")?);
        }
        Ok(())
    }

    /// Kills a broker, and waits until its channels are where they belong now.
    ///
    /// # Errors
    /// When servers do not notice.
    pub async fn kill(&mut self, stage: &Stage, broker: usize) -> Result<usize> {
        if let Some(program) = self.brokers[broker].0.take() {
            program.kill().await;
        }
        let gone = format!("broker {broker} is gone");
        for letter in ['A', 'B', 'C'] {
            ensure!(
                stage.await_line(letter, &gone).await,
                "{letter} does not see that {gone}"
            );
        }
        let moved = self.channels_of(broker);
        if self.brokers.iter().any(|(program, _)| program.is_some()) {
            self.subscriptions(moved).await?;
        }
        Ok(moved)
    }

    /// Starts a broker again on its port, and waits until its channels are back.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn restart(&mut self, stage: &Stage, broker: usize) -> Result<()> {
        let port = self.brokers[broker].1;
        self.brokers[broker].0 = Some(start(stage, port).await?.0);
        self.subscriptions(self.channels_of(broker)).await
    }

    /// How many channels are a broker's while all are there.
    fn channels_of(&self, broker: usize) -> usize {
        let names = self.users.iter().map(|(name, _)| name.as_str());
        names
            .chain(["alice"])
            .filter(|name| super::owner(name, 0..self.brokers.len()) == Some(broker))
            .count()
    }

    /// Alice writes to everybody.
    ///
    /// # Errors
    /// When her server does not say what it took.
    pub async fn tell_everybody(&mut self) -> Result<Told> {
        let mut told = Told {
            arrived: 0,
            published: 0,
            handed: 0,
        };
        for (name, user) in &mut self.users {
            let say = json!({ "to": name, "text": "hi" });
            let effort: Effort = serde_json::from_value(self.alice.ask("say", &say).await?)?;
            told.published += effort.published;
            told.handed += effort.heard_by;
            told.arrived += usize::from(user.hear("message", LOST_AFTER).await.is_some());
        }
        Ok(told)
    }

    /// Alice writes to the last user, who is on another server, and does not wait for an
    /// acknowledgement. Returns whether it arrived.
    ///
    /// # Errors
    /// When her connection is gone.
    pub async fn tell_the_last(&mut self) -> Result<bool> {
        let Some((name, user)) = self.users.last_mut() else {
            return Ok(false);
        };
        self.alice
            .emit("say", &json!({ "to": name, "text": "hi" }))?;
        Ok(user.hear("message", LOST_AFTER).await.is_some())
    }
}
