//! Events over HTTP: a program that is not a chat server sends events to users.
//!
//! ```text
//! cargo run -p pusher-api                     all experiments; stays up until Ctrl-C
//! cargo run -p pusher-api -- --check          the experiments; exits 0 if every claim held, else 1
//! cargo run -p pusher-api -- signature        one experiment (`-- list` prints the names)
//! cargo run -p pusher-api --bin pusher        the API alone
//! ```

use std::{future::pending, process::ExitCode};

use anyhow::Context;
use ch05_redis_pubsub::experiment::connect;
use ch06_full_stack::chat::serve;
use lab::{
    Lesson, Program, Result, Socket, Stage,
    client::{Answer, PATIENCE},
};
use pusher_api::{
    MOST_DATA, PORT, SECRET, run,
    shop::{Shop, event, message},
    signature::{Key, now},
};

/// The app's ID and key: the API's defaults.
const APP: &str = "chat";
const KEY: &str = "key";

/// Good enough for a lesson, and easy to type.
const LESSONS_SECRET: &str = "secret";

/// Eleven minutes, in seconds. The API accepts requests that are up to ten minutes old.
const TOO_OLD: u64 = 660;

fn main() -> ExitCode {
    Lesson::new("Pusher's API: events over HTTP", serve)
        .intro(
            "A shop wants to tell Bob that his order is on its way. The shop is not a chat\n\
             server and has no connection to Redis. It posts an event to an HTTP API, and\n\
             signs the request. Watch which requests the API accepts, and what Bob hears.",
        )
        .with(
            "event",
            "The shop posts an event for Bob, who has two devices",
            an_event_for_bob,
        )
        .with(
            "signature",
            "Requests that are not signed with the app's secret",
            wrong_signatures,
        )
        .with(
            "replay",
            "Mallory has seen a request and sends it again",
            an_old_request,
        )
        .with(
            "limits",
            "Too much data, and an event for nobody",
            too_much_and_too_little,
        )
        .with(
            "redis-dies",
            "Redis dies and comes back",
            redis_dies_and_returns,
        )
        .with_program("pusher", run)
        .by_hand(by_hand)
        .run()
}

/// The API, and a shop that knows the secret.
struct Api {
    program: Program,
    url: String,
    shop: Shop,
}

async fn start(stage: &mut Stage) -> Result<Api> {
    start_on(stage, 0).await
}

/// Starts Redis, three chat servers and the API. Port 0 is any free port.
async fn start_on(stage: &mut Stage, port: u16) -> Result<Api> {
    let redis = stage.redis.start().await?;
    stage.servers.start(3, &[("REDIS_URL", &redis)]).await?;
    let mut program = stage.start_program(
        "pusher",
        &[],
        &[
            ("REDIS_URL", &redis),
            ("PORT", &port.to_string()),
            (SECRET, LESSONS_SECRET),
        ],
    )?;
    // Its first line says that it accepts connections, and on which port.
    let line = program.next_line().await.unwrap_or_default();
    let port = line.split_whitespace().nth(4).context(line.clone())?;
    let url = format!("http://127.0.0.1:{port}");
    Ok(Api {
        program,
        shop: Shop::new(&url, APP, Key::new(KEY.to_owned(), LESSONS_SECRET)?),
        url,
    })
}

async fn an_event_for_bob(stage: &mut Stage) -> Result<()> {
    let api = start(stage).await?;
    let mut laptop = bob(stage, 'B').await?;
    let mut phone = bob(stage, 'C').await?;
    let order = message("bob", "your order is on its way");
    let answer = api.shop.post(&event("bob", &order), now()).await?;
    stage.claim_seen("the API accepts it", seen(&answer), answer.status == 200);
    stage.claim(
        "Bob hears it on both devices, on servers B and C",
        laptop.hear("message", PATIENCE).await.as_ref() == Some(&order)
            && phone.hear("message", PATIENCE).await.as_ref() == Some(&order),
    );
    Ok(())
}

async fn wrong_signatures(stage: &mut Stage) -> Result<()> {
    let api = start(stage).await?;
    let mut bob = bob(stage, 'B').await?;
    let forged = event("bob", &message("bob", "pay here"));
    let with = |app, key: &str, secret| -> Result<Shop> {
        Ok(Shop::new(&api.url, app, Key::new(key.to_owned(), secret)?))
    };
    let answer = with(APP, KEY, "a guess")?.post(&forged, now()).await?;
    refused(stage, "with another secret", &answer, 401);
    let genuine = event("bob", &message("bob", "your order is on its way"));
    let answer = api.shop.post_another(&genuine, &forged, now()).await?;
    refused(stage, "with another body than was signed", &answer, 401);
    let other_key = with(APP, "another", LESSONS_SECRET)?;
    let answer = other_key.post(&forged, now()).await?;
    refused(stage, "with another key", &answer, 401);
    let other_app = with("another", KEY, LESSONS_SECRET)?;
    let answer = other_app.post(&forged, now()).await?;
    refused(stage, "for another app", &answer, 404);

    let last = message("bob", "the end");
    api.shop.post(&event("bob", &last), now()).await?;
    // The first message that he hears is the one that was accepted.
    let heard = bob.hear("message", PATIENCE).await;
    stage.claim("Bob hears none of them", heard == Some(last));
    Ok(())
}

