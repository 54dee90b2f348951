//! Each way to deliver a message survives what it promises.

use ch06_full_stack::experiment::User;
use delivery::experiments::{
    receiver_away, receiver_away_and_redis_killed, redis_killed, server_killed,
};
use drills::Row;
use harness::{
    bench::Bench,
    binary::{command, is_refused, run},
};
use lab::{Result, Stage, Transport};
use serde_json::json;

const DELIVERY: &str = env!("CARGO_BIN_EXE_delivery");

/// Runs an experiment, and checks each of its rows. `with_history` and `without` are the numbers of
/// rows with a Redis that has Streams, and with one that has none.
async fn each_way_holds(
    experiment: impl AsyncFn(&mut Stage) -> Result<Vec<Row>>,
    with_history: usize,
    without: usize,
) {
    let mut bench = Bench::new(DELIVERY);
    let rows = experiment(&mut bench.stage).await.unwrap();
    let has_history = rows.iter().any(|row| row.config.starts_with("history"));
    assert_eq!(rows.len(), if has_history { with_history } else { without });
    for row in &rows {
        assert!(row.holds(), "{row:?}");
    }
}

// One test for each event, so that they run at the same time.

#[tokio::test]
async fn each_way_survives_its_part_of_a_killed_server() {
    each_way_holds(server_killed, 4, 3).await;
}

#[tokio::test]
async fn each_way_survives_its_part_of_a_killed_redis() {
    each_way_holds(redis_killed, 5, 3).await;
}

#[tokio::test]
async fn each_way_survives_its_part_of_an_absent_receiver() {
    each_way_holds(receiver_away, 4, 3).await;
}

#[tokio::test]
async fn each_way_survives_its_part_of_an_absent_receiver_and_a_killed_redis() {
    each_way_holds(receiver_away_and_redis_killed, 5, 3).await;
}

/// Two applications on one database of one Redis, each with a user bob.
#[tokio::test]
async fn an_application_does_not_read_the_histories_of_another() {
    let mut bench = Bench::new(DELIVERY);
    let redis = bench.redis().await;
    let app = |name| [("REDIS_URL", redis.as_str()), ("APP_NAME", name)];
    let servers = &mut bench.stage.servers;
    servers.start(1, &app("one")).await.unwrap();
    servers.start(2, &app("two")).await.unwrap();
    let [one, two] = ['A', 'B'].map(|letter| servers.url(letter).unwrap());
    let user = async |url: &str, name| User::connect(url, name, 0, Transport::WebSocket).await;
    let alice = user(&one, "alice").await.unwrap().socket;
    let message = json!({ "to": "bob", "text": "hi" });
    let kept = alice.ask("keep", &message).await.unwrap();
    let histories = [(one, usize::from(kept.get("under").is_some())), (two, 0)];
    for (url, messages) in histories {
        let bob = user(&url, "bob").await.unwrap().socket;
        let history = bob.ask("since", &json!("0")).await.unwrap();
        assert_eq!(history.as_array().unwrap().len(), messages, "{history}");
    }
}

#[test]
fn without_streams_the_lesson_says_what_the_history_needs_and_goes_on() {
    let mut lesson = command(DELIVERY);
    lesson.args(["server-killed", "--check", "--ports", "auto"]);
    let outcome = run(lesson.env("REDIS_URL", "embedded"));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let words: Vec<_> = outcome.stdout.split_whitespace().collect();
    let said = words.join(" ");
    assert!(
        said.contains(
            "Without the way \"history\": a history needs Redis Streams, and this Redis has none: \
             put redis-server on PATH, or name a real Redis with REDIS_URL."
        ),
        "{}",
        outcome.stdout
    );
    assert!(
        said.contains("retry, de-duplication 350 messages 0"),
        "{said}"
    );
    assert!(said.contains("3 of 3 claims held"), "{said}");
}

#[test]
fn the_lesson_says_that_its_users_have_no_tokens() {
    is_refused(
        command(DELIVERY)
            .args(["redis-killed", "--check", "--ports", "auto"])
            .env("CHAT_SECRET", "s3cret"),
        1,
        &["unset CHAT_SECRET"],
    );
}

/// This is what de-duplication is for.
#[tokio::test]
async fn a_message_whose_acknowledgement_comes_too_late_arrives_twice() {
    let mut bench = Bench::with_servers(DELIVERY, &[("ADAPTER", "off")]).await;
    let url = bench.nginx("06-full-stack.conf").await;
    let alice = User::connect(&url, "alice", 0, Transport::WebSocket)
        .await
        .unwrap();
    let mut ann = User::connect(&url, "ann", 0, Transport::WebSocket)
        .await
        .unwrap();
    let message = json!({ "to": "ann", "text": "1" });

    // Ann receives it, but does not acknowledge it in time.
    let told = alice.socket.ask("tell", &message).await.unwrap();
    assert_eq!(told, json!(false));
    let first = ann.socket.next_received().await.unwrap();
    // So Alice repeats it, and now Ann acknowledges it.
    let (told, again) = tokio::join!(alice.socket.ask("tell", &message), async {
        let again = ann.socket.next_received().await.unwrap();
        ann.socket.acknowledge(&again, &json!(true)).unwrap();
        again
    });
    assert_eq!(told.unwrap(), json!(true));
    assert_eq!(first.argument, again.argument);
}
