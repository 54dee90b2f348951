//! Sockets that come back, and somebody who writes to all of them.

use std::{
    collections::{BTreeMap, HashSet},
    ops::Range,
    time::Duration,
};

use anyhow::{Result, ensure};
use lab::{Returning, Transport, Visit};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::speaker::{self, Speaker};
use crate::experiment::User;

/// Clients of each transport in a drill.
pub const EACH: usize = 30;
/// The three settings of a client.
pub const TRANSPORTS: [Transport; 3] =
    [Transport::WebSocket, Transport::Polling, Transport::Upgrade];

/// How long everybody may take to connect at first, or to hear the last message.
const PATIENCE: Duration = Duration::from_secs(10);
/// All is well once everybody is there, and nobody has come or gone for so long.
const CALM: Duration = Duration::from_secs(2);
/// What is not well by then, stays so.
const LIMIT: Duration = Duration::from_secs(30);

/// Clients on three servers, connected through nginx, and a program that writes to
/// everybody through Redis.
pub struct Crowd {
    members: Vec<Returning>,
    speaker: Speaker,
}

impl Crowd {
    /// Connects `each` clients of each transport. Done once all have heard a message.
    ///
    /// # Errors
    /// When one of them cannot connect, or hears nothing.
    pub async fn gather(url: &str, redis: &str, each: usize) -> Result<Self> {
        let mut members = Vec::new();
        for transport in TRANSPORTS {
            for number in 0..each {
                let name = format!("{transport} {number}");
                // Where a cookie says which server is whose, they keep it.
                let client = User::client(url, &name, number % 3).keeping_cookies();
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
        let kept = self.speaker.finish().await?;
        ensure!(
            kept.iter().all(|kept| *kept),
            "Redis did not take all of the messages to everybody"
        );
        let spoken = kept.len();
        let last = spoken.saturating_sub(1);
        let mut stories = Vec::new();
        for member in self.members {
            // Whoever does not hear it has lost it, and that is counted.
            let _heard = member
                .has_heard(|heard| speaker::number(heard) == Some(last), PATIENCE)
                .await;
            let heard = member.take_heard().into_iter();
            let numbers = heard.filter_map(|heard| Some((heard.visit, speaker::number(&heard)?)));
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
    /// How many messages were sent to everybody; the first has number 0.
    pub spoken: usize,
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
    /// The messages that it heard, in that order: in which session, and their number.
    pub heard: Vec<(usize, usize)>,
}

/// What became of the messages, each counted once a receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Messages {
    /// How many there were.
    pub sent: usize,
    /// How many of them were not heard.
    pub lost: usize,
    /// How many of those are missing within a session: their receiver was there before
    /// and after.
    pub holes: usize,
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

    /// The stories of the clients of one transport.
    pub fn of(&self, transport: Transport) -> impl Iterator<Item = &Story> {
        let stories = self.stories.iter();
        stories.filter(move |story| story.transport == transport)
    }

    /// What became of the messages.
    pub fn messages(&self) -> Messages {
        let mut messages = Messages {
            sent: self.spoken * self.stories.len(),
            ..Messages::default()
        };
        for story in &self.stories {
            let mut heard = HashSet::new();
            let mut latest = 0;
            for (_, number) in &story.heard {
                if !heard.insert(*number) {
                    messages.twice += 1;
                } else if *number < latest {
                    messages.late += 1;
                }
                latest = latest.max(*number);
            }
            let missing = |numbers: Range<usize>| {
                let missing = numbers.filter(|number| !heard.contains(number));
                missing.count()
            };
            messages.lost += missing(0..self.spoken);
            messages.holes += story.sessions(self.spoken).map(missing).sum::<usize>();
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

    /// The messages of each session: from the first that was heard in it to the last. The
    /// first session begins with the first message, and one that lasts ends with the last.
    fn sessions(&self, spoken: usize) -> impl Iterator<Item = Range<usize>> {
        self.visits.iter().enumerate().map(move |(index, visit)| {
            let heard = self.heard.iter().filter(move |(visit, _)| *visit == index);
            let numbers = heard.map(|(_, number)| *number);
            let first = if index == 0 {
                Some(0)
            } else {
                numbers.clone().min()
            };
            let last = if visit.until.is_none() {
                spoken.checked_sub(1)
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
