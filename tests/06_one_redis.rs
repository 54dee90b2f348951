//! Other applications on the same Redis.

use std::{
    net::TcpStream,
    process::{Command, Stdio},
    time::Duration,
};

use ch06_full_stack::experiment::User;
use harness::{
    bench::Bench,
    binary::{Running, command, is_refused, run},
    node::OfficialClient,
    untested,
};
use lab::Transport;
use serde_json::json;
use tokio::time::sleep;

use super::{CHAPTER, EMIT};

/// Its adapter uses channels of the same kind, and messages of another format.
#[tokio::test]
async fn an_application_with_the_original_adapter_on_the_same_redis_is_not_disturbed() {
    let Some(neighbour) = OfficialClient::find_neighbour() else {
        return;
    };
    let mut bench = Bench::new(CHAPTER);
    let redis = bench.redis().await;
    let environment = [("REDIS_URL", redis.as_str())];
    bench.stage.servers.start(3, &environment).await.unwrap();
    let outcome = neighbour.run(&[&redis]).await;
    assert_eq!(outcome, json!({ "clients": 1 }));
}

/// A stage that stays up, on one database of a Redis that it did not start.
struct Other {
    stage: Running,
    server: String,
    emit: String,
}

impl Other {
    fn on(redis: &str) -> Self {
        let mut chapter = command(CHAPTER);
        chapter.args(["everybody", "--ports", "auto"]);
        let mut stage = Running::start(chapter.env("REDIS_URL", redis));
        let page = stage.line_with("/pair?bob=");
        let (_, server) = page.split_once("bob=").unwrap();
        let emit = stage.line_with("--bin emit").trim().to_owned();
        Self {
            server: server.to_owned(),
            emit,
            stage,
        }
    }

    async fn user(&self, name: &str) -> User {
        let connected = User::connect(&self.server, name, 0, Transport::WebSocket);
        connected.await.unwrap()
    }
}

/// Databases do not separate PUB/SUB.
#[tokio::test]
async fn two_stages_on_two_databases_of_one_redis_do_not_hear_each_other() {
    let mut bench = Bench::new(CHAPTER);
    let redis = bench.redis().await;
    let [one, two] = [1, 2].map(|database| Other::on(&format!("{redis}/{database}")));
    let (alice, mut bob) = (one.user("alice").await, two.user("bob").await);
    let carol = two.user("carol").await;
    alice.shout("hello, one").await.unwrap();
    carol.shout("hello, two").await.unwrap();
    assert!(bob.hears("carol", "hello, two").await, "and nothing before");

    // The command is right as it is printed.
    let (variables, _) = two.emit.split_once("cargo run").unwrap();
    let mut emit = command(EMIT);
    for variable in variables.split_whitespace() {
        let (name, value) = variable.split_once('=').unwrap();
        emit.env(name, value);
    }
    let said = run(emit.args(["bob", "hi"]));
    assert!(said.stdout.contains("subscribers: 3"), "{said:?}");
    assert!(bob.hears("emit", "hi").await);
    drop((one.stage, two.stage));
}

#[tokio::test]
async fn a_stage_says_so_before_it_uses_a_redis_that_it_did_not_start() {
    let mut bench = Bench::new(CHAPTER);
    let redis = bench.redis().await;
    let mut chapter = command(CHAPTER);
    chapter.args(["adapter", "--check", "--ports", "auto"]);
    let said = run(chapter.env("REDIS_URL", &redis)).stdout;
    let (before, _) = said.split_once("● A").unwrap();
    assert!(before.contains("did not start this Redis"), "{said}");

    chapter.env("REDIS_URL", "embedded");
    let said = run(&mut chapter).stdout;
    assert!(!said.contains("did not start this Redis"), "{said}");
}

/// Also if a server is killed by hand, and its command is printed.
#[tokio::test]
async fn the_password_of_redis_is_shown_nowhere() {
    let bench = Bench::new(CHAPTER);
    let address = bench.stage.address(6379).unwrap();
    let started = Command::new("redis-server")
        .args(["--port", &address.port().to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--requirepass", "pa55word"])
        .stdout(Stdio::null())
        .spawn();
    let Ok(mut server) = started else {
        untested("a password of Redis", "redis-server is missing");
        return;
    };
    while TcpStream::connect(address).is_err() {
        assert!(server.try_wait().unwrap().is_none(), "it does not start");
        sleep(Duration::from_millis(10)).await;
    }
    let redis = format!("redis://{address}");
    let with = |password| redis.replace("redis://", &format!("redis://:{password}@"));
    let stage = |url: &str| {
        let mut chapter = command(CHAPTER);
        chapter.args(["adapter", "--ports", "auto"]);
        chapter.env("REDIS_URL", url);
        chapter
    };
    let checked = run(stage(&with("pa55word")).arg("--check"));
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(!format!("{checked:?}").contains("pa55word"), "{checked:?}");

    let mut up = Running::start(&mut stage(&with("pa55word")));
    let mut said = Vec::new();
    while !said
        .last()
        .is_some_and(|line: &String| line.contains("--bin emit"))
    {
        said.push(up.line_with(""));
    }
    assert!(!said.concat().contains("pa55word"), "{said:?}");
    assert!(said.concat().contains("redis://***@"), "{said:?}");

    let mut chat = command(CHAPTER);
    chat.env("PORT", "0");
    let wrong = with("wr0ng");
    is_refused(
        chat.env("REDIS_URL", &wrong),
        1,
        &["redis://***@", "refuses the user or the password"],
    );
    let outcome = run(chat.env("REDIS_URL", wrong));
    assert!(!outcome.stderr.contains("wr0ng"), "{outcome:?}");
    server.kill().unwrap();
    server.wait().unwrap();
}
