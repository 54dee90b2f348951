//! What strangers do to a server, and whether those who behave notice.

use std::{fs, future::Future, net::SocketAddr, time::Duration};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, interval, timeout},
};

/// The longest that somebody who behaves may have to wait, on a machine with other work. A
/// connection whose first packet found the queue full tries again after 1 s, and 2 s later.
pub const NOTICEABLE: Duration = Duration::from_secs(5);

/// Does `ask` again and again while `attack` goes on. Returns what the attack came to.
///
/// Who asks is somebody who behaves, and fails the test if an answer takes [`NOTICEABLE`].
pub async fn meanwhile<T: Send + 'static>(
    attack: impl Future<Output = T> + Send + 'static,
    mut ask: impl AsyncFnMut(),
) -> T {
    // Of its own, so that neither waits for the other.
    let mut attack = tokio::spawn(attack);
    let mut turns = interval(Duration::from_millis(20));
    let (mut answers, mut slowest) = (0, Duration::ZERO);
    loop {
        turns.tick().await;
        let started = Instant::now();
        timeout(NOTICEABLE, ask())
            .await
            .unwrap_or_else(|_| panic!("after {answers} answers, none within {NOTICEABLE:?}"));
        slowest = slowest.max(started.elapsed());
        answers += 1;
        if attack.is_finished() {
            println!("{answers} answers meanwhile, the slowest after {slowest:?}");
            return (&mut attack).await.expect("the attack goes through");
        }
    }
}

/// Bytes sent over a connection of their own, and all that comes back until it is closed;
/// `None` if it stays open for `patience`.
pub async fn send(address: SocketAddr, bytes: &[u8], patience: Duration) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.expect("somebody listens");
    // It may be closed before all is sent.
    let _refused = timeout(patience, stream.write_all(bytes)).await;
    let mut answer = Vec::new();
    // A reset is a close, too.
    let _closed = timeout(patience, stream.read_to_end(&mut answer))
        .await
        .ok()?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}

/// Bytes sent over a connection of their own, and the head of the answer. The connection may stay
/// open, as a WebSocket does.
pub async fn head(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("somebody listens");
    stream.write_all(bytes).await.expect("it is open");
    let mut head = Vec::new();
    let reading = async {
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("an answer"));
        }
    };
    timeout(NOTICEABLE, reading).await.expect("an answer");
    String::from_utf8_lossy(&head).into_owned()
}

/// Sends `start`, and then `drop` each second: a slow sender, as slowloris is. Returns
/// after how long it was thrown out; `None` if it was not within `patience`.
pub async fn drip(
    address: SocketAddr,
    start: &[u8],
    drop: &[u8],
    patience: Duration,
) -> Option<Duration> {
    let stream = TcpStream::connect(address).await.expect("somebody listens");
    let (mut incoming, mut outgoing) = stream.into_split();
    outgoing.write_all(start).await.expect("it is open");
    let started = Instant::now();
    let dripping = async {
        let mut seconds = interval(Duration::from_secs(1));
        loop {
            seconds.tick().await;
            if outgoing.write_all(drop).await.is_err() {
                return;
            }
        }
    };
    let mut answer = Vec::new();
    let closed = async {
        tokio::select! {
            _ = incoming.read_to_end(&mut answer) => {}
            () = dripping => {}
        }
    };
    timeout(patience, closed).await.ok()?;
    Some(started.elapsed())
}

/// Opens connections that say nothing.
pub async fn idle(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut idle = Vec::with_capacity(count);
    for _ in 0..count {
        idle.push(TcpStream::connect(address).await.expect("one more"));
    }
    idle
}

/// Waits until the server has closed all of them.
pub async fn all_closed(connections: Vec<TcpStream>, patience: Duration) -> bool {
    timeout(patience, async {
        for mut connection in connections {
            let mut rest = Vec::new();
            let _closed = connection.read_to_end(&mut rest).await;
        }
    })
    .await
    .is_ok()
}

/// Has this process, and the servers that it starts, open as many descriptors as it may.
/// Returns how many of `wanted` connections are at most one of `share` parts of them.
pub fn raise_limit(wanted: usize, share: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    )
    .expect("the soft limit may be what the hard one is");
    let allowed = limit.maximum.map_or(usize::MAX, |most| {
        usize::try_from(most).unwrap_or(usize::MAX)
    });
    // Tests beside this one, and whoever behaves, need some too.
    let count = wanted.min(allowed / share);
    println!("{count} connections of {wanted}: this process may have {allowed} descriptors");
    count
}

/// The memory that a process holds, in KiB; `None` where only `/proc` would say it.
pub fn resident(pid: u32) -> Option<usize> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Fails if a process holds more than `most` KiB over what it held `before`.
pub fn grew_at_most(pid: u32, before: Option<usize>, most: usize) {
    if let (Some(before), Some(now)) = (before, resident(pid)) {
        println!("memory: {before} KiB before, {now} KiB after");
        assert!(now <= before + most, "{before} KiB grew to {now} KiB");
    }
}

/// What is no HTTP, or none that a server should take.
pub fn no_http() -> Vec<Vec<u8>> {
    let texts = [
        "\0\0\0\0\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET / HTTP/1.1\r\nNo colon\r\n\r\n",
        "GET / HTTP/1.1\r\nA\0B: c\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
        // A TLS client's first bytes.
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\r\n\r\n",
    ];
    let mut all: Vec<_> = texts.map(|text| text.as_bytes().to_vec()).into();
    // One header that does not end, a thousand of them, and a target that does not end.
    let long = "x".repeat(1024 * 1024);
    all.push(format!("GET / HTTP/1.1\r\nX: {long}").into_bytes());
    all.push(format!("GET / HTTP/1.1\r\n{}", "X: y\r\n".repeat(1000)).into_bytes());
    all.push(format!("GET /{long}").into_bytes());
    all
}
