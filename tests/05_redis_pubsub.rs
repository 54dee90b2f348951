//! Chapter 5: how servers reach each other.

mod harness;

use harness::{command, every_claim_holds, is_refused};

const CHAPTER: &str = env!("CARGO_BIN_EXE_ch05-redis-pubsub");
const SUBSCRIBER: &str = env!("CARGO_BIN_EXE_subscriber");
const PUBLISHER: &str = env!("CARGO_BIN_EXE_publisher");

/// Nobody listens on port 1.
const NOBODY: &str = "redis://127.0.0.1:1";

#[test]
fn every_claim_of_the_chapter_holds() {
    every_claim_holds(CHAPTER);
}

#[test]
fn a_redis_url_that_does_not_parse_is_named() {
    is_refused(
        command(CHAPTER)
            .args(["--check", "--ports", "auto"])
            .env("REDIS_URL", "localhost"),
        1,
        &[
            "REDIS_URL=localhost is no Redis URL",
            "redis://127.0.0.1:6379",
        ],
    );
}

#[test]
fn a_redis_that_does_not_answer_is_named() {
    is_refused(
        command(CHAPTER)
            .args(["--check", "--ports", "auto"])
            .env("REDIS_URL", NOBODY),
        1,
        &[
            "REDIS_URL=redis://127.0.0.1:1 cannot be used",
            "unset REDIS_URL",
        ],
    );
    for program in [SUBSCRIBER, PUBLISHER] {
        is_refused(
            command(program).env("REDIS_URL", NOBODY),
            1,
            &["no Redis answers at redis://127.0.0.1:1"],
        );
    }
}

#[test]
fn a_link_that_makes_no_sense_is_named() {
    let mut server = command(CHAPTER);
    server.env("PORT", "0");
    is_refused(
        server.env("LINK", "carrier pigeon"),
        1,
        &["LINK=carrier pigeon", "in-process"],
    );
    is_refused(server.env("LINK", "direct"), 1, &["needs PEERS"]);
    is_refused(
        server.env("PEERS", "somewhere"),
        1,
        &["\"somewhere\"", "127.0.0.1:8001"],
    );
}
