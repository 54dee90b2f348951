//! The same conversations with a real `redis-server` and with this server: every
//! byte that comes back has to be the same. Written beside Redis 7.0.15.

use std::{
    fmt::Write as _,
    io::{self, BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpStream},
    os::unix::net::UnixStream,
    process::{Child, Command, Stdio},
    time::Duration,
};

use embedded_pubsub::Server;
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, RngSeed, TestRunner},
};
use tempfile::TempDir;

use crate::{say_not_tested, wire::server};

/// A `redis-server` of this test's own, killed at its end. It listens on a socket
/// file: a free port could be taken by others before it has come up.
struct RealRedis {
    child: Child,
    dir: TempDir,
}

impl RealRedis {
    /// `None`, and a line about it, where it is not installed.
    fn start() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let child = Command::new("redis-server")
            .args([
                "--port",
                "0",
                "--save",
                "",
                "--unixsocket",
                "socket",
                "--dir",
            ])
            .arg(dir.path())
            .current_dir(dir.path())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                say_not_tested("redis-server");
                return None;
            }
            Err(error) => panic!("redis-server cannot be run: {error}"),
        };
        let log = BufReader::new(child.stdout.take().unwrap());
        let redis = RealRedis { child, dir };
        let mut lines = log.lines().map(Result::unwrap);
        assert!(
            lines.any(|line| line.to_lowercase().contains("ready to accept connections")),
            "redis-server did not come up"
        );
        Some(redis)
    }
}

