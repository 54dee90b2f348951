//! `cargo run -p embedded-pubsub`.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStdout, Command, Output, Stdio},
};

use crate::wire::{Wire, server};

const BINARY: &str = env!("CARGO_BIN_EXE_embedded-pubsub");

fn run(arguments: &[&str]) -> Output {
    Command::new(BINARY).args(arguments).output().unwrap()
}

/// Killed at the end of the test, however the test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn start() -> (Running, String, BufReader<ChildStdout>) {
    let mut child = Command::new(BINARY)
        .arg("0")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let child = Running(child);
    let mut url = String::new();
    stdout.read_line(&mut url).unwrap();
    (child, url, stdout)
}

#[test]
fn it_prints_its_url_and_serves_there() {
    let (_child, url, _stdout) = start();
    let addr = url
        .strip_prefix("redis://")
        .unwrap()
        .strip_suffix("/?protocol=resp3\n")
        .unwrap();
    Wire::to(addr.parse().unwrap()).ask("PING", "+PONG\r\n");
}

#[cfg(unix)]
#[test]
fn ctrl_c_and_sigterm_end_it_in_order() {
    use rustix::process::{Pid, Signal, kill_process};
    for signal in [Signal::INT, Signal::TERM] {
        let (mut child, _, mut stdout) = start();
        kill_process(Pid::from_child(&child.0), signal).unwrap();
        assert_eq!(child.0.wait().unwrap().code(), Some(0));
        let mut said = String::new();
        stdout.read_to_string(&mut said).unwrap();
        assert_eq!(
            said,
            "embedded-pubsub: Redis's pub/sub without keys and storage, for this computer only. \
             Ctrl-C stops it.\n"
        );
    }
}

#[test]
fn a_busy_port_is_one_sentence() {
    let server = server();
    let port = server.addr().port();
    let output = run(&[&port.to_string()]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        format!(
            "Port {port} is in use, perhaps by a real Redis: use that one, or give another port.\n"
        )
    );
}

#[test]
fn what_is_no_port_is_one_sentence() {
    for word in ["http", "65536", ""] {
        let output = run(&[word]);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(
            String::from_utf8(output.stderr).unwrap(),
            format!("{word:?} is no port: give a number from 0 to 65535.\n")
        );
    }
}

#[test]
fn another_use_is_told_the_usage() {
    for arguments in [&["--port"][..], &["1", "2"]] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2));
        assert!(
            output
                .stderr
                .starts_with(b"Usage: embedded-pubsub [PORT]\n")
        );
    }
    assert!(run(&["--help"]).status.success());
}
