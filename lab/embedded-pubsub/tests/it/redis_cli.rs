//! `redis-cli`, which a learner may have without the server, as a client.

use std::{
    io::{self, BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use embedded_pubsub::Server;

use crate::{
    say_not_tested,
    wire::{Wire, server},
};

/// `None`, and a line about it, where it is not installed.
fn redis_cli(server: &Server) -> Option<Command> {
    match Command::new("redis-cli").arg("--version").output() {
        Ok(output) => assert!(output.status.success()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            say_not_tested("redis-cli");
            return None;
        }
        Err(error) => panic!("redis-cli cannot be run: {error}"),
    }
    let mut command = Command::new("redis-cli");
    command.args(["-p", &server.addr().port().to_string()]);
    Some(command)
}

fn say(server: &Server, arguments: &[&str]) -> Option<String> {
    let output = redis_cli(server)?.args(arguments).output().unwrap();
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn redis_cli_pings_and_publishes() {
    let server = server();
    let mut subscriber = Wire::to(server.addr());
    subscriber.ask(
        "SUBSCRIBE news",
        "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n",
    );
    for protocol in [&[][..], &["-3"]] {
        let say = |words: &[&str]| say(&server, &[protocol, words].concat());
        let Some(pong) = say(&["PING"]) else { return };
        assert_eq!(pong, "PONG\n");
        assert_eq!(say(&["PUBLISH", "news", "hello"]).unwrap(), "1\n");
        subscriber.expect("*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n");
    }
}

#[test]
fn redis_cli_shows_who_needs_a_real_redis_what_it_needs() {
    let server = server();
    let Some(answer) = say(&server, &["XLEN", "stream"]) else {
        return;
    };
    assert!(answer.starts_with("ERR unknown command 'XLEN'"), "{answer}");
    assert!(answer.contains("need a real Redis"), "{answer}");
}

/// Killed at the end of the test, however the test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn redis_cli_subscribes() {
    let server = server();
    let mut publisher = Wire::to(server.addr());
    for (protocol, channel) in [(&[][..], "news"), (&["-3"], "weather")] {
        let Some(mut command) = redis_cli(&server) else {
            return;
        };
        command
            .args(protocol)
            .args(["SUBSCRIBE", channel])
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let _child = Running(child);
        let mut read = |words: [&str; 3]| {
            for word in words {
                assert_eq!(lines.next().unwrap().unwrap(), word);
            }
        };
        read(["subscribe", channel, "1"]);
        publisher.ask(&format!("PUBLISH {channel} hello"), ":1\r\n");
        read(["message", channel, "hello"]);
    }
}
