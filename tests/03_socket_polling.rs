//! Chapter 3: Socket.IO over polling, and how round robin breaks it.

mod harness;

use harness::every_claim_holds;

const CHAPTER: &str = env!("CARGO_BIN_EXE_ch03-socket-polling");

#[test]
fn every_claim_of_the_chapter_holds() {
    every_claim_holds(CHAPTER);
}
