//! Sockets that come back, and somebody who writes to all of them.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use ch05_redis_pubsub::link::Private;
use lab::{Returning, Transport, Visit};
use redis::{AsyncCommands, RedisError, aio::MultiplexedConnection};
use serde_json::json;
use socketioxide_emitter::{Driver, IoEmitter};
use tokio::{
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, sleep},
};

use crate::experiment::User;

/// Clients of each transport.
pub const EACH: usize = 30;
/// The three settings of a client.
pub const TRANSPORTS: [Transport; 3] =
    [Transport::WebSocket, Transport::Polling, Transport::Upgrade];

/// Between two messages to everybody.
const PAUSE: Duration = Duration::from_millis(50);
/// How long everybody may take to connect at first, or to hear the last message.
const PATIENCE: Duration = Duration::from_secs(10);
/// All is well once everybody is there, and nobody has come or gone for so long.
const CALM: Duration = Duration::from_secs(2);
/// What is not well by then, stays so.
const LIMIT: Duration = Duration::from_secs(30);
/// A message on its way to a client when its server dies is lost as if it were away: so
/// long may it take.
const ON_ITS_WAY: Duration = Duration::from_millis(250);

/// Ninety clients on three servers, connected through nginx, and a program that writes to
/// everybody through Redis.
pub struct Crowd {
    members: Vec<Returning>,
    speaker: Speaker,
}

impl Crowd {
    /// Connects everybody. Done once each has heard a message.
    ///
    /// # Errors
    /// When one of them cannot connect, or hears nothing.
    pub async fn gather(url: &str, redis: &str) -> Result<Self> {
        let mut members = Vec::new();
        for transport in TRANSPORTS {
            for number in 0..EACH {
                let name = format!("{transport} {number}");
                let client = User::client(url, &name, number % 3);
                let auth = json!({ "user": name });
                members.push(Returning::start(client, transport, Some(auth)));
            }
        }
        for member in &members {
            ensure!(
                member.is_there(1, PATIENCE).await,
                "{} cannot connect: {}",
                member.name(),
                member.refusals().join(", ")
            );
        }
        let speaker = Speaker::start(redis).await?;
        for member in &members {
            ensure!(
                member.has_heard(|_| true, PATIENCE).await,
                "{} hears nothing, before anything has happened",
                member.name()
            );
        }
        Ok(Self { members, speaker })
    }

