//! How sure can a sender be that a message arrives?
//!
//! ```text
//! cargo run -p delivery                     all experiments and a table; exits 0 or 1
//! cargo run -p delivery -- server-killed    one of them
//! PORT=8000 cargo run -p delivery           one server
//! ```

use std::process::ExitCode;

use delivery::{
    experiments::{receiver_away, receiver_away_and_redis_killed, redis_killed, server_killed},
    serve,
};
use drills::Drills;

fn main() -> ExitCode {
    Drills::new(
        "Delivery: how sure can a sender be that a message arrives?",
        serve,
    )
    .intro(
        "Four ways to deliver 350 messages. In each experiment all four run at the same time,\n\
         and something happens to the receiver. Watch how many are lost, and what the sender\n\
         knows about them.\n\n",
    )
    .with(
        "server-killed",
        "The receiver's server is killed",
        server_killed,
    )
    .with(
        "redis-killed",
        "Redis is killed, and started again",
        redis_killed,
    )
    .with("away", "The receiver is away for 5 seconds", receiver_away)
    .with(
        "away-redis-killed",
        "The receiver is away for 5 seconds, and Redis is killed meanwhile",
        receiver_away_and_redis_killed,
    )
    .run()
}
