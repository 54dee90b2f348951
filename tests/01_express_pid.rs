//! Chapter 1: which process answered?

// All of this file is a test, its helpers too.
#![allow(clippy::unwrap_used)]

#[path = "01_hostile.rs"]
mod hostile;

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
};

use harness::{
    binary::{Running, command, every_claim_holds, is_refused, run},
    transcript,
};
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
fn after_sigterm_and_ctrl_c_it_prints_that_it_has_ended_and_exits_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Running::start(command(CHAPTER).env("PORT", "0"));
        server.line_with("running");
        server.signal(signal);
        server.line_with(&format!("has ended, PID: {}", server.pid()));
        assert_eq!(server.end(), Some(0));
    }
}

#[test]
fn an_invalid_port_is_named_in_one_sentence() {
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
    // The lesson's own port. If another program has it already, the message is the same.
    let _busy = TcpListener::bind("127.0.0.1:8000");
    is_refused(
        command(CHAPTER).arg("--check"),
        1,
        &["port 8000 is in use", "--ports auto"],
    );
}

#[test]
fn list_names_the_experiment_and_it_can_be_run_alone() {
    let listed = run(command(CHAPTER).arg("list"));
    assert_eq!(listed.code, Some(0), "{listed:?}");
    assert_eq!(listed.stdout, "two-requests  Two requests to one server\n");
    let alone = run(command(CHAPTER).args(["two-requests", "--check", "--ports", "auto"]));
    assert_eq!(alone.code, Some(0), "{alone:?}");
    is_refused(
        command(CHAPTER).arg("three-requests"),
        2,
        &["three-requests", "two-requests"],
    );
}

#[test]
fn a_server_takes_no_options() {
    is_refused(
        command(CHAPTER).arg("--check").env("PORT", "8000"),
        2,
        &["PORT", "unset PORT"],
    );
}

#[test]
fn an_unknown_option_is_named_and_the_usage_shown() {
    is_refused(command(CHAPTER).arg("--chekc"), 2, &["--chekc", "Usage"]);
}

#[test]
fn an_invalid_address_to_listen_on_is_named_in_one_sentence() {
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

/// 127.0.0.2 stands for another address of this machine.
#[cfg(target_os = "linux")] // other systems have 127.0.0.1 only
#[test]
fn only_this_machine_reaches_a_server_unless_listen_names_another_address() {
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

/// The port in `Server running on 8000 port, …`.
fn port_in(line: &str) -> u16 {
    line.split(' ')
        .find_map(|word| word.parse().ok())
        .expect("the line names the port")
}
