//! What one receiver has heard of one sender, who numbers what it says from 0 on.

use std::collections::BTreeSet;

/// The numbers that have come.
#[derive(Debug, Default)]
pub(crate) struct Sequence {
    next: u64,
    /// Numbers below `next` that have not come.
    missing: BTreeSet<u64>,
}

/// How a message stands to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// After all that were sent before it; some of them may still be missing.
    InOrder,
    /// After one that was sent later.
    Late,
    /// Not for the first time.
    Twice,
}

impl Sequence {
    /// Takes the message with that number.
    pub(crate) fn hear(&mut self, number: u64) -> Heard {
        if number >= self.next {
            self.missing.extend(self.next..number);
            self.next = number + 1;
            return Heard::InOrder;
        }
        if self.missing.remove(&number) {
            Heard::Late
        } else {
            Heard::Twice
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Heard::*, *};

    fn heard(numbers: &[u64]) -> Vec<Heard> {
        let mut sequence = Sequence::default();
        numbers
            .iter()
            .map(|number| sequence.hear(*number))
            .collect()
    }

    #[test]
    fn a_lost_message_does_not_put_the_next_one_out_of_order() {
        assert_eq!(heard(&[0, 1, 3, 4]), [InOrder; 4]);
    }

    #[test]
    fn a_message_after_a_later_one_is_late_and_not_lost() {
        assert_eq!(heard(&[0, 2, 1, 3]), [InOrder, InOrder, Late, InOrder]);
    }

    #[test]
    fn a_second_copy_is_told_from_a_late_first_one() {
        assert_eq!(
            heard(&[0, 2, 1, 1, 0]),
            [InOrder, InOrder, Late, Twice, Twice]
        );
    }
}
