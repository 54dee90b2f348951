//! Steady traffic: so many requests a second, while something happens.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Result, bail};
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval_at, sleep},
};

use crate::client::{Answer, Client, Error, PATIENCE, lock};

/// How many requests a second there are, and over how many connections.
const PER_SECOND: u32 = 200;
const CONNECTIONS: u32 = 20;

/// All is well once nothing has failed for so long.
const CALM: Duration = Duration::from_secs(1);
/// nginx leaves a server alone for 10 s by default; after three times that, it stays so.
const LIMIT: Duration = Duration::from_secs(30);
/// How often is looked whether that is so.
const GLANCE: Duration = Duration::from_millis(20);

/// A stream of requests: 200 a second over 20 connections, which are kept open as a
/// browser keeps them.
pub struct Load {
    request: Arc<Request>,
}

struct Request {
    is_post: bool,
    target: Box<dyn Fn(u64) -> String + Send + Sync>,
    /// The number of the next request.
    next: AtomicU64,
}

/// One request that had its answer, or had not.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    /// Its number; the first has 0.
    pub number: u64,
    /// When it was sent, since the traffic began.
    pub at: Duration,
    /// When its answer was there, or there was none to come.
    pub until: Duration,
    /// Why there was no good answer, if so.
    pub failure: Option<String>,
}

/// What became of the requests, in the order in which they ended.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    /// Each of them.
    pub all: Vec<Sent>,
}

impl Load {
    /// `GET`s a path.
    pub fn get(target: &'static str) -> Self {
        Self::new(false, move |_| target.to_owned())
    }

    /// `POST`s, each to a path of its own.
    pub fn post(target: impl Fn(u64) -> String + Send + Sync + 'static) -> Self {
        Self::new(true, target)
    }

    fn new(is_post: bool, target: impl Fn(u64) -> String + Send + Sync + 'static) -> Self {
        Self {
            request: Arc::new(Request {
                is_post,
                target: Box::new(target),
                next: AtomicU64::new(0),
            }),
        }
    }

    /// Sends requests to `url` while `event` happens, and until nothing has failed for a
    /// second. Everything that was sent is waited for.
    ///
    /// The event begins once each connection has had an answer.
    ///
    /// # Errors
    /// When the event fails, or there is no answer before it.
    pub async fn during<T>(
        &self,
        url: &str,
        event: impl Future<Output = Result<T>>,
    ) -> Result<(T, Requests)> {
        let traffic = Traffic {
            url: url.to_owned(),
            request: Arc::clone(&self.request),
            began: Instant::now(),
            requests: Arc::default(),
            is_over: Arc::default(),
        };
        let mut connections = JoinSet::new();
        for number in 0..CONNECTIONS {
            connections.spawn(traffic.clone().connection(number));
        }
        traffic.answered_everywhere().await?;
        let outcome = event.await;
        if outcome.is_ok() {
            traffic.calms_down().await;
        }
        traffic.is_over.store(true, Relaxed);
        while connections.join_next().await.is_some() {}
        let requests = std::mem::take(&mut *lock(&traffic.requests));
        Ok((outcome?, requests))
    }
}

#[derive(Clone)]
struct Traffic {
    url: String,
    request: Arc<Request>,
    began: Instant,
    requests: Arc<Mutex<Requests>>,
    is_over: Arc<AtomicBool>,
}