    /// Waits until everybody is there and nobody has come or gone for two seconds. What
    /// never is well shows in the stories.
    pub async fn calms_down(&self) {
        let since = Instant::now();
        let mut changed = since;
        let mut before = 0;
        while since.elapsed() < LIMIT {
            let visits: Vec<_> = self.members.iter().map(Returning::visits).collect();
            let count = visits.iter().map(|visits| come_and_gone(visits)).sum();
            if count != before {
                (before, changed) = (count, Instant::now());
            }
            let all_there = visits.iter().all(|visits| is_there(visits));
            if all_there && changed.elapsed() > CALM {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until each member for whom `whose` says so has had so many sessions and is
    /// in the last. Returns whether that came in time.
    pub async fn are_there(&self, whose: impl Fn(&Returning) -> bool, visits: usize) -> bool {
        for member in self.members.iter().filter(|member| whose(member)) {
            if !member.is_there(visits, LIMIT).await {
                return false;
            }
        }
        true
    }

    /// Says the last word, waits until everybody has heard it, and tells what each has seen.
    ///
    /// # Errors
    /// When Redis does not take the messages.
    pub async fn leave(self) -> Result<Told> {
        let spoken = self.speaker.finish().await?;
        let last = (spoken.len() - 1).to_string();
        let mut stories = Vec::new();
        for member in self.members {
            // Whoever does not hear it has lost it, and that is counted.
            let _heard = member
                .has_heard(|heard| heard.argument["text"] == last.as_str(), PATIENCE)
                .await;
            let heard = member.take_heard().into_iter();
            let numbers = heard.filter_map(|heard| heard.argument["text"].as_str()?.parse().ok());
            stories.push(Story {
                name: member.name().to_owned(),
                transport: member.transport(),
                visits: member.visits(),
                refusals: member.refusals(),
                heard: numbers.collect(),
            });
        }
        Ok(Told { spoken, stories })
    }
}

fn come_and_gone(visits: &[Visit]) -> usize {
    visits.len() + visits.iter().filter(|visit| visit.until.is_some()).count()
}

fn is_there(visits: &[Visit]) -> bool {
    visits.last().is_some_and(|visit| visit.until.is_none())
}

/// What everybody has seen.
pub struct Told {
    /// When each message was sent; the first has number 0.
    pub spoken: Vec<Instant>,
    /// What each client has seen.
    pub stories: Vec<Story>,
}

/// What one client has seen.
pub struct Story {
    /// Who.
    pub name: String,
    /// How it connects.
    pub transport: Transport,
    /// Its sessions.
    pub visits: Vec<Visit>,
    /// Why attempts to connect failed.
    pub refusals: Vec<String>,
    /// The numbers of the messages that it heard, in that order.
    pub heard: Vec<usize>,
}

/// What became of the messages, each counted once a receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Messages {
    /// How many there were.
    pub sent: usize,
    /// How many of them were not heard.
    pub lost: usize,
    /// How many of those were sent while their receiver was there.
    pub strays: usize,
    /// How many were heard more than once.
    pub twice: usize,
    /// How many were heard after a later one.
    pub late: usize,
}

impl Told {
    /// How often each reason was given for an attempt to connect that failed.
    pub fn refusals(&self) -> BTreeMap<&str, usize> {
        let mut refusals = BTreeMap::new();
        for refusal in self.stories.iter().flat_map(|story| &story.refusals) {
            // Of nginx's page, the title says it all.
            let reason = refusal.lines().next().unwrap_or_default();
            *refusals.entry(reason).or_default() += 1;
        }
        refusals
    }

    /// What became of the messages.
    pub fn messages(&self) -> Messages {
        let mut messages = Messages {
            sent: self.spoken.len() * self.stories.len(),
            ..Messages::default()
        };
        for story in &self.stories {
            let mut heard = HashSet::new();
            let mut latest = 0;
            for number in &story.heard {
                if !heard.insert(*number) {
                    messages.twice += 1;
                } else if *number < latest {
                    messages.late += 1;
                }
                latest = latest.max(*number);
            }
            for (number, at) in self.spoken.iter().enumerate() {
                if !heard.contains(&number) {
                    messages.lost += 1;
                    messages.strays += usize::from(!story.was_away(*at));
                }
            }
        }
        messages
    }
}

impl Story {
    /// Whether the client is connected.
    pub fn is_there(&self) -> bool {
        is_there(&self.visits)
    }

    /// Its times between two sessions.
    pub fn times_away(&self) -> impl Iterator<Item = Duration> {
        self.visits.windows(2).filter_map(|pair| {
            let gone = pair[0].until?;
            Some(pair[1].from - gone)
        })
    }

    /// Whether each of its sessions has an ID of its own.
    pub fn has_new_sessions(&self) -> bool {
        let ids: HashSet<_> = self.visits.iter().map(|visit| &visit.id).collect();
        ids.len() == self.visits.len()
    }

    fn was_away(&self, at: Instant) -> bool {
        let gone = self.visits.iter().filter_map(|visit| visit.until);
        let back = self.visits.iter().skip(1).map(|visit| visit.from);
        let still_away = (!self.is_there()).then(Instant::now);
        gone.zip(back.chain(still_away))
            .any(|(gone, back)| gone - ON_ITS_WAY <= at && at <= back + ON_ITS_WAY)
    }
}

/// Writes to everybody twenty times a second, from outside the servers.
struct Speaker {
    spoken: Arc<Mutex<Vec<Instant>>>,
    task: JoinHandle<Result<()>>,
}

impl Speaker {
    async fn start(redis: &str) -> Result<Self> {
        let redis = redis::Client::open(redis)?
            .get_multiplexed_async_connection()
            .await
            .context("the one who writes cannot reach Redis")?;
        let spoken = Arc::new(Mutex::new(Vec::new()));
        let said = Arc::clone(&spoken);
        let task = tokio::spawn(async move {
            let voice = Voice(redis);
            let mut turns = interval(PAUSE);
            turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                turns.tick().await;
                let number = {
                    let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
                    said.push(Instant::now());
                    said.len() - 1
                };
                let message = Private {
                    from: "speaker".to_owned(),
                    to: "all".to_owned(),
                    text: number.to_string(),
                };
                IoEmitter::new().emit("message", &message, &voice).await?;
            }
        });
        Ok(Self { spoken, task })
    }

    /// When each message was sent.
    async fn finish(self) -> Result<Vec<Instant>> {
        self.task.abort();
        match self.task.await {
            Ok(stopped) => stopped?,
            // Between two messages, or before Redis has answered for the last one.
            Err(aborted) => ensure!(aborted.is_cancelled(), aborted),
        }
        let spoken = self.spoken.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(spoken.clone())
    }
}

/// The emitter brings no client of its own.
struct Voice(MultiplexedConnection);

impl Driver for Voice {
    type Error = RedisError;

    async fn emit(&self, channel: String, data: Vec<u8>) -> Result<(), RedisError> {
        self.0.clone().publish(channel, data).await
    }
}
