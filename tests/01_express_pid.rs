//! Chapter 1: which process answered?

// This chapter has no stage, and its test needs no bench.
#[allow(dead_code)]
#[path = "harness/binary.rs"]
mod binary;
#[path = "harness/redact.rs"]
mod redact;
#[path = "harness/transcript.rs"]
mod transcript;

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
};

use binary::{Running, command, every_claim_holds, is_refused};
use insta::assert_snapshot;
use rustix::process::Signal;

const CHAPTER: &str = env!("CARGO_BIN_EXE_ch01-express-pid");

#[test]
fn every_claim_of_the_chapter_holds() {
    every_claim_holds(CHAPTER);
}

#[test]
fn what_a_learner_reads_is_the_same_in_every_run() {
    assert_snapshot!(transcript::of_check(CHAPTER));
}

#[test]
fn the_console_and_the_answer_name_the_same_process() {
    let mut server = Running::start(command(CHAPTER).env("PORT", "0"));
    let line = server.line_with("running");
    let pid = server.pid();
    let port = line
        .strip_prefix("Server running on ")
        .and_then(|rest| rest.strip_suffix(&format!(" port, PID: {pid}")))
        .unwrap_or_else(|| panic!("not the article's line: {line}"));

    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(
        answer.ends_with(&format!("\r\n\r\nHi, PID: {pid}")),
        "{answer}"
    );
}

#[test]
fn sigterm_and_ctrl_c_end_it_well_and_it_says_so() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Running::start(command(CHAPTER).env("PORT", "0"));
        server.line_with("running");
        server.signal(signal);
        server.line_with(&format!("has ended, PID: {}", server.pid()));
        assert_eq!(server.end(), Some(0));
    }
}

#[test]
fn a_port_that_makes_no_sense_is_named() {
    for port in ["abc", "99999", "-1", ""] {
        is_refused(
            command(CHAPTER).env("PORT", port),
            1,
            &[&format!("PORT={port} is no port"), "PORT=8000"],
        );
    }
}

#[test]
fn a_busy_port_is_named() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = busy.local_addr().unwrap().port();
    is_refused(
        command(CHAPTER).env("PORT", port.to_string()),
        1,
        &[&format!("port {port} is in use")],
    );
}

#[test]
fn an_unknown_option_is_named_and_the_usage_shown() {
    is_refused(command(CHAPTER).arg("--chekc"), 2, &["--chekc", "usage"]);
}
