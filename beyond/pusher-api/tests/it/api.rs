//! Events over HTTP, sent by Pusher's official library for servers.

use ch05_redis_pubsub::experiment::connect;
use harness::{
    bench::Bench,
    binary::{command, is_refused},
    node::OfficialClient,
};
use lab::{Program, Socket, client::PATIENCE};
use pusher_api::{MOST_DATA, SECRET};
use serde_json::{Value, json};

use crate::LESSON;

const PUSHER: &str = env!("CARGO_BIN_EXE_pusher");

/// Three servers, the API beside them, and Bob on the second server.
struct Chat {
    bench: Bench,
    app: Value,
    bob: Socket,
    library: OfficialClient,
    _api: Program,
}

impl Chat {
    /// `None` if the library is missing.
    async fn new() -> Option<Self> {
        let library = OfficialClient::find_pusher()?;
        let mut bench = Bench::new(LESSON);
        let redis = bench.redis().await;
        let environment = [("REDIS_URL", redis.as_str())];
        bench.stage.servers.start(3, &environment).await.unwrap();
        let environment = [
            ("REDIS_URL", redis.as_str()),
            ("PORT", "0"),
            (SECRET, "secret"),
        ];
        let mut api = bench
            .stage
            .start_program("pusher", &[], &environment)
            .unwrap();
        let line = api.next_line().await.unwrap();
        let port: u16 = line.split_whitespace().nth(4).unwrap().parse().unwrap();
        let app = json!({ "appId": "chat", "key": "key", "secret": "secret", "host": "127.0.0.1", "port": port.to_string() });
        let url = bench.stage.servers.url('B').unwrap();
        let bob = connect(&url, "bob").await.unwrap();
        Some(Self {
            bench,
            app,
            bob,
            library,
            _api: api,
        })
    }

    /// Sends an event to channels. Returns the API's answer.
    async fn trigger(&self, app: &Value, channels: &Value, data: &Value) -> Value {
        let (app, channels, data) = (app.to_string(), channels.to_string(), data.to_string());
        let arguments = ["trigger", &app, &channels, "message", &data];
        self.library.run(&arguments).await
    }
}

fn message(text: &str) -> Value {
    json!({ "from": "shop", "to": "bob", "text": text })
}

#[tokio::test]
async fn an_event_of_pushers_library_reaches_a_user_on_any_server() {
    let Some(mut chat) = Chat::new().await else {
        return;
    };
    for text in ["your order is on its way", "grüße, \"Bob\""] {
        let sent = message(text);
        let answer = chat
            .trigger(&chat.app, &json!(["alice", "bob"]), &sent)
            .await;
        assert_eq!(answer, json!({ "status": 200, "body": "{}" }));
        assert_eq!(chat.bob.hear("message", PATIENCE).await, Some(sent));
    }
}

#[tokio::test]
async fn a_request_that_is_old_or_not_signed_with_the_secret_is_refused() {
    let Some(mut chat) = Chat::new().await else {
        return;
    };
    for (field, wrong, status, why) in [
        (
            "secret",
            "another",
            401,
            "auth_signature does not fit this request\n",
        ),
        ("key", "another", 401, "auth_key is not the app's key\n"),
        ("appId", "another", 404, "there is no such app\n"),
    ] {
        let mut app = chat.app.clone();
        app[field] = json!(wrong);
        let answer = chat.trigger(&app, &json!(["bob"]), &message("x")).await;
        assert_eq!(answer, json!({ "status": status, "body": why }));
    }
    let app = chat.app.to_string();
    let old = chat.library.run(&["old", &app, "660"]).await;
    let why = "auth_timestamp is more than 600 s away from now\n";
    assert_eq!(old, json!({ "status": 401, "body": why }));
    let recent = chat.library.run(&["old", &app, "540"]).await;
    assert_eq!(recent["status"], 200, "{recent}");
    // The first event that he hears is the one that was accepted.
    let heard = chat.bob.hear("message", PATIENCE).await;
    assert_eq!(heard, Some(json!({})));
}

#[tokio::test]
async fn too_much_data_and_bad_channels_are_refused() {
    let Some(chat) = Chat::new().await else {
        return;
    };
    let answer = chat
        .trigger(
            &chat.app,
            &json!(["bob"]),
            &json!("x".repeat(MOST_DATA + 1)),
        )
        .await;
    assert_eq!(answer["status"], 413, "{answer}");
    // A body that is even larger is not read.
    let answer = chat
        .trigger(&chat.app, &json!(["bob"]), &json!("x".repeat(100_000)))
        .await;
    assert_eq!(answer["status"], 413, "{answer}");
    let answer = chat.trigger(&chat.app, &json!([]), &message("x")).await;
    assert_eq!(answer["status"], 400, "{answer}");
}

#[tokio::test]
async fn events_arrive_again_when_redis_is_back() {
    let Some(mut chat) = Chat::new().await else {
        return;
    };
    if !chat.bench.stage.redis.is_own() {
        return;
    }
    chat.bench.stage.redis.kill().await;
    let answer = chat
        .trigger(&chat.app, &json!(["bob"]), &message("lost"))
        .await;
    assert_eq!(answer["status"], 503, "{answer}");
    chat.bench.stage.redis.restart().await.unwrap();
    assert!(
        chat.bench
            .stage
            .servers
            .await_line('B', "Redis is back")
            .await
    );
    let answer = chat
        .trigger(&chat.app, &json!(["bob"]), &message("again"))
        .await;
    assert_eq!(answer["status"], 200, "{answer}");
    let heard = chat.bob.hear("message", PATIENCE).await;
    assert_eq!(heard, Some(message("again")));
}

#[test]
fn the_api_does_not_start_without_a_secret() {
    is_refused(
        command(PUSHER).env_remove(SECRET),
        1,
        &["PUSHER_SECRET is not set", "openssl rand -hex 32"],
    );
}