impl Drop for RealRedis {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

trait Connection: Read + Write {
    fn finish_sending(&self) -> io::Result<()>;
}

impl Connection for TcpStream {
    fn finish_sending(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl Connection for UnixStream {
    fn finish_sending(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

/// Nothing takes this long; a test that waits for what never comes fails by it.
const TOO_LONG: Option<Duration> = Some(Duration::from_secs(20));

trait Connect {
    fn connect(&self) -> Box<dyn Connection>;
}

impl Connect for Server {
    fn connect(&self) -> Box<dyn Connection> {
        let stream = TcpStream::connect(self.addr()).unwrap();
        stream.set_read_timeout(TOO_LONG).unwrap();
        Box::new(stream)
    }
}

impl Connect for RealRedis {
    fn connect(&self) -> Box<dyn Connection> {
        let stream = UnixStream::connect(self.dir.path().join("socket")).unwrap();
        stream.set_read_timeout(TOO_LONG).unwrap();
        Box::new(stream)
    }
}

/// Whether the connection is over. A server that closes before it has read all makes
/// the kernel say so by an error.
fn is_end(read: io::Result<usize>) -> bool {
    match read {
        Ok(n) => n == 0,
        Err(error) => {
            let kind = error.kind();
            assert!(matches!(
                kind,
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
            ));
            true
        }
    }
}

/// Plays a script, of which each line is `A: command` or `B: command`, and writes down
/// what both clients were sent.
///
/// After each command both are sent a PING. Its answer comes after everything else
/// that the command had sent to them, so nobody has to guess whether more will come.
fn converse(with: &dyn Connect, script: &str) -> Vec<String> {
    let mut clients = [("A", Some(with.connect())), ("B", Some(with.connect()))];
    let mut transcript = Vec::new();
    for (number, line) in script.trim().lines().enumerate() {
        let (speaker, command) = line.trim().split_once(": ").unwrap();
        let mut turn = format!("{speaker}: {command}\n");
        let end = format!("end of line {number}");
        // The speaker first: what it says has to be done when the other one is asked.
        clients.sort_by_key(|(name, _)| *name != speaker);
        for (name, client) in &mut clients {
            let Some(stream) = client else { continue };
            let command = if *name == speaker { command } else { "" };
            // Should it be closed already, reading tells.
            let _ = stream.write_all(format!("{command}\r\nPING \"{end}\"\r\n").as_bytes());
            let mut received = Vec::new();
            let mut byte = [0];
            while !received.ends_with(format!("{end}\r\n").as_bytes()) {
                if is_end(stream.read(&mut byte)) {
                    *client = None;
                    break;
                }
                received.push(byte[0]);
            }
            let received = redact(&received.escape_ascii().to_string());
            writeln!(turn, "  to {name}: {received}").unwrap();
            if client.is_none() {
                writeln!(turn, "  {name} is closed").unwrap();
            }
        }
        transcript.push(turn.replace(ADDED, ""));
    }
    transcript
}

/// Sends these bytes and nothing more; returns all that comes back.
fn answer(from: &dyn Connect, bytes: &[u8]) -> String {
    let mut stream = from.connect();
    stream.write_all(bytes).unwrap();
    // A server that has closed already is one that has answered.
    let _ = stream.finish_sending();
    let mut received = Vec::new();
    is_end(stream.read_to_end(&mut received));
    redact(&received.escape_ascii().to_string())
}

/// HELLO tells the server's version and the client's number. Both may differ.
fn redact(text: &str) -> String {
    let mut redacted = text.to_owned();
    for (before, after, name) in [
        (r"$7\r\nversion\r\n", r"\r\n$5\r\nproto", "[VERSION]"),
        (r"$2\r\nid\r\n", r"\r\n$4\r\nmode", "[ID]"),
    ] {
        let mut from = 0;
        while let Some(start) = redacted[from..].find(before) {
            from += start + before.len();
            let len = redacted[from..].find(after).unwrap();
            redacted.replace_range(from..from + len, name);
        }
    }
    redacted
}

/// What this server adds to Redis's answer to a command that it does not have.
const ADDED: &str = "(this is embedded-pubsub, which has pub/sub only; keys, lists, streams and \
                     the like need a real Redis)";

#[track_caller]
fn assert_same_conversation(script: &str) {
    let Some(redis) = RealRedis::start() else {
        return;
    };
    let (ours, theirs) = (converse(&server(), script), converse(&redis, script));
    assert_eq!(ours.len(), script.trim().lines().count());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs);
    }
}

#[test]
fn resp2_subscribers_hear_the_same() {
    assert_same_conversation(
        "
        A: PING
        A: subscribe news weather news
        A: PSUBSCRIBE n* w?ather
        B: PUBLISH news hello
        B: PUBLISH weather \"sun and rain\"
        B: PUBLISH nothing x
        B: PUBLISH NEWS x
        B: PUBLISH \"\" x
        A: PING
        A: ECHO hello
        A: CLIENT ID
        A: PUBLISH news x
        A: HELLO 3
        B: PUBSUB NUMSUB news weather other
        B: PUBSUB NUMPAT
        B: PUBSUB CHANNELS n*
        A: UNSUBSCRIBE weather other
        B: PUBSUB CHANNELS
        A: UNSUBSCRIBE
        A: UNSUBSCRIBE
        A: PUNSUBSCRIBE n*
        A: PUNSUBSCRIBE
        A: PUNSUBSCRIBE
        A: ECHO hello
        B: PUBLISH news hello
        A: SSUBSCRIBE shard
        B: SPUBLISH shard hello
        B: PUBLISH shard hello
        B: PUBSUB SHARDCHANNELS
        B: PUBSUB SHARDNUMSUB shard other
        A: SUNSUBSCRIBE
        A: SUBSCRIBE news
        A: RESET
        B: PUBSUB CHANNELS
        A: SUBSCRIBE news
        A: QUIT
        B: PUBLISH news hello
        ",
    );
}

#[test]
fn resp3_subscribers_hear_the_same() {
    assert_same_conversation(
        "
        A: CLIENT SETNAME learner
        A: SUBSCRIBE before
        A: RESET
        A: CLIENT GETNAME
        B: ECHO \"\"
        B: CLIENT GETNAME
        A: HELLO 3 SETNAME subscriber
        A: CLIENT GETNAME
        A: SUBSCRIBE news
        A: PSUBSCRIBE n*
        A: SSUBSCRIBE news
        B: PUBLISH news hello
        B: SPUBLISH news hello
        A: PING
        A: ECHO hello
        A: PUBSUB NUMSUB news
        A: CONFIG GET databases
        A: UNSUBSCRIBE other
        A: UNSUBSCRIBE
        A: UNSUBSCRIBE
        A: PUNSUBSCRIBE
        A: SUNSUBSCRIBE
        A: CLIENT SETNAME \"\"
        A: CLIENT GETNAME
        A: HELLO 2
        A: CLIENT GETNAME
        A: SUBSCRIBE news
        A: PING
        ",
    );
}

#[test]
fn mistakes_are_told_in_the_same_words() {
    assert_same_conversation(
        "
        A: PING a b
        A: ECHO
        A: SELECT x
        A: SELECT 05
        A: SELECT 16
        A: SELECT 15
        A: SELECT -1
        A: AUTH secret
        A: AUTH default secret
        A: AUTH somebody secret
        A: AUTH a b c
        A: HELLO x
        A: HELLO 4
        A: HELLO 3 FOO
        A: HELLO 3 AUTH default
        A: HELLO 3 AUTH somebody secret
        A: HELLO 3 SETNAME \"a b\"
        A: SUBSCRIBE
        A: PUBLISH news
        A: PUBSUB
        A: PUBSUB FOO
        A: pubsub foo bar
        A: PUBSUB CHANNELS a b
        A: PUBSUB NUMPAT x
        A: PUBSUB NUMSUB
        A: PUBSUB HELP
        A: CLIENT
        A: CLIENT FOO
        A: CLIENT ID x
        A: CLIENT SETNAME \"a b\"
        A: CLIENT NO-EVICT maybe
        A: CLIENT NO-EVICT on
        A: CLIENT KILL
        A: CLIENT KILL 192.0.2.1:1
        A: CLIENT KILL ID 0
        A: CLIENT KILL ID 999999
        A: CLIENT KILL TYPE x
        A: CLIENT KILL SKIPME maybe
        A: CLIENT KILL ADDR 192.0.2.1:1 FOO
        A: CONFIG
        A: CONFIG FOO
        A: CONFIG GET nothing-of-this-name
        A: COMMAND FOO
        A: COMMAND COUNT x
        A: DBSIZE
        A: DBSIZE x
        A: INFO nothing-of-this-name
        A: RESET x
        A: FOO
        A: FOO a 'b c' \"d\\ne\"
        A: \"a b\" c
        A: QUIT now
        B: PING \"a\"b
        ",
    );
}

#[test]
fn a_killed_subscriber_is_gone_at_once() {
    assert_same_conversation(
        "
        A: SUBSCRIBE news
        B: CLIENT KILL TYPE pubsub
        B: PUBLISH news hello
        B: CLIENT KILL TYPE normal SKIPME no
        ",
    );
}

#[test]
fn malformed_requests_get_the_same_answer() {
    let Some(redis) = RealRedis::start() else {
        return;
    };
    let server = server();
    let long = "1".repeat(70_000);
    for request in [
        "",
        "\r\n",
        "*0\r\n",
        "*-1\r\nPING\r\n",
        "*x\r\n",
        "*+1\r\n",
        "*2147483648\r\n",
        "*1\r\n$-1\r\n",
        "*1\r\n$x\r\n",
        "*1\r\n$04\r\nPING\r\n",
        "*1\r\n$9999999999\r\n",
        "*1\r\n+PING\r\n",
        "*1\r\n*1\r\n$4\r\nPING\r\n",
        "*1\r\n\r\n\r\n",
        "*1\r\n$4\r\nPINGxx*1\r\n$4\r\nPING\r\n",
        "*1\n$4\nPING\n",
        "*1\r\n$4\r\nPI",
        "PING\nPING\r\n PING \r\n",
        "PING 'a\r\n",
        "PING \"\\x41\\x4\\q\\\\\" \r\n",
        "POST / HTTP/1.1\r\nHost: localhost\r\n\r\nPING\r\n",
        "PING\r\n*1\r\n$5\r\nHost:\r\nPING\r\n",
        &long,
        &format!("*{long}"),
        &format!("*1\r\n${long}"),
    ] {
        let (ours, theirs) = (
            answer(&server, request.as_bytes()),
            answer(&redis, request.as_bytes()),
        );
        assert_eq!(ours.replace(ADDED, ""), theirs, "{request:?}");
    }
}

/// The same requests in each run, for they are compared with whichever Redis is
/// installed, and a difference has to be found again.
fn same_each_time(cases: u32) -> TestRunner {
    TestRunner::new(Config {
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..Config::with_cases(cases)
    })
}

#[test]
fn a_thousand_nearly_right_requests_get_the_same_answer() {
    let Some(redis) = RealRedis::start() else {
        return;
    };
    let server = server();
    let pieces = [
        "*1\r\n",
        "*2\r\n",
        "*3\r\n",
        "*",
        "$4\r\nPING\r\n",
        "$4\r\nECHO\r\n",
        "$1\r\nx\r\n",
        "$0\r\n\r\n",
        "$",
        "\r\n",
        "\r",
        "\n",
        "PING",
        "ECHO",
        "PING\r\n",
        "ECHO ",
        "FOO ",
        " ",
        "\"",
        "'",
        "\\",
        "\\x41",
        "1",
        "-",
        "PUBSUB NUMSUB ",
        "SELECT ",
    ];
    let requests = vec(prop::sample::select(pieces.to_vec()), 0..12).prop_map(|p| p.concat());
    same_each_time(1000)
        .run(&requests, |request| {
            let ours = answer(&server, request.as_bytes()).replace(ADDED, "");
            prop_assert_eq!(ours, answer(&redis, request.as_bytes()));
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_thousand_patterns_fit_the_same_channels() {
    let Some(redis) = RealRedis::start() else {
        return;
    };
    let server = server();
    let text = |alphabet: &'static [u8], max| vec(prop::sample::select(alphabet), 0..max);
    let pattern = text(b"aabbc***??[]^-\\", 9);
    let channels = vec(text(b"aaabbbc]-\\^*", 6), 20);
    same_each_time(1000)
        .run(&(pattern, channels), |(pattern, channels)| {
            let mut requests = encode(&[b"HELLO", b"3"]);
            for channel in &channels {
                requests.extend(encode(&[b"SUBSCRIBE", channel]));
                requests.extend(encode(&[b"PUBSUB", b"CHANNELS", &pattern]));
                requests.extend(encode(&[b"UNSUBSCRIBE", channel]));
            }
            prop_assert_eq!(answer(&server, &requests), answer(&redis, &requests));
            Ok(())
        })
        .unwrap();
}

fn encode(words: &[&[u8]]) -> Vec<u8> {
    let mut request = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        request.extend(format!("${}\r\n", word.len()).bytes());
        request.extend([word, &b"\r\n"[..]].concat());
    }
    request
}
