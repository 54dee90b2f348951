//! The delivery ladder: how sure can a sender be that a message arrives?
//!
//! Each rung costs more than the one below it, and survives more:
//!
//! 1. `say`: sent, and forgotten.
//! 2. [`acknowledged`]: the receiver's program says that it has the message.
//! 3. [`retried`]: the sender says it again until that comes, and the receiver takes it once.
//! 4. [`kept`]: the server keeps it in a history, and the receiver catches up from there.
//!
//! [`trial`] lets something die under each of them, and counts.

pub mod acknowledged;
pub mod kept;
