//! Messages that say who sent them, as which in order, and when.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use memchr::memmem;
use tokio::sync::Notify;

use crate::{
    clock,
    sequence::{Heard, Sequence},
    tally::Tally,
};

/// What a message's text says: `<sender> <number> <nanoseconds>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) sender: u32,
    /// The sender's first message has 0.
    pub(crate) number: u64,
    /// When it was sent, by [`clock`].
    pub(crate) at: u64,
}

impl Stamp {
    pub(crate) fn text(self) -> String {
        format!("{} {} {}", self.sender, self.number, self.at)
    }

    /// Finds the text in a Socket.IO packet `42["message",{…,"text":"…"}]`.
    pub(crate) fn find(packet: &[u8]) -> Option<Self> {
        const TEXT: &[u8] = br#""text":""#;
        let rest = &packet[memmem::find(packet, TEXT)? + TEXT.len()..];
        let text = &rest[..memchr::memchr(b'"', rest)?];
        let mut words = std::str::from_utf8(text).ok()?.split(' ');
        Some(Self {
            sender: words.next()?.parse().ok()?,
            number: words.next()?.parse().ok()?,
            at: words.next()?.parse().ok()?,
        })
    }
}

/// What all receivers of a worker have heard, and the count of it.
#[derive(Clone, Default)]
pub(crate) struct Deliveries(Rc<Inner>);

#[derive(Default)]
struct Inner {
    counted: RefCell<Counted>,
    grown: Notify,
}

#[derive(Default)]
struct Counted {
    tally: Tally,
    /// By sender, how many deliveries of its messages there were.
    by_sender: HashMap<u32, u64>,
}

impl Deliveries {
    /// Takes a packet that `heard`'s owner received, if it is a message.
    pub(crate) fn take(&self, packet: &[u8], heard: &mut HashMap<u32, Sequence>) {
        let Some(stamp) = Stamp::find(packet) else {
            return;
        };
        let now = clock::now();
        let mut counted = self.0.counted.borrow_mut();
        let tally = &mut counted.tally;
        tally.last = now;
        match heard.entry(stamp.sender).or_default().hear(stamp.number) {
            Heard::Twice => tally.counts.duplicated += 1,
            in_time_or_late => {
                tally.counts.delivered += 1;
                tally.counts.reordered += u64::from(in_time_or_late == Heard::Late);
                tally.times.record(now.saturating_sub(stamp.at) / 1_000);
                *counted.by_sender.entry(stamp.sender).or_default() += 1;
            }
        }
        drop(counted);
        self.0.grown.notify_waiters();
    }

    /// How often the messages of a sender were delivered to this worker's receivers.
    pub(crate) fn of(&self, sender: u32) -> u64 {
        let counted = self.0.counted.borrow();
        counted.by_sender.get(&sender).copied().unwrap_or_default()
    }

    /// Ready at the next delivery.
    pub(crate) async fn grown(&self) {
        self.0.grown.notified().await;
    }

    /// Counts what is no delivery.
    pub(crate) fn count(&self, count: impl FnOnce(&mut Tally)) {
        count(&mut self.0.counted.borrow_mut().tally);
    }

    /// What has been counted up to now.
    pub(crate) fn tally(&self) -> Tally {
        self.0.counted.borrow().tally.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(stamp: Stamp) -> Vec<u8> {
        let text = stamp.text();
        format!(r#"42["message",{{"from":"sender 0","to":"all","text":"{text}"}}]"#).into_bytes()
    }

    fn stamp(sender: u32, number: u64) -> Stamp {
        let at = clock::now();
        Stamp { sender, number, at }
    }

    #[test]
    fn a_message_says_who_sent_it_and_when() {
        let sent = stamp(3, 17);
        assert_eq!(Stamp::find(&packet(sent)), Some(sent));
        for other in [
            &b"2"[..],
            br#"40{"sid":"x"}"#,
            b"43[true]",
            br#"42["message",{"text":"hi"}]"#,
        ] {
            assert_eq!(Stamp::find(other), None);
        }
    }

    #[test]
    fn what_came_twice_or_late_is_counted_as_that() {
        let (deliveries, mut heard) = (Deliveries::default(), HashMap::new());
        for number in [0, 2, 1, 1, 3] {
            deliveries.take(&packet(stamp(0, number)), &mut heard);
        }
        // Another sender has numbers of its own.
        deliveries.take(&packet(stamp(1, 0)), &mut heard);
        let counts = deliveries.tally().counts;
        assert_eq!(
            (counts.delivered, counts.duplicated, counts.reordered),
            (5, 1, 1)
        );
        assert_eq!(
            (deliveries.of(0), deliveries.of(1), deliveries.of(2)),
            (4, 1, 0)
        );
    }
}
