//! A steady flow of numbered messages from one user to another, and what became of it.

use std::{cell::Cell, collections::BTreeSet, sync::Arc, time::Duration};

use lab::{
    Client, Socket, Transport,
    client::{Error, PATIENCE},
};
use serde_json::json;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, interval, timeout},
};

use super::{
    Rung,
    receiver::{Receiver, Record},
    retried,
};

/// How many messages, and how often.
#[derive(Clone, Copy)]
pub struct Pace {
    /// How many are counted.
    pub messages: u64,
    /// The time between two of them.
    pub every: Duration,
    /// How long they may take to arrive after the last of them was sent.
    pub patience: Duration,
}

/// A sender and a receiver, both connected, before the first message.
pub struct Flow {
    rung: Rung,
    sender: Arc<Socket>,
    to: String,
    record: Record,
    away: mpsc::UnboundedSender<Duration>,
}

/// Cuts a receiver's connection.
#[derive(Clone)]
pub struct Scissors(mpsc::UnboundedSender<Duration>);

impl Scissors {
    /// Has the receiver lose its connection, and be away for that long.
    pub fn cut(&self, away: Duration) {
        // The flow is over if this fails, and nobody is connected.
        let _over = self.0.send(away);
    }
}

/// What became of a flow.
#[derive(Debug)]
pub struct Outcome {
    /// When each message was said first, by its number.
    sent: Vec<Instant>,
    /// What the receiver's application was given, in that order.
    heard: Vec<(u64, Instant)>,
    /// Of which messages the sender knows that they are safe.
    safe: BTreeSet<u64>,
}

impl Flow {
    /// Connects both.
    ///
    /// # Errors
    /// When one of them cannot connect.
    pub async fn open(rung: Rung, from: &Client, to: &Client) -> Result<Self, Error> {
        let auth = json!({ "user": from.name() });
        let sender = Socket::connect(from, Transport::WebSocket, Some(&auth)).await?;
        let (away, cuts) = mpsc::unbounded_channel();
        let (connected, is_connected) = oneshot::channel();
        let record = Record::default();
        tokio::spawn(Receiver::new(to.clone(), rung, record.clone()).run(cuts, connected));
        match timeout(PATIENCE, is_connected).await {
            Ok(Ok(())) => Ok(Self {
                rung,
                sender: Arc::new(sender),
                to: to.name().to_owned(),
                record,
                away,
            }),
            _ => Err(Error::TooSlow),
        }
    }

    /// What cuts the receiver's connection.
    pub fn scissors(&self) -> Scissors {
        Scissors(self.away.clone())
    }

    /// Sends all messages, and then, not counted, as many more as it takes until one of
    /// those has arrived: what has not by then is lost.
    ///
    /// # Errors
    /// When the sender's own connection breaks, or its server says that this rung does not
    /// work here.
    pub async fn run(self, pace: Pace) -> Result<Outcome, Error> {
        let mut sent = Vec::new();
        let safe = if self.rung.repeats() {
            self.send_from_outbox(pace, &mut sent).await?
        } else {
            self.send_at_once(pace, &mut sent).await?
        };
        sent.truncate(pace.messages());
        let heard = std::mem::take(&mut *self.record.entries());
        let is_counted = |(number, _): &(u64, Instant)| *number < pace.messages;
        Ok(Outcome {
            sent,
            heard: heard.into_iter().filter(is_counted).collect(),
            safe: safe
                .into_iter()
                .filter(|number| *number < pace.messages)
                .collect(),
        })
    }

    /// Says each message when it is its time, whatever became of the one before.
    async fn send_at_once(
        &self,
        pace: Pace,
        sent: &mut Vec<Instant>,
    ) -> Result<BTreeSet<u64>, Error> {
        let mut answers = Vec::new();
        self.at_pace(pace, |number| {
            sent.push(Instant::now());
            let (rung, sender, to) = (self.rung, Arc::clone(&self.sender), self.to.clone());
            // Tasks of one thread begin in the order in which they are spawned.
            answers.push(tokio::spawn(async move {
                rung.say(&sender, &to, &number.to_string()).await
            }));
        })
        .await;
        let mut safe = BTreeSet::new();
        for (number, answer) in (0..pace.messages).zip(answers) {
            match answer.await {
                Ok(Ok(true)) => {
                    safe.insert(number);
                }
                // No, or no answer: the sender does not know.
                Ok(Ok(false) | Err(Error::TooSlow)) | Err(_) => {}
                Ok(Err(error)) => return Err(error),
            }
        }
        Ok(safe)
    }

