//! Users on three servers: which server gets which message, and what happens when a broker dies?

use anyhow::{Context, Result, ensure};
use ch05_redis_pubsub::{
    experiment::{LOST_AFTER, connect},
    link::Effort,
};
use lab::{Program, Socket, Stage};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use crate::{
    broker::{FromBroker, ToBroker},
    link::owner,
};

/// Alice on server A, other users on all three servers, and the brokers between the servers.
pub struct Chat {
    /// In the order in which servers know them. A dead broker is `None`.
    brokers: Vec<(Option<Broker>, u16)>,
    users: Vec<(String, Socket)>,
    alice: Socket,
}

/// A broker that runs, and a connection that tells how many channels it has.
struct Broker {
    program: Program,
    counts: Lines<BufReader<OwnedReadHalf>>,
    /// The last count.
    channels: usize,
    // While it is open, the broker sends counts.
    _watching: OwnedWriteHalf,
}

/// What became of Alice's messages to all users.
#[derive(Debug, PartialEq, Eq)]
pub struct Delivery {
    /// How many users got a message.
    pub arrived: usize,
    /// How many messages were published: those to users of other servers.
    pub published: usize,
    /// How many times a server got a published message.
    pub handed_over: usize,
}

impl Chat {
    /// Starts brokers and three servers with a link to them, and connects Alice and `users` users.
    /// Afterwards, the brokers have all subscriptions.
    pub async fn with_brokers(stage: &mut Stage, brokers: usize, users: usize) -> Result<Self> {
        let mut running = Vec::new();
        for _ in 0..brokers {
            let (broker, port) = Broker::start(stage, 0).await?;
            running.push((Some(broker), port));
        }
        let addresses: Vec<String> = running
            .iter()
            .map(|(_, port)| format!("127.0.0.1:{port}"))
            .collect();
        stage
            .servers
            .replace(3, &[("BROKERS", &addresses.join(","))])
            .await?;
        await_lines(stage, "connected to all brokers").await?;
        let mut chat = Self::connect(stage, running, users).await?;
        chat.all_are_subscribed().await?;
        Ok(chat)
    }

    /// The same with Redis between the servers.
    pub async fn with_redis(stage: &mut Stage, redis: &str, users: usize) -> Result<Self> {
        stage
            .servers
            .replace(3, &[("LINK", "redis"), ("REDIS_URL", redis)])
            .await?;
        Self::connect(stage, Vec::new(), users).await
    }

    async fn connect(
        stage: &Stage,
        brokers: Vec<(Option<Broker>, u16)>,
        count: usize,
    ) -> Result<Self> {
        let mut users = Vec::new();
        for (number, letter) in (0..count).zip("ABC".chars().cycle()) {
            let name = format!("user-{number}");
            let socket = connect(&stage.servers.url(letter)?, &name).await?;
            users.push((name, socket));
        }
        let alice = connect(&stage.servers.url('A')?, "alice").await?;
        Ok(Self {
            brokers,
            users,
            alice,
        })
    }

    /// Alice writes to all users.
    pub async fn write_to_all(&mut self) -> Result<Delivery> {
        let mut delivery = Delivery {
            arrived: 0,
            published: 0,
            handed_over: 0,
        };
        for (name, user) in &mut self.users {
            let say = json!({ "to": name, "text": "hi" });
            let effort: Effort = serde_json::from_value(self.alice.ask("say", &say).await?)?;
            delivery.published += effort.published;
            delivery.handed_over += effort.heard_by;
            delivery.arrived += usize::from(user.hear("message", LOST_AFTER).await.is_some());
        }
        Ok(delivery)
    }

    /// Alice writes to the last user, who is on another server. Returns whether it arrived.
    pub async fn write_to_the_last(&mut self) -> Result<bool> {
        let Some((name, user)) = self.users.last_mut() else {
            return Ok(false);
        };
        // Without a broker, the server does not acknowledge.
        self.alice
            .emit("say", &json!({ "to": name, "text": "hi" }))?;
        Ok(user.hear("message", LOST_AFTER).await.is_some())
    }

    /// Kills a broker, and waits until its channels have moved. Returns how many it had.
    pub async fn kill(&mut self, stage: &Stage, broker: usize) -> Result<usize> {
        let had = self.channels_of(broker);
        if let Some(Broker { program, .. }) = self.brokers[broker].0.take() {
            program.kill().await;
        }
        await_lines(stage, &format!("broker {broker} is gone")).await?;
        self.all_are_subscribed().await?;
        Ok(had)
    }

    /// Starts a broker again on its port, and waits until it has its channels.
    pub async fn restart(&mut self, stage: &Stage, broker: usize) -> Result<()> {
        let port = self.brokers[broker].1;
        self.brokers[broker].0 = Some(Broker::start(stage, port).await?.0);
        self.all_are_subscribed().await
    }

    /// The PIDs of the brokers that run.
    pub fn broker_pids(&self) -> Vec<u32> {
        let brokers = self.brokers.iter();
        let running = brokers.filter_map(|(broker, _)| broker.as_ref());
        running.map(|broker| broker.program.pid()).collect()
    }

    /// Waits until each broker has the channels that belong to it, and no others.
    async fn all_are_subscribed(&mut self) -> Result<()> {
        for number in 0..self.brokers.len() {
            let expected = self.channels_of(number);
            if let Some(broker) = &mut self.brokers[number].0 {
                broker.has_channels(expected).await?;
            }
        }
        Ok(())
    }

    /// How many channels belong to a broker, among those that run.
    fn channels_of(&self, broker: usize) -> usize {
        let running = || {
            let brokers = self.brokers.iter().enumerate();
            brokers.filter_map(|(number, (broker, _))| broker.as_ref().map(|_| number))
        };
        let names = self.users.iter().map(|(name, _)| name.as_str());
        names
            .chain(["alice"])
            .filter(|name| owner(name, running()) == Some(broker))
            .count()
    }
}

impl Broker {
    async fn start(stage: &Stage, port: u16) -> Result<(Self, u16)> {
        let mut program = stage.start_program("broker", &[], &[("PORT", &port.to_string())])?;
        let line = program.next_line().await.unwrap_or_default();
        let port = line
            .split_whitespace()
            .nth(3)
            .and_then(|port| port.parse().ok())
            .context(line)?;
        let (incoming, mut watching) = TcpStream::connect(("127.0.0.1", port)).await?.into_split();
        let mut watch = serde_json::to_vec(&ToBroker::Watch)?;
        watch.push(b'\n');
        watching.write_all(&watch).await?;
        let broker = Self {
            program,
            counts: BufReader::new(incoming).lines(),
            channels: 0,
            _watching: watching,
        };
        Ok((broker, port))
    }

    /// Waits until exactly so many channels have subscribers.
    async fn has_channels(&mut self, expected: usize) -> Result<()> {
        while self.channels != expected {
            let line = self.counts.next_line().await?;
            let line = line.context("a broker has ended")?;
            if let FromBroker::Channels(count) = serde_json::from_str(&line)? {
                self.channels = count;
            }
        }
        Ok(())
    }
}

async fn await_lines(stage: &Stage, line: &str) -> Result<()> {
    for letter in ['A', 'B', 'C'] {
        ensure!(
            stage.servers.await_line(letter, line).await,
            "server {letter} does not say: {line}"
        );
    }
    Ok(())
}
