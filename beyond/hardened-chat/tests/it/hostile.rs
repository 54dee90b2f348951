//! The hardened chat and strangers: who may connect, from which pages, and what they send.

use std::{fs, net::TcpStream, os::unix::fs::PermissionsExt, process::Command, time::Duration};

use ch06_full_stack::experiment::User;
use hardened_chat::lesson::origins::CHAPTER_6;
use harness::{
    attack::{grew_at_most, meanwhile, no_http, resident, send},
    bench::Bench,
    binary::{Running, command, is_refused, run},
    browser::Browser,
    untested,
};
use lab::{
    Client, Socket, Transport,
    client::{Error, PATIENCE, Packet, Polling},
};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use serde_json::{Value, json};

pub(crate) const CHAT: &str = env!("CARGO_BIN_EXE_hardened-chat");
const TOKEN: &str = env!("CARGO_BIN_EXE_token");

const ALL: [Transport; 3] = [Transport::Polling, Transport::WebSocket, Transport::Upgrade];

/// One server without Redis, with these settings. Returns its URL.
pub(crate) async fn alone(environment: &[(&str, &str)]) -> (Bench, String) {
    let mut bench = Bench::new(CHAT);
    let environment = [&[("ADAPTER", "off")], environment].concat();
    bench.stage.servers.start(1, &environment).await.unwrap();
    let url = bench.stage.servers.url('A').unwrap();
    (bench, url)
}

fn token(secret: &str, user: &str) -> String {
    let outcome = run(command(TOKEN).arg(user).env("CHAT_SECRET", secret));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    outcome.stdout.trim().to_owned()
}

async fn enter(url: &str, transport: Transport, auth: &Value) -> Result<Socket, Error> {
    Socket::connect(&Client::new("you", url), transport, Some(auth)).await
}

#[tokio::test]
async fn without_a_secret_any_name_is_believed_and_with_one_a_token_is_needed() {
    let (_believing, believes) = alone(&[]).await;
    let (_asking, asks) = alone(&[("CHAT_SECRET", "s3cret")]).await;
    let alices = token("s3cret", "alice");
    let wrong = [
        json!({ "user": "alice" }),
        json!({ "user": "alice", "token": "" }),
        json!({ "user": "alice", "token": token("guessed", "alice") }),
        json!({ "user": "bob", "token": alices }),
        json!({ "user": "alice", "token": 1 }),
        json!({ "token": alices }),
        json!(alices),
    ];
    for transport in ALL {
        let name_alone = json!({ "user": "alice" });
        assert!(enter(&believes, transport, &name_alone).await.is_ok());
        for auth in &wrong {
            let error = enter(&asks, transport, auth)
                .await
                .err()
                .unwrap()
                .to_string();
            assert_eq!(
                error,
                "not admitted: `auth` must hold your name as `user`, and its token as `token`",
                "{auth}"
            );
        }
        let right = json!({ "user": "alice", "token": alices });
        assert!(enter(&asks, transport, &right).await.is_ok(), "{transport}");
    }
    // Without any `auth`, too.
    let nobody = Socket::connect(&Client::new("you", &asks), Transport::WebSocket, None).await;
    assert!(nobody.err().unwrap().to_string().contains("not admitted"));
}

/// The servers share the secret. The sender's server is not the receiver's.
#[tokio::test]
async fn a_token_is_valid_on_every_server_and_the_message_arrives() {
    let mut bench = Bench::new(CHAT);
    let redis = bench.redis().await;
    let environment = [("REDIS_URL", redis.as_str()), ("CHAT_SECRET", "s3cret")];
    bench.stage.servers.start(2, &environment).await.unwrap();
    let connect = async |letter, name: &str| {
        let url = bench.stage.servers.url(letter).unwrap();
        let auth = json!({ "user": name, "token": token("s3cret", name) });
        enter(&url, Transport::Upgrade, &auth).await.unwrap()
    };
    let alice = connect('A', "alice").await;
    let mut bob = connect('B', "bob").await;
    let said = alice
        .ask("say", &json!({ "to": "bob", "text": "hi" }))
        .await;
    assert_eq!(said.unwrap(), true);
    let heard = bob.hear("message", PATIENCE).await.unwrap();
    assert_eq!(heard["from"], "alice");
    assert!(
        !heard.to_string().contains(&alice.id),
        "the message shows no socket ID"
    );
}

