//! The bytes for one client that its socket has not taken yet.
//!
//! A client that reads more slowly than others publish could fill the server's memory.
//! Redis disconnects it, and so does this server. The limits are those of Redis for
//! subscribers: `client-output-buffer-limit pubsub 32mb 8mb 60`.
//! Source: <https://redis.io/docs/latest/develop/reference/clients/>, "Output buffer
//! limits". Redis has no limits for other clients. Here they are the same for all.

use std::{
    io,
    time::{Duration, Instant},
};

use bytes::{Buf, BytesMut};

const HARD_LIMIT: usize = 32 * 1024 * 1024;
const SOFT_LIMIT: usize = 8 * 1024 * 1024;
const SOFT_LIMIT_TIME: Duration = Duration::from_mins(1);

/// An empty buffer of more than this is given back: most clients are idle.
const KEPT_CAPACITY: usize = 64 * 1024;

/// The limits as `CONFIG GET client-output-buffer-limit` writes them.
pub(crate) const LIMITS: &str =
    "normal 33554432 8388608 60 slave 33554432 8388608 60 pubsub 33554432 8388608 60";

/// The client is too slow and must be disconnected.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooSlow;

#[derive(Default)]
pub(crate) struct Outbox {
    bytes: BytesMut,
    over_soft_limit_since: Option<Instant>,
}

impl Outbox {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends one or more whole frames.
    pub(crate) fn push(&mut self, frames: &[u8], now: Instant) -> Result<(), TooSlow> {
        if self.len() + frames.len() > HARD_LIMIT {
            return Err(TooSlow);
        }
        self.bytes.extend_from_slice(frames);
        if self.len() > SOFT_LIMIT {
            self.over_soft_limit_since.get_or_insert(now);
        }
        self.check(now)
    }

    pub(crate) fn check(&self, now: Instant) -> Result<(), TooSlow> {
        match self.over_soft_limit_since {
            Some(since) if now.duration_since(since) > SOFT_LIMIT_TIME => Err(TooSlow),
            _ => Ok(()),
        }
    }

    /// Passes all bytes to `write`, which returns how many of them it has written.
    pub(crate) fn write_with(
        &mut self,
        write: impl FnOnce(&[u8]) -> io::Result<usize>,
    ) -> io::Result<()> {
        let taken = write(&self.bytes)?;
        self.bytes.advance(taken);
        if self.len() <= SOFT_LIMIT {
            self.over_soft_limit_since = None;
        }
        if self.bytes.is_empty() && self.bytes.capacity() > KEPT_CAPACITY {
            self.bytes = BytesMut::new();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER_A_MINUTE: Duration = Duration::from_secs(61);

    #[test]
    fn thirty_two_megabytes_are_too_many_at_once() {
        let now = Instant::now();
        let mut outbox = Outbox::default();
        assert_eq!(outbox.push(&vec![0; HARD_LIMIT], now), Ok(()));
        assert_eq!(outbox.push(b"x", now), Err(TooSlow));
        assert_eq!(outbox.len(), HARD_LIMIT);
    }

    #[test]
    fn eight_megabytes_are_too_many_for_more_than_a_minute() {
        let now = Instant::now();
        let mut outbox = Outbox::default();
        assert_eq!(outbox.push(&vec![0; SOFT_LIMIT + 1], now), Ok(()));
        assert_eq!(outbox.check(now + SOFT_LIMIT_TIME), Ok(()));
        assert_eq!(outbox.check(now + AFTER_A_MINUTE), Err(TooSlow));
        assert_eq!(outbox.push(b"x", now + AFTER_A_MINUTE), Err(TooSlow));
    }

    #[test]
    fn who_catches_up_within_the_minute_stays() {
        let now = Instant::now();
        let mut outbox = Outbox::default();
        assert_eq!(outbox.push(&vec![0; SOFT_LIMIT + 1], now), Ok(()));
        outbox.write_with(|_| Ok(1)).unwrap();
        assert_eq!(outbox.check(now + AFTER_A_MINUTE), Ok(()));
    }

    #[test]
    fn what_the_socket_did_not_take_is_kept_in_order() {
        let mut outbox = Outbox::default();
        let now = Instant::now();
        assert_eq!(outbox.push(b"abc", now), Ok(()));
        outbox.write_with(|_| Ok(2)).unwrap();
        assert_eq!(outbox.push(b"def", now), Ok(()));
        let blocked = outbox.write_with(|_| Err(io::ErrorKind::WouldBlock.into()));
        assert_eq!(blocked.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(&outbox.bytes[..], b"cdef");
    }
}
