//! The program: every claim, and what it says where a balancer is missing.

use std::collections::BTreeSet;

use harness::{
    binary::{Running, all_end, command, every_claim_holds, family, is_refused, run},
    listening::on_loopback_alone,
};
use lab::Client;
use rustix::process::Signal;

use crate::{LESSON, haproxy, sticky_cookie};

#[test]
fn every_claim_of_the_lesson_holds() {
    every_claim_holds(LESSON);
}

#[tokio::test]
async fn an_experiment_can_be_run_alone() {
    let mut experiments = vec!["nginx-round-robin"];
    if haproxy::found().await.is_some() {
        experiments.extend([
            "haproxy-round-robin",
            "haproxy-source",
            "haproxy-server-dies",
        ]);
    }
    if sticky_cookie::is_known().await {
        experiments.extend(["sticky-cookie", "sticky-route", "sticky-drain"]);
    }
    for experiment in experiments {
        let alone = run(command(LESSON).args([experiment, "--check", "--ports", "auto"]));
        assert_eq!(alone.code, Some(0), "{experiment}: {alone:?}");
    }
}

#[tokio::test]
async fn haproxy_and_its_servers_listen_on_loopback_alone() {
    if haproxy::found().await.is_none() {
        return;
    }
    let mut lesson = command(LESSON);
    lesson.args(["haproxy-server-hangs", "--check", "--ports", "auto"]);
    lesson.env("LISTEN", "0.0.0.0");
    on_loopback_alone(
        &mut lesson,
        &[
            ("master PID", &["other-balancers", "nginx"]),
            ("haproxy     http", &["haproxy"]),
        ],
    );
}

#[test]
fn without_haproxy_its_experiments_name_it_and_the_others_run() {
    let without = || {
        let mut lesson = command(LESSON);
        lesson
            .args(["--check", "--ports", "auto"])
            .env("HAPROXY_BIN", "/nowhere/haproxy");
        lesson
    };
    let both = run(without().args(["haproxy-source", "nginx-round-robin"]));
    assert_eq!(both.code, Some(0), "{both:?}");
    let needs = "HAPROXY_BIN=/nowhere/haproxy is no HAProxy";
    assert_eq!(both.stdout.matches(needs).count(), 1, "{both:?}");
    assert!(both.stdout.contains("1 of 1 claims held"), "{both:?}");

    // A check that checked nothing is a failure.
    is_refused(
        without().arg("haproxy-source"),
        1,
        &["no experiment ran", "which program is missing"],
    );
}

#[tokio::test]
async fn an_nginx_without_sticky_is_named_with_what_is_needed() {
    if sticky_cookie::is_known().await {
        return;
    }
    let mut lesson = command(LESSON);
    let outcome = run(lesson.args(["sticky-cookie", "--check", "--ports", "auto"]));
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    for needs in ["`sticky` needs nginx 1.29.6, this is nginx ", "NGINX_BIN"] {
        assert!(outcome.stdout.contains(needs), "{outcome:?}");
    }
    assert!(!outcome.stdout.contains("running on"), "{outcome:?}");
}

#[tokio::test]
async fn haproxy_answers_while_the_stage_stays_up_and_ends_with_it() {
    if haproxy::found().await.is_none() {
        return;
    }
    let mut lesson = command(LESSON);
    let mut lesson = Running::start(lesson.args(["haproxy-source", "--ports", "auto"]));
    let line = lesson.line_with("curl -sI ");
    let url = line.trim().trim_start_matches("curl -sI ");
    let answer = Client::new("you", url).get_once("/favicon.ico").await;
    assert!(answer.unwrap().status < 300);

    let processes: BTreeSet<u32> = family(lesson.pid());
    lesson.signal(Signal::INT);
    assert_eq!(lesson.end(), Some(0));
    all_end(&processes);
}
