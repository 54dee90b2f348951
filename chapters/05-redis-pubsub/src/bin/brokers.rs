//! Chapter 5, aside: brokers and workers, as SocketCluster has them, beside Redis.
//!
//! ```text
//! cargo run -p ch05-redis-pubsub --bin brokers                on a stage of its own; stays up until Ctrl-C
//! cargo run -p ch05-redis-pubsub --bin brokers -- --check     the same, then says what held, exits 0 or 1
//! ```

use std::process::ExitCode;

use ch05_redis_pubsub::{
    brokers::{
        broker,
        experiment::{with_brokers, with_redis},
    },
    chat::serve,
    programs::names_one_redis,
};
use lab::{Chapter, Result, Stage};

/// On each of three servers four.
const USERS: usize = 12;

/// Those that are not on Alice's server.
const ELSEWHERE: usize = 8;

fn main() -> ExitCode {
    Chapter::new("Chapter 5 · Brokers: who has which channel?", serve)
        .with_program("broker", broker::run)
        .run(lesson)
}

async fn lesson(stage: &mut Stage) -> Result<()> {
    stage.note(
        "Servers hold sockets, and brokers hold channels, one for each user. A server subscribes\n\
         to the channels of the users that it has. Alice, on A, writes to twelve users.\n\n",
    );
    one_broker(stage).await?;
    two_brokers(stage).await?;
    // Last, since it stays up with the stage; the brokers go with those who write.
    through_redis(stage).await?;

    let [a, b] = [stage.server_url('A')?, stage.server_url('B')?];
    stage.try_by_hand(format!(
        "Through Redis, in two terminals: write `bob: hi`, and look how many servers were handed it\n\n  \
         cargo run -p ch05-redis-pubsub --bin user -- alice {a}\n  \
         cargo run -p ch05-redis-pubsub --bin user -- bob {b}"
    ));
    Ok(())
}

async fn one_broker(stage: &mut Stage) -> Result<()> {
    stage.step("One broker, which dies");
    let mut cast = with_brokers(stage, 1, USERS).await?;
    stage.claim(
        "a message reaches another server",
        cast.tell_the_last().await?,
    );
    cast.kill(stage, 0).await?;
    stage.claim("then none does", !cast.tell_the_last().await?);
    Ok(())
}

async fn through_redis(stage: &mut Stage) -> Result<()> {
    stage.step("Redis, and one channel for all messages");
    names_one_redis()?;
    let redis = stage.start_redis().await?;
    let mut cast = with_redis(stage, &redis, USERS).await?;
    let told = cast.tell_everybody().await?;
    stage.claim_seen(
        "every server is handed every message, whoever it is for",
        format!(
            "{} messages, handed over {} times",
            told.published, told.handed
        ),
        told.arrived == USERS && told.published == ELSEWHERE && told.handed == 3 * ELSEWHERE,
    );
    Ok(())
}

async fn two_brokers(stage: &mut Stage) -> Result<()> {
    stage.step("Two brokers, and a channel for each user");
    let mut cast = with_brokers(stage, 2, USERS).await?;
    let told = cast.tell_everybody().await?;
    stage.claim_seen(
        "only the server that has the user is handed a message",
        format!(
            "{} messages, handed over {} times",
            told.published, told.handed
        ),
        told.arrived == USERS && told.published == ELSEWHERE && told.handed == ELSEWHERE,
    );
    stage.step("The first broker dies");
    let moved = cast.kill(stage, 0).await?;
    stage.claim_seen(
        "its channels move to the other one, and everybody is reached",
        format!("{moved} of 13 channels"),
        moved > 0 && cast.tell_everybody().await?.arrived == USERS,
    );
    stage.step("And is back");
    cast.restart(stage, 0).await?;
    stage.claim(
        "its channels are its own again, and everybody is reached",
        cast.tell_everybody().await?.arrived == USERS,
    );
    Ok(())
}