    /// Puts each message into the outbox when it is its time.
    async fn send_from_outbox(
        &self,
        pace: Pace,
        sent: &mut Vec<Instant>,
    ) -> Result<BTreeSet<u64>, Error> {
        let safe = Cell::new(0);
        let (put, outbox) = mpsc::unbounded_channel();
        let said = self.at_pace(pace, |number| {
            sent.push(Instant::now());
            // Nobody takes from it any more once sending has failed.
            let _failed = put.send(number);
        });
        tokio::select! {
            () = said => {}
            failed = retried::send_all(self.rung, &self.sender, &self.to, outbox, &safe) => failed?,
        }
        // They leave the outbox in order.
        Ok((0..safe.get()).collect())
    }

    async fn at_pace(&self, pace: Pace, mut say: impl FnMut(u64)) {
        let mut turns = interval(pace.every);
        let mut deadline = None;
        for number in 0.. {
            turns.tick().await;
            if number >= pace.messages {
                let deadline = *deadline.get_or_insert_with(|| Instant::now() + pace.patience);
                if self.has_heard_after(pace.messages) || Instant::now() > deadline {
                    return;
                }
            }
            say(number);
        }
    }

    /// Whether a message that is not counted any more has arrived.
    fn has_heard_after(&self, messages: u64) -> bool {
        let heard = self.record.entries();
        heard.last().is_some_and(|(number, _)| *number >= messages)
    }
}

impl Pace {
    fn messages(self) -> usize {
        usize::try_from(self.messages).unwrap_or(usize::MAX)
    }
}

impl Outcome {
    /// How many messages were counted.
    pub fn sent(&self) -> usize {
        self.sent.len()
    }

    /// How many the receiver's application was never given.
    pub fn lost(&self) -> usize {
        self.sent() - self.distinct().len()
    }

    /// How many it was given more often than once.
    pub fn duplicated(&self) -> usize {
        self.heard.len() - self.distinct().len()
    }

    /// How many it was given after a later one.
    pub fn out_of_order(&self) -> usize {
        let mut latest = None;
        let is_late = |(number, _): &&(u64, Instant)| {
            let is_late = latest.is_some_and(|latest| *number < latest);
            latest = latest.max(Some(*number));
            is_late
        };
        self.heard.iter().filter(is_late).count()
    }

    /// Of how many the sender does not know that they are safe.
    pub fn unknown(&self) -> usize {
        self.sent() - self.safe.len()
    }

    /// How many were lost of which the sender believes that they are safe.
    pub fn lost_though_safe(&self) -> usize {
        self.safe.difference(&self.distinct()).count()
    }

    /// The longest time in which the receiver's application was given nothing.
    pub fn longest_silence(&self) -> Duration {
        let begun = self.sent.first().copied();
        let times = begun
            .into_iter()
            .chain(self.heard.iter().map(|(_, at)| *at));
        let times: Vec<_> = times.collect();
        let pauses = times.windows(2).map(|pair| pair[1] - pair[0]);
        pauses.max().unwrap_or_default()
    }

    /// How long after `since` the first message arrived that was sent after it, if one did.
    pub fn recovered_after(&self, since: Instant) -> Option<Duration> {
        let is_later = |number: u64| {
            let number = usize::try_from(number).ok();
            number.and_then(|number| self.sent.get(number)) >= Some(&since)
        };
        let mut later = self.heard.iter().filter(|(number, _)| is_later(*number));
        later.next().map(|(_, at)| *at - since)
    }

    fn distinct(&self) -> BTreeSet<u64> {
        self.heard.iter().map(|(number, _)| *number).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_comes_twice_or_late_is_counted() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let outcome = Outcome {
            sent: [0, 10, 20, 30, 40].map(at).to_vec(),
            heard: [(0, 5), (2, 25), (1, 90), (1, 91), (4, 95)]
                .map(|(number, ms)| (number, at(ms)))
                .to_vec(),
            safe: [0, 1, 3].into(),
        };
        assert_eq!(outcome.sent(), 5);
        assert_eq!(outcome.lost(), 1, "3 never came");
        assert_eq!(outcome.duplicated(), 1, "1 came twice");
        assert_eq!(outcome.out_of_order(), 2, "1 came after 2, both times");
        assert_eq!(outcome.unknown(), 2);
        assert_eq!(outcome.lost_though_safe(), 1, "3, again");
        assert_eq!(outcome.longest_silence(), Duration::from_millis(65));
        let after = outcome.recovered_after(at(21)).unwrap();
        assert_eq!(after, Duration::from_millis(74), "4 came");
        assert_eq!(outcome.recovered_after(at(41)), None);
    }
}
