//! A steady flow of numbered messages from one user to another. It counts which ones arrive.

use std::{cell::Cell, collections::BTreeSet, sync::Arc, time::Duration};

use drills::LossCounter;
use lab::{
    Client, Socket, Transport,
    client::{Error, PATIENCE},
};
use serde_json::json;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, interval, timeout},
};

use crate::{
    Way,
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

/// A sender and a receiver, connected, before the first message.
pub struct Flow {
    way: Way,
    sender: Arc<Socket>,
    to: String,
    record: Record,
    cuts: mpsc::UnboundedSender<Duration>,
}

/// Cuts the receiver's connection.
#[derive(Clone)]
pub struct Cutter(mpsc::UnboundedSender<Duration>);

impl Cutter {
    /// Cuts the connection. The receiver reconnects after `away`.
    pub fn cut(&self, away: Duration) {
        // If this fails, the flow is over, and the receiver is not connected.
        let _over = self.0.send(away);
    }
}

/// Which messages of a flow arrived.
#[derive(Debug)]
pub struct Outcome {
    /// When each message was sent first, by its number.
    sent: Vec<Instant>,
    /// The messages that the receiver's application got, in that order.
    received: Vec<(u64, Instant)>,
    /// The messages of which the sender knows that they are safe.
    safe: BTreeSet<u64>,
}

impl Flow {
    /// Connects both.
    ///
    /// # Errors
    /// When one of them cannot connect.
    pub async fn open(way: Way, from: &Client, to: &Client) -> Result<Self, Error> {
        let auth = json!({ "user": from.name() });
        let sender = Socket::connect(from, Transport::WebSocket, Some(&auth)).await?;
        let (cut, cuts) = mpsc::unbounded_channel();
        let (connected, is_connected) = oneshot::channel();
        let record = Record::default();
        tokio::spawn(Receiver::new(to.clone(), way, record.clone()).run(cuts, connected));
        match timeout(PATIENCE, is_connected).await {
            Ok(Ok(())) => Ok(Self {
                way,
                sender: Arc::new(sender),
                to: to.name().to_owned(),
                record,
                cuts: cut,
            }),
            _ => Err(Error::TooSlow(PATIENCE)),
        }
    }

    /// Returns what cuts the receiver's connection.
    pub fn cutter(&self) -> Cutter {
        Cutter(self.cuts.clone())
    }

    /// Sends all messages. Then it sends further messages, which are not counted, until one of them
    /// arrives. A message that has not arrived by then is lost.
    ///
    /// # Errors
    /// When the sender's own connection breaks, or its server says that this way does not work.
    pub async fn run(self, pace: Pace) -> Result<Outcome, Error> {
        let mut sent = Vec::new();
        let safe = if self.way.repeats() {
            self.send_from_outbox(pace, &mut sent).await?
        } else {
            self.send_at_once(pace, &mut sent).await?
        };
        sent.truncate(pace.messages());
        let received = std::mem::take(&mut *self.record.entries());
        let is_counted = |(number, _): &(u64, Instant)| *number < pace.messages;
        Ok(Outcome {
            sent,
            received: received.into_iter().filter(is_counted).collect(),
            safe: safe
                .into_iter()
                .filter(|number| *number < pace.messages)
                .collect(),
        })
    }

    /// Sends each message in its turn, whether or not the previous one has arrived.
    async fn send_at_once(
        &self,
        pace: Pace,
        sent: &mut Vec<Instant>,
    ) -> Result<BTreeSet<u64>, Error> {
        let mut answers = Vec::new();
        self.at_pace(pace, |number| {
            sent.push(Instant::now());
            let (way, sender, to) = (self.way, Arc::clone(&self.sender), self.to.clone());
            // On one thread, tasks start in the order in which they are spawned.
            answers.push(tokio::spawn(async move {
                way.send(&sender, &to, &number.to_string()).await
            }));
        })
        .await;
        let mut safe = BTreeSet::new();
        for (number, answer) in (0..pace.messages).zip(answers) {
            match answer.await {
                Ok(Ok(true)) => {
                    safe.insert(number);
                }
                // The answer is no, or there is none: the sender is not sure.
                Ok(Ok(false) | Err(Error::TooSlow(_))) | Err(_) => {}
                Ok(Err(error)) => return Err(error),
            }
        }
        Ok(safe)
    }

    /// Puts each message into the outbox in its turn.
    async fn send_from_outbox(
        &self,
        pace: Pace,
        sent: &mut Vec<Instant>,
    ) -> Result<BTreeSet<u64>, Error> {
        let safe = Cell::new(0);
        let (put, outbox) = mpsc::unbounded_channel();
        let sending = self.at_pace(pace, |number| {
            sent.push(Instant::now());
            // If this fails, sending has failed, and the error is returned below.
            let _failed = put.send(number);
        });
        tokio::select! {
            () = sending => {}
            failed = retried::send_all(self.way, &self.sender, &self.to, outbox, &safe) => failed?,
        }
        // They leave the outbox in order.
        Ok((0..safe.get()).collect())
    }

    async fn at_pace(&self, pace: Pace, mut send: impl FnMut(u64)) {
        let mut turns = interval(pace.every);
        let mut deadline = None;
        for number in 0.. {
            turns.tick().await;
            if number >= pace.messages {
                let deadline = *deadline.get_or_insert_with(|| Instant::now() + pace.patience);
                if self.has_received_after(pace.messages) || Instant::now() > deadline {
                    return;
                }
            }
            send(number);
        }
    }

    /// Whether a message after the counted ones has arrived.
    fn has_received_after(&self, messages: u64) -> bool {
        let received = self.record.entries();
        received
            .last()
            .is_some_and(|(number, _)| *number >= messages)
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

    /// How many the receiver's application never got.
    pub fn lost(&self) -> usize {
        self.counter().lost(0..self.sent.len() as u64)
    }

    /// How many it got that it had already.
    pub fn duplicates(&self) -> usize {
        self.counter().duplicates()
    }

    /// How many it got after a later one.
    pub fn out_of_order(&self) -> usize {
        self.counter().out_of_order()
    }

    /// For how many the sender got no confirmation.
    pub fn sender_not_sure(&self) -> usize {
        self.sent() - self.safe.len()
    }

    /// How many were lost although the sender was told that they are safe.
    pub fn lost_told_ok(&self) -> usize {
        let counter = self.counter();
        let lost = self.safe.iter().filter(|number| !counter.has(**number));
        lost.count()
    }

    /// The longest time in which the receiver's application got no message.
    pub fn longest_silence(&self) -> Duration {
        let begun = self.sent.first().copied();
        let times = begun
            .into_iter()
            .chain(self.received.iter().map(|(_, at)| *at));
        let times: Vec<_> = times.collect();
        let pauses = times.windows(2).map(|pair| pair[1] - pair[0]);
        pauses.max().unwrap_or_default()
    }

    /// The time from `since` until the first message arrived that was sent after `since`. `None` if
    /// no such message arrived.
    pub fn recovered_after(&self, since: Instant) -> Option<Duration> {
        let is_later = |number: u64| {
            let number = usize::try_from(number).ok();
            number.and_then(|number| self.sent.get(number)) >= Some(&since)
        };
        let mut later = self.received.iter().filter(|(number, _)| is_later(*number));
        later.next().map(|(_, at)| *at - since)
    }

    fn counter(&self) -> LossCounter {
        self.received.iter().map(|(number, _)| *number).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_duplicated_and_late_messages_are_counted() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let outcome = Outcome {
            sent: [0, 10, 20, 30, 40].map(at).to_vec(),
            received: [(0, 5), (2, 25), (1, 90), (1, 91), (4, 95)]
                .map(|(number, ms)| (number, at(ms)))
                .to_vec(),
            safe: [0, 1, 3].into(),
        };
        assert_eq!(outcome.sent(), 5);
        assert_eq!(outcome.lost(), 1, "3 never came");
        assert_eq!(outcome.duplicates(), 1, "1 came twice");
        assert_eq!(outcome.out_of_order(), 2, "1 came after 2, both times");
        assert_eq!(outcome.sender_not_sure(), 2);
        assert_eq!(outcome.lost_told_ok(), 1, "3, again");
        assert_eq!(outcome.longest_silence(), Duration::from_millis(65));
        let after = outcome.recovered_after(at(21)).unwrap();
        assert_eq!(after, Duration::from_millis(74), "4 came");
        assert_eq!(outcome.recovered_after(at(41)), None);
    }
}