#[test]
fn settings_that_protect_nobody_are_named() {
    let server = |name, value| {
        let mut server = command(CHAT);
        server
            .env("PORT", "0")
            .env("ADAPTER", "off")
            .env(name, value);
        server
    };
    is_refused(
        &mut server("CHAT_SECRET", ""),
        1,
        &["CHAT_SECRET is empty", "openssl"],
    );
    for origin in [
        "*",
        "chat.example.org",
        "https://chat.example.org/",
        "https://chat.example.org,",
    ] {
        for program in ["", CHAPTER_6] {
            is_refused(
                server("ALLOWED_ORIGIN", origin).env("LAB_PROGRAM", program),
                1,
                &["is not an origin", "https://chat.example.org"],
            );
        }
    }
    is_refused(command(TOKEN).arg("alice"), 1, &["CHAT_SECRET is not set"]);
}

#[test]
fn the_lesson_says_which_setting_its_servers_must_not_have() {
    for name in ["CHAT_SECRET", "ALLOWED_ORIGIN", "BUFFER", "REQUESTS"] {
        is_refused(
            command(CHAT)
                .args(["tokens", "--check", "--ports", "auto"])
                .env(name, "s3cret"),
            1,
            &[&format!("unset {name}"), "PORT"],
        );
    }
}

#[test]
fn a_setting_that_makes_no_sense_is_one_sentence() {
    for (name, value, words) in [
        ("BUFFER", "many", "such as BUFFER=128"),
        ("BUFFER", "0", "such as BUFFER=128"),
        ("DRIVER", "fast", "neither resilient nor stock"),
        ("ADAPTER", "on", "neither redis nor off"),
        ("REQUESTS", "large", "neither small nor whole"),
    ] {
        let mut server = command(CHAT);
        server
            .env("PORT", "0")
            .env("REDIS_URL", "redis://127.0.0.1:1");
        is_refused(server.env(name, value), 1, &[name, value, words]);
    }
}

#[tokio::test]
async fn the_page_takes_a_token_behind_the_hash_and_shows_a_refusal() {
    let Some(browser) = Browser::find() else {
        return;
    };
    let (_bench, url) = alone(&[("CHAT_SECRET", "s3cret")]).await;
    let connection = "document.querySelector('#connection')";
    let page = browser.page().await;
    let right = token("s3cret", "alice");
    page.goto(&format!("{url}/?user=alice#token={right}")).await;
    page.wait_js(&format!("{connection}.dataset.status === 'connected'"))
        .await;

    let page = browser.page().await;
    page.goto(&format!("{url}/?user=bob#token={right}")).await;
    page.wait_js(&format!(
        "{connection}.textContent.startsWith('not admitted')"
    ))
    .await;
}

