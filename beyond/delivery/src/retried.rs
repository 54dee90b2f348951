//! The third way: the sender repeats a message until it is confirmed, and the receiver drops
//! duplicates.
//!
//! If no acknowledgement comes, the message may have arrived all the same. So a repeated message
//! has the same number, and the receiver knows which numbers it has. Both sides keep something: the
//! sender keeps its messages, and the receiver keeps a number.

use std::{cell::Cell, time::Duration};

use lab::{Socket, client::Error};
use tokio::{sync::mpsc, time::sleep};

use crate::Way;

/// The time between two attempts.
const PAUSE: Duration = Duration::from_millis(100);

/// Sends the messages in the outbox, one after the other: the next message must not overtake one
/// that is repeated. `safe` is the number of messages that are safe.
///
/// # Errors
/// When the sender's own connection is broken, or the server says that it never keeps a message.
pub(super) async fn send_all(
    way: Way,
    socket: &Socket,
    to: &str,
    mut outbox: mpsc::UnboundedReceiver<u64>,
    safe: &Cell<u64>,
) -> Result<(), Error> {
    while let Some(number) = outbox.recv().await {
        loop {
            match way.send(socket, to, &number.to_string()).await {
                Ok(true) => break,
                // It may have arrived or not.
                Ok(false) | Err(Error::TooSlow(_)) => sleep(PAUSE).await,
                Err(error) => return Err(error),
            }
        }
        safe.set(safe.get() + 1);
    }
    Ok(())
}

/// The number of the last message that a receiver took from a sender.
///
/// One number is enough, because the sender keeps its messages in order.
#[derive(Default)]
pub(super) struct Taken(Option<u64>);

impl Taken {
    /// Whether a message is new. If so, it counts as taken.
    pub(super) fn is_new(&mut self, number: u64) -> bool {
        let is_new = self.0.is_none_or(|last| number > last);
        if is_new {
            self.0 = Some(number);
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::Taken;

    #[test]
    fn a_repeated_message_is_not_new() {
        let mut taken = Taken::default();
        let is_new = [0, 1, 1, 0, 2].map(|number| taken.is_new(number));
        assert_eq!(is_new, [true, true, false, false, true]);
    }
}
