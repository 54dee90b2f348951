//! Chapter 6: nginx, three servers, Redis, and an emitter outside.

mod harness;

use harness::{command, every_claim_holds, is_refused};

const CHAPTER: &str = env!("CARGO_BIN_EXE_ch06-full-stack");
const EMIT: &str = env!("CARGO_BIN_EXE_emit");

#[test]
fn every_claim_of_the_chapter_holds() {
    every_claim_holds(CHAPTER);
}

#[test]
fn an_adapter_that_makes_no_sense_is_named() {
    is_refused(
        command(CHAPTER).env("PORT", "0").env("ADAPTER", "usb"),
        1,
        &["ADAPTER=usb"],
    );
}

#[test]
fn a_redis_that_does_not_answer_is_named() {
    for command in [
        command(CHAPTER).env("PORT", "0"),
        command(EMIT).args(["bob", "hi"]),
    ] {
        is_refused(
            command.env("REDIS_URL", "redis://127.0.0.1:1"),
            1,
            &["no Redis answers at redis://127.0.0.1:1"],
        );
    }
}

#[test]
fn emit_says_what_it_takes() {
    is_refused(&mut command(EMIT), 2, &["<USER>", "<TEXT>"]);
}
