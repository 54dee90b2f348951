//! The programs themselves: the drills on the command line, and the soak test.

use std::{path::Path, thread};

use harness::{
    binary::{command, is_refused, run},
    listening::on_loopback_alone,
    markdown::Page,
};

use crate::{FAILURES, QUIET};

const SOAK: &str = env!("CARGO_BIN_EXE_soak");

/// The drills with HTTP requests, whose rows are the same in every run.
const REQUESTS: [&str; 5] = [
    "requests-replaced",
    "orders-replaced",
    "requests-server-killed",
    "requests-nginx-reload",
    "requests-nginx-restart",
];
const OTHERS: [&str; 5] = [
    "sockets-replaced",
    "sockets-server-killed",
    "sockets-nginx-reload",
    "sockets-nginx-restart",
    "redis-killed",
];

/// The first two cells of each row of a table in Markdown: event and config.
fn events(text: &str) -> Vec<String> {
    let rows = text
        .lines()
        .map(str::trim)
        .filter(|line| line.ends_with(" |"));
    let cells = rows.map(|row| row.split(" | ").take(2).collect::<Vec<_>>().join(" | "));
    cells.filter(|cells| !cells.contains("event")).collect()
}

#[test]
fn the_rows_of_the_request_drills_keep_their_promises_and_are_those_of_the_results() {
    let _busy = QUIET.blocking_read();
    // Each mostly waits, so all run at the same time.
    let drills = REQUESTS.map(|name| {
        thread::spawn(move || run(command(FAILURES).args([name, "--ports", "auto", "--markdown"])))
    });
    let mut printed = Vec::new();
    for (name, outcome) in REQUESTS.iter().zip(drills) {
        let outcome = outcome.join().unwrap();
        assert_eq!(outcome.code, Some(0), "{name}: {outcome:?}");
        printed.extend(events(&outcome.stdout));
    }
    assert!(printed.len() > 10, "{printed:?}");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let results = events(&Page::read(&root, "beyond/failures/RESULTS.md").text);
    assert_eq!(printed, results[..printed.len()], "{results:?}");
}

#[test]
fn a_drill_listens_on_loopback_alone() {
    let _busy = QUIET.blocking_read();
    let mut drill = command(FAILURES);
    drill.args(["requests-server-killed", "--ports", "auto"]);
    drill.env("LISTEN", "0.0.0.0");
    on_loopback_alone(&mut drill, &[("master PID", &["failures", "nginx"])]);
}

#[test]
fn redis_killed_shows_that_only_the_resilient_driver_recovers() {
    let _busy = QUIET.blocking_read();
    let outcome = run(command(FAILURES).args(["redis-killed", "--ports", "auto"]));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    for claim in [
        "! fails, as predicted: Redis killed and back: within one server, stock driver",
        "! fails, as predicted: Redis killed and back: between servers, stock driver",
        "✓ Redis killed and back: within one server, ResilientDriver: nothing is lost",
    ] {
        assert!(
            outcome.stdout.contains(claim),
            "no {claim:?} in {outcome:?}"
        );
    }
}

#[test]
fn each_drill_is_listed_with_a_description() {
    let outcome = run(command(FAILURES).arg("list"));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    for name in REQUESTS.into_iter().chain(OTHERS) {
        let described = outcome.stdout.lines().any(|line| {
            let line = line.trim().strip_prefix(name);
            line.is_some_and(|rest| rest.starts_with(' ') && rest.trim().len() > 10)
        });
        assert!(described, "{name}: {outcome:?}");
    }
}

#[test]
fn rounds_are_shown_one_by_one_and_the_table_says_how_many() {
    let _busy = QUIET.blocking_read();
    let drill = ["requests-nginx-reload", "--rounds", "2", "--ports", "auto"];
    let outcome = run(command(FAILURES).args(drill));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    for words in ["round 1 of 2", "round 2 of 2", "in the worst of 2 rounds"] {
        assert!(outcome.stdout.contains(words), "{outcome:?}");
    }
    assert!(!outcome.stdout.contains("server-killed"), "{outcome:?}");
}

#[test]
fn an_unknown_drill_is_refused_with_the_names_of_all() {
    is_refused(
        command(FAILURES).arg("server-eaten"),
        2,
        &["server-eaten", "sockets-server-killed", "redis-killed"],
    );
}

#[test]
fn a_drill_is_refused_when_port_is_set() {
    is_refused(
        command(FAILURES)
            .arg("sockets-server-killed")
            .env("PORT", "8000"),
        2,
        &["unset PORT"],
    );
}

#[test]
fn a_short_soak_test_keeps_every_promise() {
    let _busy = QUIET.blocking_read();
    let soak = ["--minutes", "0.4", "--seed", "7", "--ports", "auto"];
    let outcome = run(command(SOAK).args(soak));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.stdout.contains("seed 7"), "{outcome:?}");
    assert!(outcome.stdout.contains("5 of 5 claims held"), "{outcome:?}");
    assert!(!outcome.stdout.contains(" 0 servers killed"), "{outcome:?}");
}

#[test]
fn a_soak_test_without_time_is_refused() {
    is_refused(command(SOAK).args(["--minutes", "0"]), 1, &["--minutes 0"]);
}
