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

use binary::{Running, command, every_claim_holds, is_refused, run};
use insta::assert_snapshot;
use rustix::process::Signal;

const CHAPTER: &str = env!("CARGO_BIN_EXE_ch01-express-pid");
const HEALTHY: &str = env!("CARGO_BIN_EXE_healthy");

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

#[test]
fn an_address_to_listen_on_that_makes_no_sense_is_named() {
    for (address, said) in [
        ("localhost", "LISTEN=localhost is no IP address"),
        // Addresses for documentation (RFC 5737): no machine has one.
        (
            "192.0.2.1",
            "LISTEN=192.0.2.1 is no address of this machine",
        ),
    ] {
        is_refused(
            command(CHAPTER).env("PORT", "0").env("LISTEN", address),
            1,
            &[said, "LISTEN=0.0.0.0"],
        );
    }
}

/// Another address of this machine than 127.0.0.1, where all of them are asked for.
#[cfg(target_os = "linux")] // elsewhere the others of 127.0.0.0/8 are not there
#[test]
fn only_this_machine_reaches_a_server_unless_it_is_told_otherwise() {
    for (address, reached) in [(None, false), (Some("0.0.0.0"), true)] {
        let mut command = command(CHAPTER);
        command.env("PORT", "0");
        if let Some(address) = address {
            command.env("LISTEN", address);
        }
        let mut server = Running::start(&mut command);
        let port = port_in(&server.line_with("running"));
        assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
        let elsewhere = TcpStream::connect(("127.0.0.2", port));
        assert_eq!(elsewhere.is_ok(), reached, "{elsewhere:?}");
    }
}

#[test]
fn a_server_that_answers_is_healthy_and_one_that_does_not_is_not() {
    let mut server = Running::start(command(CHAPTER).env("PORT", "0"));
    let port = port_in(&server.line_with("running"));
    let healthy = run(command(HEALTHY).env("PORT", port.to_string()));
    assert_eq!(healthy.code, Some(0), "{healthy:?}");
    server.signal(Signal::TERM);
    server.end();
    let port = port.to_string();
    is_refused(command(HEALTHY).env("PORT", &port), 1, &[&port, "refused"]);

    // It accepts, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port().to_string();
    let said = ["does not answer within 2 s"];
    is_refused(command(HEALTHY).env("PORT", &port), 1, &said);
}

/// The port in `Server running on 8000 port, …`.
fn port_in(line: &str) -> u16 {
    line.split(' ')
        .find_map(|word| word.parse().ok())
        .expect("the line names the port")
}
