//! The lesson as a learner runs it.

use harness::{
    binary::{command, each_experiment_runs_alone, every_claim_holds, is_refused},
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
    assert_snapshot!(transcript::of_check(LESSON));
}

#[test]
fn each_experiment_can_be_run_alone() {
    each_experiment_runs_alone(LESSON);
}

#[test]
fn brokers_that_are_no_addresses_are_one_sentence() {
    for (brokers, word) in [
        (None, "a server needs BROKERS"),
        (Some("here"), "BROKERS contains \"here\""),
    ] {
        let mut server = command(LESSON);
        server.env("PORT", "0").env_remove("BROKERS");
        if let Some(brokers) = brokers {
            server.env("BROKERS", brokers);
        }
        is_refused(&mut server, 1, &[word]);
    }
}

#[test]
fn several_redis_servers_are_refused() {
    is_refused(
        command(LESSON)
            .args(["redis", "--check", "--ports", "auto"])
            .env("REDIS_URL", "redis://127.0.0.1:1,redis://127.0.0.1:2"),
        1,
        &["names several servers, and this chapter uses one Redis"],
    );
}
