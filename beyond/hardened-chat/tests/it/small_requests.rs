//! What an open socket costs its server.

use hardened_chat::{clients::large_cookie::open_all, lesson::small_requests::Cost};
use harness::{attack::resident, bench::Bench, untested};

use crate::ALONE;

const CHAT: &str = env!("CARGO_BIN_EXE_hardened-chat");

#[tokio::test]
async fn a_whole_request_keeps_the_buffer_that_it_was_read_into_and_a_copy_does_not() {
    let _alone = ALONE.lock().await;
    if resident(std::process::id()).is_none() {
        untested("the memory of a socket", "there is no /proc");
        return;
    }
    let (mut of_whole, mut of_small) = (Bench::new(CHAT), Bench::new(CHAT));
    let (whole, small) = tokio::join!(
        Cost::with_requests(&mut of_whole.stage, "whole"),
        Cost::with_requests(&mut of_small.stage, "small"),
    );
    let (whole, small) = (whole.unwrap(), small.unwrap());
    println!("KiB for each socket: {whole:?} with whole requests, {small:?} with copies");
    assert!(whole.plain > small.plain + 2.0);
    assert!(whole.cookie > small.cookie + 6.0);
    assert!(small.plain < 20.0 && small.cookie < 20.0);
    assert!(small.cookie < small.plain + 2.0, "the cookie is not kept");
}

/// To be run beside a server under heaptrack. The README of this crate says how.
#[tokio::test]
#[ignore = "opens two thousand sockets to a server on port 8000"]
async fn sockets_for_a_heap_profile() {
    let server = ([127, 0, 0, 1], 8000).into();
    let _open = open_all(server, 2000, 0).await.unwrap();
}
