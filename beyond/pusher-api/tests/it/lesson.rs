//! The lesson as a learner runs it.

use std::thread;

use harness::{
    binary::{command, every_claim_holds, run},
    transcript,
};
use insta::assert_snapshot;

use crate::LESSON;

#[test]
fn every_claim_of_the_lesson_holds() {
    every_claim_holds(LESSON);
}

#[test]
fn what_a_learner_reads_is_the_same_in_every_run() {
    let text = transcript::of_check(LESSON);
    // How the connection to a killed Redis breaks is different from run to run.
    let lines = text
        .lines()
        .map(|line| match line.split_once("not published: ") {
            Some((before, _)) if before.contains("pusher") => {
                format!("{before}not published: [reason]")
            }
            _ => line.to_owned(),
        });
    assert_snapshot!(lines.collect::<Vec<_>>().join("\n"));
}

#[test]
fn each_experiment_can_be_run_alone() {
    thread::scope(|scope| {
        for name in ["event", "signature", "replay", "limits", "redis-dies"] {
            scope.spawn(move || {
                let mut alone = command(LESSON);
                let outcome = run(alone.args([name, "--check", "--ports", "auto"]));
                assert_eq!(outcome.code, Some(0), "{name}: {outcome:?}");
            });
        }
    });
}
