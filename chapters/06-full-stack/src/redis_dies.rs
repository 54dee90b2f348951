//! Redis dies and comes back: with the adapter's own driver, and with the resilient one.

use std::time::Duration;

use ch06_full_stack::experiment::{User, write_until_heard};
use lab::{Result, Stage, Transport};

use crate::setup::{alice_and_bob, connect, start_with_redis, write_shown};

/// The driver in `lab/redis-driver`. It is the default.
pub(crate) const RESILIENT: &str = "resilient";

/// The driver of the crate `socketioxide-redis`.
const STOCK: &str = "stock";

/// How long messages may take to cross again after Redis is back.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) async fn with_the_stock_driver(stage: &mut Stage) -> Result<()> {
    let Some([alice, mut bob, mut ann]) = three_users(stage, STOCK).await? else {
        return Ok(());
    };
    stage.redis.kill().await;
    stage.redis.restart().await?;
    let far = write_shown(stage, &alice, &mut bob, "and you?").await?;
    stage.claim_failure(
        "Redis is back, and her message to Bob on server B is lost",
        "A's connection to Redis is still broken",
        !far,
    );
    let is_accepted = alice.say("ann", "still there?").await?;
    let near = write_shown(stage, &alice, &mut ann, "still there?").await?;
    stage.claim_failure(
        "even her message to Ann on her own server is lost",
        "A answers: not sent",
        !near && !is_accepted,
    );
    Ok(())
}

pub(crate) async fn with_the_resilient_driver(stage: &mut Stage) -> Result<()> {
    stage.note(
        "Which driver the adapter gets is one line of src/chat.rs:\n\n  \
         let driver = RedisDriver::new(&client_of(redis)?).await?;   stock\n  \
         let driver = ResilientDriver::connect(redis, log).await?;   resilient\n\n",
    );
    let Some([alice, mut bob, mut ann]) = three_users(stage, RESILIENT).await? else {
        return Ok(());
    };
    stage.redis.kill().await;
    stage
        .servers
        .await_line('A', "the connection to Redis broke")
        .await;
    let near = write_shown(stage, &alice, &mut ann, "still there?").await?;
    stage.claim("on one server, messages still arrive", near);
    let far = write_shown(stage, &alice, &mut bob, "and you?").await?;
    stage.claim_failure("between servers they are lost", "nobody keeps them", !far);

    stage.redis.restart().await?;
    let heard = write_until_heard(&alice, &mut bob, PATIENCE).await?;
    stage.servers.await_line('A', "Redis is back").await;
    let seen = heard.map_or("never".to_owned(), |(lost, after)| {
        format!("after {:.2} s, {lost} more lost", after.as_secs_f64())
    });
    stage.claim_seen(
        "they arrive again, and no server was restarted",
        seen,
        heard.is_some(),
    );
    Ok(())
}

/// Alice and Ann on server A, Bob on server B. `None` if Redis must not be killed.
async fn three_users(stage: &mut Stage, driver: &str) -> Result<Option<[User; 3]>> {
    start_with_redis(stage, driver).await?;
    if !stage.redis.is_own() {
        stage.note("Not tried: the stage did not start this Redis, so it does not kill it.");
        return Ok(None);
    }
    let [alice, bob] = alice_and_bob(stage, Transport::Upgrade).await?;
    let ann = connect(stage, "ann", 0, Transport::Upgrade).await?;
    Ok(Some([alice, bob, ann]))
}
