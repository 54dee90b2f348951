//! Chapter 2: three servers behind one address.
//!
//! It is the first chapter with a stage. So here are also the tests of a stage's messages after
//! bad input, and of its end: no process and no file is left.

// All of this file is a test, its helpers too.
#![allow(clippy::unwrap_used)]

#[path = "02_processes.rs"]
mod processes;

use std::{net::TcpListener, path::PathBuf, time::Duration};

use ch02_nginx_rr::{ask, ask_until_answered_by};
use harness::{
    bench::Bench,
    binary::{all_end, command, each_experiment_runs_alone, family, is_refused},
    observatory::Observatory,
    transcript,
};
use insta::assert_snapshot;
use lab::Client;
use rustix::process::Signal;
use serde_json::json;

const CHAPTER: &str = env!("CARGO_BIN_EXE_ch02-nginx-rr");

/// The client of these tests.
fn you(url: &str) -> Client {
    Client::new("you", url)
}

/// nginx keeps one counter per worker. `reuseport` spreads connections over four workers.
fn with_four_workers(config: &str) -> String {
    config
        .replace("worker_processes 1;", "worker_processes 4;")
        .replace("listen 3000;", "listen 3000 reuseport;")
}

#[tokio::test]
async fn several_workers_lose_the_order_of_round_robin() {
    let mut bench = Bench::with_servers(CHAPTER, &[]).await;
    let url = bench
        .nginx_with("02-round-robin.conf", with_four_workers)
        .await;
    let answers = ask(&you(&url), 60).await;
    assert_eq!(answers.failed, 0);
    assert!(!answers.in_strict_order(3), "{:?}", answers.pids());
}

#[tokio::test]
async fn one_worker_keeps_the_order_of_round_robin() {
    let mut bench = Bench::with_servers(CHAPTER, &[]).await;
    let url = bench.nginx("02-round-robin.conf").await;
    let answers = ask(&you(&url), 60).await;
    assert!(answers.in_strict_order(3), "{:?}", answers.pids());
    assert_eq!(
        answers.pids().first(),
        bench.stage.servers.pid('A').as_ref()
    );
}

#[tokio::test]
async fn several_workers_that_share_a_zone_keep_the_order_too() {
    let mut bench = Bench::with_servers(CHAPTER, &[]).await;
    let shared = |config: &str| {
        with_four_workers(config).replace("upstream nodes {", "upstream nodes { zone nodes 64k;")
    };
    let url = bench.nginx_with("02-round-robin.conf", shared).await;
    let answers = ask(&you(&url), 60).await;
    assert!(answers.in_strict_order(3), "{:?}", answers.pids());
}

#[tokio::test]
async fn with_one_server_its_death_is_an_outage() {
    let mut bench = Bench::new(CHAPTER);
    bench.stage.servers.start(1, &[]).await.unwrap();
    let url = bench.stage.servers.url('A').unwrap();
    assert_eq!(ask(&you(&url), 3).await.failed, 0);
    bench.stage.servers.kill('A').await.unwrap();
    assert_eq!(ask(&you(&url), 3).await.failed, 3);
}

#[tokio::test]
async fn a_dead_server_is_skipped_and_used_again_after_its_return() {
    let mut bench = Bench::with_servers(CHAPTER, &[]).await;
    let url = bench.nginx("02-round-robin.conf").await;
    let b = bench.stage.servers.addresses()[1];
    ask(&you(&url), 3).await;

    bench.stage.servers.kill('B').await.unwrap();
    let answers = ask(&you(&url), 12).await;
    assert_eq!(answers.failed, 0);
    assert_eq!(answers.per_pid().len(), 2);
    assert_eq!(answers.tried(b), 1, "nginx tries the dead server once");

    bench.stage.servers.start_one('B').await.unwrap();
    let (answers, after) = ask_until_answered_by(&you(&url), b, Duration::from_secs(20)).await;
    assert_eq!(answers.failed, 0);
    assert!(after.is_some());
}

#[tokio::test]
async fn without_a_backup_three_dead_servers_are_an_outage() {
    let mut bench = Bench::with_servers(CHAPTER, &[]).await;
    let url = bench.nginx("02-round-robin.conf").await;
    for letter in ['A', 'B', 'C'] {
        bench.stage.servers.kill(letter).await.unwrap();
    }
    assert_eq!(ask(&you(&url), 3).await.failed, 3);
}

#[tokio::test]
async fn the_backup_answers_when_the_primaries_are_dead_and_not_before() {
    let mut bench = Bench::new(CHAPTER);
    bench.stage.servers.start(4, &[]).await.unwrap();
    let url = bench.nginx("02-backup.conf").await;
    let d = bench.stage.servers.pid('D').unwrap();
    assert!(!ask(&you(&url), 9).await.pids().contains(&d));

    for letter in ['A', 'B', 'C'] {
        bench.stage.servers.kill(letter).await.unwrap();
    }
    let answers = ask(&you(&url), 3).await;
    assert_eq!(answers.failed, 0);
    assert_eq!(answers.pids(), [d, d, d]);
}

