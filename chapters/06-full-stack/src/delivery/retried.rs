//! Rung 3: the sender says it again until the receiver has it, and the receiver takes it
//! once.
//!
//! When no acknowledgement comes, the message may have arrived all the same. So one that is
//! said again has the number that it had, and the receiver knows what it took already.
//! Both ends keep something: the sender its messages, the receiver a number.

use std::{cell::Cell, time::Duration};

use lab::{Socket, client::Error};
use tokio::{sync::mpsc, time::sleep};

use super::Rung;

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(100);

/// Sends what is in the outbox, one after the other: the next message must not overtake
/// one that is being said again. Counts in `safe` those that are.
///
/// # Errors
/// When the sender's own connection is gone, or trying again makes no sense.
pub(super) async fn send_all(
    rung: Rung,
    socket: &Socket,
    to: &str,
    mut outbox: mpsc::UnboundedReceiver<u64>,
    safe: &Cell<u64>,
) -> Result<(), Error> {
    while let Some(number) = outbox.recv().await {
        loop {
            match rung.say(socket, to, &number.to_string()).await {
                Ok(true) => break,
                // It may have arrived, and may not.
                Ok(false) | Err(Error::TooSlow) => sleep(PAUSE).await,
                Err(error) => return Err(error),
            }
        }
        safe.set(safe.get() + 1);
    }
    Ok(())
}

/// What a receiver knows of a sender: the number of the last message that it took.
///
/// A number is enough because the sender keeps its order.
#[derive(Default)]
pub(super) struct Taken(Option<u64>);

impl Taken {
    /// Whether a message is new, and so to be taken.
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
    fn a_message_that_comes_again_is_not_new() {
        let mut taken = Taken::default();
        let is_new = [0, 1, 1, 0, 2].map(|number| taken.is_new(number));
        assert_eq!(is_new, [true, true, false, false, true]);
    }
}
