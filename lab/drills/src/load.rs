//! Steady traffic: 200 requests a second, while something happens.

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

use lab::client::{Answer, Client, Error, PATIENCE, lock};

/// Requests a second, and the number of connections.
const PER_SECOND: u32 = 200;
const CONNECTIONS: u32 = 20;

/// The traffic has recovered once nothing has failed for this long.
const CALM: Duration = Duration::from_secs(1);
/// By default nginx skips a failed server for 10 s. After three times that, waiting is no use.
const LIMIT: Duration = Duration::from_secs(30);
/// The time between two looks at the results.
const GLANCE: Duration = Duration::from_millis(20);

/// A stream of requests: 200 a second over 20 connections. The connections stay open, as a
/// browser's do.
pub struct Load {
    request: Arc<Request>,
}

struct Request {
    is_post: bool,
    target: Box<dyn Fn(u64) -> String + Send + Sync>,
    /// The number of the next request.
    next: AtomicU64,
}

/// One request that got an answer, or failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    /// Its number; the first has 0.
    pub number: u64,
    /// When it was sent, since the traffic began.
    pub at: Duration,
    /// When its answer came, or the client gave up.
    pub until: Duration,
    /// Why it failed, if it did.
    pub failure: Option<String>,
}

/// All requests, in the order in which they ended.
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

    /// `POST`s, each to its own path.
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

    /// Sends requests to `url` while `event` happens, and then until nothing has failed for one
    /// second. Waits for the answer to each request.
    ///
    /// The event starts once each connection has had an answer.
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
    /// One connection. It sends a request at each of its turns.
    async fn connection(self, place: u32) {
        let client = Client::new("load", &self.url);
        let turn = Duration::from_secs(1) * CONNECTIONS / PER_SECOND;
        let mut turns = interval_at(self.began + turn * place / CONNECTIONS, turn);
        // After a slow answer, no requests are sent faster to catch up.
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
        bail!(
            "{} does not answer, although nothing has been killed yet",
            self.url
        )
    }

    /// Waits until nothing has failed for a while. If that never happens, the counts show it.
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

/// Why a request failed: the status of its answer, or the error.
fn failure(outcome: &Result<Answer, Error>) -> Option<String> {
    match outcome {
        Ok(answer) if answer.status == 200 => None,
        Ok(answer) => Some(answer.status.to_string()),
        Err(error) => Some(error.to_string()),
    }
}

impl Requests {
    /// The requests that were answered with 200.
    pub fn answered(&self) -> impl Iterator<Item = &Sent> {
        self.all.iter().filter(|sent| sent.failure.is_none())
    }

    /// The requests that failed.
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

    /// The time from the first failed request to the first answer after the last failed one.
    /// `None` if none failed.
    pub fn trouble(&self) -> Option<Duration> {
        let first = self.failed().map(|sent| sent.at).min()?;
        let last = self.failed().map(|sent| sent.at).max()?;
        let well = self.answered().filter(|sent| sent.at > last);
        // It never recovered: until the end.
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
