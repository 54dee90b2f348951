//! Chapter 4: the same client, the same server.

mod harness;

use harness::every_claim_holds;

const CHAPTER: &str = env!("CARGO_BIN_EXE_ch04-ip-hash");

#[test]
fn every_claim_of_the_chapter_holds() {
    every_claim_holds(CHAPTER);
}
