//! The lesson as a learner runs it.

use harness::{
    binary::{each_experiment_runs_alone, every_claim_holds},
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
    each_experiment_runs_alone(LESSON);
}