#[tokio::test]
async fn a_shared_port_breaks_the_connections_of_a_process_that_dies_and_nginx_does_not() {
    let mut bench = Bench::with_servers(CHAPTER, &[]).await;
    let shared = bench.stage.address(8010).unwrap();
    let mut workers = Vec::new();
    for _ in 0..3 {
        let port = shared.port().to_string();
        let mut worker = bench
            .stage
            .start_program("worker", &[], &[("SHARED_PORT", &port)])
            .unwrap();
        assert!(worker.next_line().await.unwrap().contains("running"));
        workers.push(worker);
    }
    let url = format!("http://{shared}");
    let answers = ask(&you(&url), 60).await;
    assert!(!answers.in_strict_order(3), "the kernel chooses by chance");

    let client = you(&url);
    let mut connection = client.connect().await.unwrap();
    let answer = client.get_over(&mut connection, "/").await.unwrap();
    let died = workers
        .iter()
        .position(|worker| answer.body == format!("Hi, PID: {}", worker.pid()))
        .unwrap();
    workers.swap_remove(died).kill().await;
    client.get_over(&mut connection, "/").await.unwrap_err();

    let client = you(&bench.nginx("02-round-robin.conf").await);
    let mut connection = client.connect().await.unwrap();
    client.get_over(&mut connection, "/").await.unwrap();
    bench.stage.servers.kill('A').await.unwrap();
    for _ in 0..3 {
        let answer = client.get_over(&mut connection, "/").await.unwrap();
        assert_eq!(answer.status, 200);
    }
}

#[test]
#[cfg(not(target_os = "linux"))]
fn every_claim_of_the_chapter_holds() {
    harness::binary::every_claim_holds(CHAPTER);
}

/// On Linux this is also the test that every claim holds: the same `--check`, run once.
#[test]
#[cfg_attr(
    not(target_os = "linux"),
    ignore = "only Linux spreads the connections to a shared port, so one claim is missing here"
)]
fn what_a_learner_reads_is_the_same_in_every_run() {
    assert_snapshot!(transcript::of_check(CHAPTER));
}

#[test]
fn each_experiment_can_be_run_alone() {
    each_experiment_runs_alone(CHAPTER);
}

#[test]
fn a_busy_port_is_named() {
    // If another program has the article's port already, the message is the same.
    let _busy = TcpListener::bind("127.0.0.1:8000");
    is_refused(
        command(CHAPTER).arg("--check"),
        1,
        &["port 8000 is in use", "--ports auto"],
    );
}

#[test]
fn a_program_that_is_not_nginx_is_named() {
    for (program, words) in [
        (
            "/nonexistent/nginx",
            "NGINX_BIN=/nonexistent/nginx is no nginx",
        ),
        ("/bin/sh", "NGINX_BIN=/bin/sh is no nginx"),
    ] {
        is_refused(
            command(CHAPTER)
                .args(["--check", "--ports", "auto"])
                .env("NGINX_BIN", program),
            1,
            &[words, "unset NGINX_BIN"],
        );
    }
}

#[test]
fn a_server_takes_no_options() {
    is_refused(
        command(CHAPTER).arg("--check").env("PORT", "8000"),
        2,
        &["PORT", "unset PORT"],
    );
}

#[test]
fn an_unknown_option_is_named() {
    is_refused(command(CHAPTER).arg("--chekc"), 2, &["--chekc", "--check"]);
}

#[test]
fn ctrl_c_ends_everything() {
    everything_ends_after(Signal::INT, Some(0));
}

#[test]
fn sigterm_ends_everything() {
    everything_ends_after(Signal::TERM, Some(0));
}

#[test]
fn kill_9_ends_everything_too() {
    everything_ends_after(Signal::KILL, None);
}

fn everything_ends_after(signal: Signal, code: Option<i32>) {
    let scratch = tempfile::tempdir().expect("a folder");
    let stage = processes::stage_that_waits_for_b(&scratch);
    let family = family(stage.pid());
    assert_eq!(
        family.len(),
        11,
        "the stage, three servers, nginx and its worker, five guards: {family:?}"
    );

    stage.signal(signal);
    assert_eq!(stage.end(), code);
    all_end(&family);
    let left: Vec<PathBuf> = scratch
        .path()
        .read_dir()
        .expect("the folder is there")
        .map(|file| file.expect("a file").path())
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_stage_that_fails_to_start_leaves_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    is_refused(
        command(CHAPTER)
            .args(["--check", "--ports", "auto"])
            .env("TMPDIR", scratch.path())
            .env("NGINX_BIN", "/bin/sh"),
        1,
        &["is no nginx"],
    );
    assert_eq!(scratch.path().read_dir().unwrap().count(), 0);
}

#[test]
fn each_question_of_the_page_has_the_answer_that_the_real_stage_gives() {
    let observatory = Observatory::after(CHAPTER, &["in-turn"]);
    let equally_many = 0;
    assert_eq!(
        observatory.answers(2),
        [
            (equally_many, "A 3, B 3, C 3".to_owned()),
            // Nine requests for two servers: C has answered the one that B refused.
            (equally_many, "A 4, C 5".to_owned()),
        ]
    );
}

/// The page's own clients count their requests themselves. nginx's log counts all others.
#[tokio::test]
async fn the_page_counts_each_request_once_also_those_that_a_learner_sends_by_hand() {
    let observatory = Observatory::after(CHAPTER, &["in-turn"]);
    let mut events = observatory.events();
    let state = events.state(|_| true);
    assert_eq!(state["ledger"]["requests"], 0, "{state}");
    let by_hand = you(state["nginx"]["url"].as_str().unwrap());
    for _ in 0..3 {
        assert_eq!(by_hand.get_once("/").await.unwrap().status, 200);
    }
    events.state(|state| state["ledger"]["answered"] == 3);

    let order = json!({ "do": "requests", "count": 4, "addresses": "one" });
    assert_eq!(observatory.act(&order).0, 200);
    // nginx writes its log in order. This request is the last one, and the only one with an error.
    assert_eq!(by_hand.get_once("/unknown").await.unwrap().status, 404);
    let ledger = &events.state(|state| state["ledger"]["refused"] == 1)["ledger"];
    assert_eq!(
        (&ledger["requests"], &ledger["answered"]),
        (&json!(8), &json!(7))
    );
}