async fn an_old_request(stage: &mut Stage) -> Result<()> {
    let api = start(stage).await?;
    let mut bob = bob(stage, 'B').await?;
    let order = message("bob", "your order is on its way");
    let body = event("bob", &order);
    let answer = api.shop.post(&body, now() - TOO_OLD).await?;
    refused(stage, "eleven minutes after it was signed", &answer, 401);
    api.shop.post(&body, now() - TOO_OLD + 120).await?;
    let heard = bob.hear("message", PATIENCE).await;
    stage.claim_failure(
        "nine minutes after, the request is accepted, and Bob hears the event",
        "the API does not remember requests",
        heard == Some(order),
    );
    Ok(())
}

async fn too_much_and_too_little(stage: &mut Stage) -> Result<()> {
    let api = start(stage).await?;
    let long = message("bob", &"x".repeat(MOST_DATA));
    let answer = api.shop.post(&event("bob", &long), now()).await?;
    refused(stage, "with more than 10 kB of data", &answer, 413);
    let nobody = r#"{"name":"message","channels":[],"data":"{}"}"#;
    let answer = api.shop.post(nobody, now()).await?;
    refused(stage, "without a channel", &answer, 400);
    Ok(())
}

async fn redis_dies_and_returns(stage: &mut Stage) -> Result<()> {
    let api = start(stage).await?;
    if !stage.redis.is_own() {
        stage.note("Not tried: this Redis does not belong to the stage, so it is not killed.");
        return Ok(());
    }
    let mut bob = bob(stage, 'B').await?;
    let order = message("bob", "your order is on its way");
    let body = event("bob", &order);
    stage.redis.kill().await;
    let answer = api.shop.post(&body, now()).await?;
    stage.claim_failure(
        "without Redis, the API cannot pass the event on, and it says so",
        seen(&answer),
        answer.status == 503,
    );
    stage.redis.restart().await?;
    stage.servers.await_line('B', "Redis is back").await;
    let answer = api.shop.post(&body, now()).await?;
    let heard = bob.hear("message", PATIENCE).await;
    stage.claim(
        "with Redis back, the shop posts the event again, and Bob hears it",
        answer.status == 200 && heard == Some(order),
    );
    Ok(())
}

async fn by_hand(stage: &mut Stage) -> Result<String> {
    let port = stage.address(PORT)?.port();
    let Api { program, url, .. } = start_on(stage, port).await?;
    let b = stage.servers.url('B')?;
    // The API runs as long as the stage.
    tokio::spawn(async move {
        let _program = program;
        pending::<()>().await;
    });
    Ok(format!(
        r#"Be Bob:

  cargo run -p ch05-redis-pubsub --bin user -- bob {b}

Be the shop, in another terminal:

  BODY='{{"name":"message","channel":"bob","data":"{{\"from\":\"shop\",\"to\":\"bob\",\"text\":\"hi\"}}"}}'
  MD5=$(printf %s "$BODY" | openssl md5 -r | cut -d' ' -f1)
  QUERY="auth_key={KEY}&auth_timestamp=$(date +%s)&auth_version=1.0&body_md5=$MD5"
  TEXT=$(printf 'POST\n/apps/{APP}/events\n%s' "$QUERY")
  SIGNATURE=$(printf %s "$TEXT" | openssl dgst -sha256 -hmac {LESSONS_SECRET} -r | cut -d' ' -f1)
  curl -d "$BODY" "{url}/apps/{APP}/events?$QUERY&auth_signature=$SIGNATURE""#
    ))
}

async fn bob(stage: &Stage, server: char) -> Result<Socket> {
    Ok(connect(&stage.servers.url(server)?, "bob").await?)
}

fn refused(stage: &Stage, how: &str, answer: &Answer, status: u16) {
    stage.claim_seen(
        format!("{how}, the request is refused"),
        seen(answer),
        answer.status == status,
    );
}

fn seen(answer: &Answer) -> String {
    format!("{} {}", answer.status, answer.body.trim())
}