/// Events that the chat knows, with arguments that it does not expect.
fn wrong_events() -> Vec<String> {
    let mut all: Vec<_> = [
        r#"["say"]"#,
        r#"["say",null]"#,
        r#"["say","bob"]"#,
        r#"["say",{"to":"bob"}]"#,
        r#"["say",{"to":["bob"],"text":{}}]"#,
        r#"["say",{"to":"bob","text":1}]"#,
        r#"["say",{"to":"","text":""}]"#,
        r#"["say",{"to":"bob","text":"x"},{"more":true}]"#,
        r#"["shout",{"a":1}]"#,
        r#"["shout"]"#,
        r#"["server",1,2,3]"#,
        r#"["message","from nobody"]"#,
        r#"["connect"]"#,
        r#"["disconnect","x"]"#,
        r#"["__proto__",{"__proto__":1}]"#,
    ]
    .map(str::to_owned)
    .into();
    all.push(json!(["say", { "to": "x".repeat(50_000), "text": "" }]).to_string());
    all.push(json!(["x".repeat(50_000), 1]).to_string());
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn events_with_wrong_arguments_disturb_nobody_on_any_server() {
    let mut bench = Bench::new(CHAT);
    let redis = bench.redis().await;
    let environment = [("REDIS_URL", redis.as_str())];
    bench.stage.servers.start(3, &environment).await.unwrap();
    let url = bench.nginx("06-full-stack.conf").await;
    let pid = bench.stage.servers.pid('A').unwrap();
    let address = bench.stage.servers.addresses()[0];
    let alice = User::connect(&url, "alice", 0, Transport::Polling)
        .await
        .unwrap();
    let mut bob = User::connect(&url, "bob", 1, Transport::Upgrade)
        .await
        .unwrap();

    let before = resident(pid);
    let attack = async move {
        let direct = format!("http://{address}");
        for event in wrong_events() {
            for prefix in ["2", "20", "2999999999999", "2/nowhere,"] {
                for auth in [r#"{"user":"mallory"}"#, r#"{"user":""}"#, "[]", "1", "{"] {
                    let polling = Polling::open(&Client::new("mallory", &direct))
                        .await
                        .unwrap();
                    // Any answer is right.
                    let _answered = polling.send(&Packet::Message(format!("0{auth}"))).await;
                    let _answered = polling
                        .send(&Packet::Message(format!("{prefix}{event}")))
                        .await;
                }
            }
        }
        for bytes in no_http() {
            assert!(send(address, &bytes, PATIENCE).await.is_some());
        }
    };
    let mut number = 0;
    let talk = async || {
        number += 1;
        let text = format!("hi {number}");
        alice.say("bob", &text).await.unwrap();
        while bob.socket.hear("message", PATIENCE).await.unwrap()["text"] != text.as_str() {}
    };
    meanwhile(attack, talk).await;
    grew_at_most(pid, before, 64 * 1024);
    assert_eq!(bench.stage.servers.pid('A'), Some(pid));
}

/// On a real stage. Redis is a process of its own if this machine has one.
#[test]
fn a_killed_redis_is_named_and_the_printed_command_brings_it_back() {
    let scratch = tempfile::tempdir().unwrap();
    let mut stage = Running::start(
        command(CHAT)
            .args(["tokens", "--ports", "auto"])
            .env("TMPDIR", scratch.path())
            // The stage is to start a redis-server that it may lose.
            .env_remove("REDIS_URL"),
    );
    let up = stage.line_with("  Redis ");
    if up.contains("embedded") {
        // It is a part of the stage's process.
        untested("a killed Redis", "redis-server is missing");
        return;
    }
    stage.line_with("Each request, and what the servers write");
    let redis = children(stage.pid(), "redis-server");
    kill_process(Pid::from_raw(redis.cast_signed()).unwrap(), Signal::KILL).unwrap();
    stage.line_with(&format!("PID {redis} was killed (signal 9)"));
    stage.line_with("Messages stay on the server that they came to");
    let back = stage.line_with("--port");
    let mut back = back.split_whitespace();
    let mut again = Command::new(back.next().unwrap())
        .args(back.map(|word| if word == "''" { "" } else { word }))
        .args(["--dir", scratch.path().to_str().unwrap()])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // The printed command brings it back, and the servers find it by themselves.
    stage.line_with("Redis is back");
    stage.signal(Signal::INT);
    assert_eq!(stage.end(), Some(0));
    again.kill().unwrap();
    again.wait().unwrap();
}

#[test]
fn a_redis_that_is_killed_while_it_starts_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("redis-server");
    fs::write(&program, "#!/bin/sh\nkill -9 $$\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    is_refused(
        command(CHAT)
            .args(["order", "--check", "--ports", "auto"])
            .env_remove("REDIS_URL")
            .env("PATH", format!("{}:{path}", folder.path().display())),
        1,
        &["redis-server was killed (signal 9) while it started on port"],
    );
}

/// One of three servers dies, and its third of 10,000 clients connect to the other two at once. If
/// a queue is full, a client gets no answer, and tries again after a second.
#[tokio::test]
async fn many_clients_that_connect_at_once_wait_in_the_servers_queue() {
    const CLIENTS: usize = 1_666;
    let longest = fs::read_to_string("/proc/sys/net/core/somaxconn").ok();
    let longest = longest.and_then(|longest| longest.trim().parse::<usize>().ok());
    if longest.is_none_or(|longest| longest < CLIENTS) {
        untested(
            "the queue of a server",
            &format!("net.core.somaxconn is below {CLIENTS}"),
        );
        return;
    }
    let (bench, url) = alone(&[]).await;
    let pid = bench.stage.servers.pid('A').unwrap();
    let pid = Pid::from_raw(pid.cast_signed()).unwrap();
    let address = bench.stage.servers.addresses()[0];
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, all).unwrap();

    // A stopped process accepts no connection.
    kill_process(pid, Signal::STOP).unwrap();
    let mut waiting_clients = Vec::new();
    for _ in 0..CLIENTS {
        // Before the kernel would try again.
        let wait = Duration::from_millis(900);
        match TcpStream::connect_timeout(&address, wait) {
            Ok(waiting) => waiting_clients.push(waiting),
            Err(_) => break,
        }
    }
    kill_process(pid, Signal::CONT).unwrap();
    assert_eq!(waiting_clients.len(), CLIENTS, "the queue had room for all");
    let greeted = enter(&url, Transport::WebSocket, &json!({ "user": "you" })).await;
    assert!(greeted.is_ok(), "the server goes on");
}

/// The PID of a stage's child whose command line contains `text`.
fn children(stage: u32, text: &str) -> u32 {
    let listed = Command::new("ps")
        .args(["-A", "-ww", "-o", "pid=,ppid=,args="])
        .output()
        .unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    listed
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|fields| fields[1] == stage.to_string() && fields[2..].join(" ").contains(text))
        .map(|fields| fields[0].parse().unwrap())
        .expect("a child of the stage")
}
