//! Chapter 2: three servers behind one address. And since it is the first chapter with
//! a stage: what a stage does with bad input, and that nothing outlives it.

// All of this file is a test, its helpers too.
#![allow(clippy::unwrap_used)]

mod harness;

use std::{net::TcpListener, path::PathBuf, time::Duration};

use ch02_nginx_rr::{ask, ask_until_answered_by};
use harness::{
    bench::Bench,
    binary::{Running, all_end, command, every_claim_holds, family, is_refused},
    observatory::Observatory,
    transcript,
};
use insta::assert_snapshot;
use lab::Client;
use rustix::process::Signal;

const CHAPTER: &str = env!("CARGO_BIN_EXE_ch02-nginx-rr");

/// nginx keeps one counter per worker. `reuseport` deals connections out to four of them.
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
    let asked = ask(&url, 60).await;
    assert_eq!(asked.failed, 0);
    assert!(!asked.in_strict_order(3), "{:?}", asked.pids());
}

#[tokio::test]
async fn one_worker_keeps_the_order_of_round_robin() {
    let mut bench = Bench::with_servers(CHAPTER, &[]).await;
    let url = bench.nginx("02-round-robin.conf").await;
    let asked = ask(&url, 60).await;
    assert!(asked.in_strict_order(3), "{:?}", asked.pids());
    assert_eq!(asked.pids().first(), bench.stage.server_pid('A').as_ref());
}

#[tokio::test]
async fn several_workers_that_share_a_zone_keep_the_order_too() {
    let mut bench = Bench::with_servers(CHAPTER, &[]).await;
    let shared = |config: &str| {
        with_four_workers(config).replace("upstream nodes {", "upstream nodes { zone nodes 64k;")
    };
    let url = bench.nginx_with("02-round-robin.conf", shared).await;
    let asked = ask(&url, 60).await;
    assert!(asked.in_strict_order(3), "{:?}", asked.pids());
}

#[tokio::test]
async fn with_one_server_its_death_is_an_outage() {
    let mut bench = Bench::new(CHAPTER);
    bench.stage.start_servers(1, &[]).await.unwrap();
    let url = bench.stage.server_url('A').unwrap();
    assert_eq!(ask(&url, 3).await.failed, 0);
    bench.stage.kill_server('A').await.unwrap();
    assert_eq!(ask(&url, 3).await.failed, 3);
}

#[tokio::test]
async fn a_dead_server_is_skipped_and_used_again_after_its_return() {
    let mut bench = Bench::with_servers(CHAPTER, &[]).await;
    let url = bench.nginx("02-round-robin.conf").await;
    let b = bench.stage.server_addresses()[1];
    ask(&url, 3).await;

    bench.stage.kill_server('B').await.unwrap();
    let asked = ask(&url, 12).await;
    assert_eq!(asked.failed, 0);
    assert_eq!(asked.spread().len(), 2);
    let tried_b = asked
        .answers
        .iter()
        .filter(|answer| answer.tried.contains(&b));
    assert_eq!(tried_b.count(), 1, "nginx asks the dead server once");

    bench.stage.start_server('B').await.unwrap();
    let (asked, after) = ask_until_answered_by(&url, b, Duration::from_secs(20)).await;
    assert_eq!(asked.failed, 0);
    assert!(after.is_some());
}

#[tokio::test]
async fn without_a_backup_three_dead_servers_are_an_outage() {
    let mut bench = Bench::with_servers(CHAPTER, &[]).await;
    let url = bench.nginx("02-round-robin.conf").await;
    for letter in ['A', 'B', 'C'] {
        bench.stage.kill_server(letter).await.unwrap();
    }
    assert_eq!(ask(&url, 3).await.failed, 3);
}

#[tokio::test]
async fn the_backup_answers_when_the_primaries_are_dead_and_not_before() {
    let mut bench = Bench::new(CHAPTER);
    bench.stage.start_servers(4, &[]).await.unwrap();
    let url = bench.nginx("02-backup.conf").await;
    let d = bench.stage.server_pid('D').unwrap();
    assert!(!ask(&url, 9).await.pids().contains(&d));

    for letter in ['A', 'B', 'C'] {
        bench.stage.kill_server(letter).await.unwrap();
    }
    let asked = ask(&url, 3).await;
    assert_eq!(asked.failed, 0);
    assert_eq!(asked.pids(), [d, d, d]);
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
    let asked = ask(&url, 60).await;
    assert!(!asked.in_strict_order(3), "chance deals out connections");

    let client = Client::new("you", &url);
    let mut connection = client.connect().await.unwrap();
    let answer = client.get_over(&mut connection, "/").await.unwrap();
    let died = workers
        .iter()
        .position(|worker| answer.body == format!("Hi, PID: {}", worker.pid()))
        .unwrap();
    workers.swap_remove(died).kill().await;
    client.get_over(&mut connection, "/").await.unwrap_err();

    let client = Client::new("you", &bench.nginx("02-round-robin.conf").await);
    let mut connection = client.connect().await.unwrap();
    client.get_over(&mut connection, "/").await.unwrap();
    bench.stage.kill_server('A').await.unwrap();
    for _ in 0..3 {
        let answer = client.get_over(&mut connection, "/").await.unwrap();
        assert_eq!(answer.status, 200);
    }
}

#[test]
fn every_claim_of_the_chapter_holds() {
    every_claim_holds(CHAPTER);
}

#[test]
#[cfg_attr(
    not(target_os = "linux"),
    ignore = "only Linux deals out the connections to a shared port, so one claim fewer is made here"
)]
fn what_a_learner_reads_is_the_same_in_every_run() {
    assert_snapshot!(transcript::of_check(CHAPTER));
}

#[test]
fn a_busy_port_is_named() {
    // Whoever holds the article's port, this test or somebody else, the stage must say so.
    let _busy = TcpListener::bind("127.0.0.1:8000");
    is_refused(
        command(CHAPTER).arg("--check"),
        1,
        &["port 8000 is in use", "--ports auto"],
    );
}

#[test]
fn what_is_no_nginx_is_named() {
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
fn options_of_the_stage_and_port_of_a_server_do_not_go_together() {
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
    let mut stage = Running::start(
        command(CHAPTER)
            .args(["--ports", "auto"])
            .env("TMPDIR", scratch.path()),
    );
    // From here on, for ten seconds, nobody starts or dies: three servers are up, and
    // nginx has answered, so it has a worker.
    stage.line_with("Asking five times a second");
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
fn nothing_is_left_of_a_stage_that_fails_to_start() {
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
fn each_question_of_the_page_is_answered_by_what_happens() {
    let observatory = Observatory::of(CHAPTER);
    let equally_many = 0;
    assert_eq!(
        observatory.answers(2),
        [
            (equally_many, "A 3, B 3, C 3".to_owned()),
            // Nine by two: C has answered once in place of B.
            (equally_many, "A 4, C 5".to_owned()),
        ]
    );
}
