//! Chapter 6: events triggered over HTTP, as Pusher's official library for servers does it.

// All of this file is a test, its helpers too.
#![allow(clippy::unwrap_used)]

mod harness;

use ch05_redis_pubsub::experiment::connect;
use ch06_full_stack::pusher::MOST_DATA;
use harness::{
    bench::Bench,
    binary::{command, is_refused},
    node::OfficialClient,
};
use lab::{Program, Socket, client::PATIENCE};
use serde_json::{Value, json};

const CHAPTER: &str = env!("CARGO_BIN_EXE_ch06-full-stack");
const PUSHER: &str = env!("CARGO_BIN_EXE_pusher");

/// Three servers, the API beside them, and Bob on the second server.
struct Scene {
    bench: Bench,
    app: Value,
    bob: Socket,
    library: OfficialClient,
    _api: Program,
}

impl Scene {
    /// `None` where the library is missing.
    async fn new() -> Option<Self> {
        let library = OfficialClient::find_pusher()?;
        let mut bench = Bench::new(CHAPTER);
        let redis = bench.redis().await;
        let environment = [("REDIS_URL", redis.as_str())];
        bench.stage.start_servers(3, &environment).await.unwrap();
        let environment = [
            ("REDIS_URL", redis.as_str()),
            ("PORT", "0"),
            ("PUSHER_SECRET", "secret"),
        ];
        let mut api = bench
            .stage
            .start_program("pusher", &[], &environment)
            .unwrap();
        let line = api.next_line().await.unwrap();
        let port: u16 = line.split_whitespace().nth(4).unwrap().parse().unwrap();
        let app = json!({ "appId": "chat", "key": "key", "secret": "secret", "host": "127.0.0.1", "port": port.to_string() });
        let url = bench.stage.server_url('B').unwrap();
        let bob = connect(&url, "bob").await.unwrap();
        Some(Self {
            bench,
            app,
            bob,
            library,
            _api: api,
        })
    }

    /// Triggers an event for channels; how that was answered.
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
async fn pushers_library_reaches_a_user_wherever_that_user_is_connected() {
    let Some(mut scene) = Scene::new().await else {
        return;
    };
    for text in ["your order is on its way", "grüße, \"Bob\""] {
        let sent = message(text);
        let answer = scene
            .trigger(&scene.app, &json!(["alice", "bob"]), &sent)
            .await;
        assert_eq!(answer, json!({ "status": 200, "body": "{}" }));
        assert_eq!(scene.bob.hear("message", PATIENCE).await, Some(sent));
    }
}

#[tokio::test]
async fn what_is_not_signed_with_the_secret_or_is_old_is_refused() {
    let Some(mut scene) = Scene::new().await else {
        return;
    };
    for (field, wrong, status, why) in [
        (
            "secret",
            "another",
            401,
            "auth_signature is not that of this request\n",
        ),
        ("key", "another", 401, "auth_key is not the app's key\n"),
        ("appId", "another", 404, "there is no such app\n"),
    ] {
        let mut app = scene.app.clone();
        app[field] = json!(wrong);
        let answer = scene.trigger(&app, &json!(["bob"]), &message("x")).await;
        assert_eq!(answer, json!({ "status": status, "body": why }));
    }
    let app = scene.app.to_string();
    let old = scene.library.run(&["old", &app, "660"]).await;
    let why = "auth_timestamp is more than 600 s away from now\n";
    assert_eq!(old, json!({ "status": 401, "body": why }));
    let recent = scene.library.run(&["old", &app, "540"]).await;
    assert_eq!(recent["status"], 200, "{recent}");
    // What comes first is the one that was let through.
    let heard = scene.bob.hear("message", PATIENCE).await;
    assert_eq!(heard, Some(json!({})));
}

#[tokio::test]
async fn too_much_data_and_bad_channels_are_refused() {
    let Some(scene) = Scene::new().await else {
        return;
    };
    let answer = scene
        .trigger(
            &scene.app,
            &json!(["bob"]),
            &json!("x".repeat(MOST_DATA + 1)),
        )
        .await;
    assert_eq!(answer["status"], 413, "{answer}");
    // A body that is too large is not even read.
    let answer = scene
        .trigger(&scene.app, &json!(["bob"]), &json!("x".repeat(100_000)))
        .await;
    assert_eq!(answer["status"], 413, "{answer}");
    let answer = scene.trigger(&scene.app, &json!([]), &message("x")).await;
    assert_eq!(answer["status"], 400, "{answer}");
}

#[tokio::test]
async fn events_go_on_once_redis_is_back() {
    let Some(mut scene) = Scene::new().await else {
        return;
    };
    if !scene.bench.stage.owns_redis() {
        return;
    }
    scene.bench.stage.kill_redis().await;
    let answer = scene
        .trigger(&scene.app, &json!(["bob"]), &message("lost"))
        .await;
    assert_eq!(answer["status"], 503, "{answer}");
    scene.bench.stage.restart_redis().await.unwrap();
    assert!(scene.bench.stage.await_line('B', "Redis is back").await);
    let answer = scene
        .trigger(&scene.app, &json!(["bob"]), &message("again"))
        .await;
    assert_eq!(answer["status"], 200, "{answer}");
    let heard = scene.bob.hear("message", PATIENCE).await;
    assert_eq!(heard, Some(message("again")));
}

#[test]
fn without_a_secret_it_does_not_start() {
    is_refused(
        command(PUSHER).env_remove("PUSHER_SECRET"),
        1,
        &["PUSHER_SECRET is not set", "openssl rand -hex 32"],
    );
}