impl Traffic {
    /// One connection: a request at each of its turns, the connections one after the other.
    async fn connection(self, place: u32) {
        // Nobody looks at a record of these.
        let client = Client::new("load", &self.url).telling(|_| {});
        let turn = Duration::from_secs(1) * CONNECTIONS / PER_SECOND;
        let mut turns = interval_at(self.began + turn * place / CONNECTIONS, turn);
        // An answer that took long is not made up for: the stream stays steady.
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            if self.is_over.load(Relaxed) {
                return;
            }
            let sent = self.one(&client).await;
            lock(&self.requests).all.push(sent);
        }
    }

    async fn one(&self, client: &Client) -> Sent {
        let number = self.request.next.fetch_add(1, Relaxed);
        let target = (self.request.target)(number);
        let at = self.began.elapsed();
        let outcome = if self.request.is_post {
            client.post(&target, String::new()).await
        } else {
            client.get(&target, PATIENCE).await
        };
        Sent {
            number,
            at,
            until: self.began.elapsed(),
            failure: failure(&outcome),
        }
    }

    async fn answered_everywhere(&self) -> Result<()> {
        while self.began.elapsed() < PATIENCE {
            if lock(&self.requests).answered().count() >= CONNECTIONS as usize {
                return Ok(());
            }
            sleep(GLANCE).await;
        }
        bail!("{} does not answer, before anything has happened", self.url)
    }

    /// Waits until all has been well for a while. What never is well shows in the count.
    async fn calms_down(&self) {
        let since = self.began.elapsed();
        while self.began.elapsed() < since + LIMIT {
            let well_since = lock(&self.requests)
                .all
                .iter()
                .rev()
                .find(|sent| sent.failure.is_some())
                .map_or(since, |failed| failed.until.max(since));
            if self.began.elapsed() > well_since + CALM {
                return;
            }
            sleep(GLANCE).await;
        }
    }
}

/// Why an answer is no good one: its status, or what came in its place.
fn failure(outcome: &Result<Answer, Error>) -> Option<String> {
    match outcome {
        Ok(answer) if answer.status == 200 => None,
        Ok(answer) => Some(answer.status.to_string()),
        Err(error) => Some(error.to_string()),
    }
}

impl Requests {
    /// Those with a good answer.
    pub fn answered(&self) -> impl Iterator<Item = &Sent> {
        self.all.iter().filter(|sent| sent.failure.is_none())
    }

    /// Those without.
    pub fn failed(&self) -> impl Iterator<Item = &Sent> {
        self.all.iter().filter(|sent| sent.failure.is_some())
    }

    /// How often each reason was given.
    pub fn reasons(&self) -> BTreeMap<&str, usize> {
        let mut reasons = BTreeMap::new();
        for reason in self.all.iter().filter_map(|sent| sent.failure.as_deref()) {
            *reasons.entry(reason).or_default() += 1;
        }
        reasons
    }

    /// From the first request that failed to the first answer after the last one; none if
    /// none failed.
    pub fn trouble(&self) -> Option<Duration> {
        let first = self.failed().map(|sent| sent.at).min()?;
        let last = self.failed().map(|sent| sent.at).max()?;
        let well = self.answered().filter(|sent| sent.at > last);
        // Never well again: until the end.
        let well = well.map(|sent| sent.until).min();
        let end = self.all.iter().map(|sent| sent.until).max();
        Some(well.or(end)?.saturating_sub(first))
    }

    /// The longest time without an answer.
    pub fn longest_gap(&self) -> Duration {
        let mut times: Vec<_> = self.answered().map(|sent| sent.until).collect();
        times.sort();
        let gaps = times.windows(2).map(|pair| pair[1].saturating_sub(pair[0]));
        gaps.max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(at: u64, failure: Option<&str>) -> Sent {
        Sent {
            number: at,
            at: Duration::from_millis(at),
            until: Duration::from_millis(at + 1),
            failure: failure.map(str::to_owned),
        }
    }

    #[test]
    fn trouble_lasts_until_the_first_answer_after_the_last_failure() {
        let requests = Requests {
            all: vec![
                sent(0, None),
                sent(10, Some("502")),
                sent(20, None),
                sent(30, Some("502")),
                sent(40, None),
                sent(50, None),
            ],
        };
        assert_eq!(requests.trouble(), Some(Duration::from_millis(31)));
        assert_eq!(requests.reasons(), BTreeMap::from([("502", 2)]));
        assert_eq!(requests.longest_gap(), Duration::from_millis(20));
    }

    #[test]
    fn without_a_failure_there_is_no_trouble() {
        let requests = Requests {
            all: vec![sent(0, None)],
        };
        assert_eq!(requests.trouble(), None);
    }
}
