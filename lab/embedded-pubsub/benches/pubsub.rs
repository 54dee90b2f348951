//! What a message costs the embedded pub/sub server.
//!
//! ```sh
//! cargo bench -p embedded-pubsub --bench pubsub
//! ```

#![allow(clippy::unwrap_used, reason = "a panic is the report")]
#![allow(missing_docs, reason = "criterion's macros")]

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use embedded_pubsub::Server;

// The file itself, so that the crate need not show its decoder to anyone.
#[allow(dead_code)]
#[path = "../src/request.rs"]
mod request;

use request::Decoder;

criterion_group!(benches, publish, decode);
criterion_main!(benches);

/// What a chapter's server publishes is about as long.
const MESSAGE: &str = r#"["message",{"from":"alice","to":"bob","text":"hi, bob"}]"#;

/// From `PUBLISH` until the last subscriber has it, over real connections.
fn publish(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("publish to subscribers");
    for subscribers in [1, 10, 100] {
        let server = Server::start("127.0.0.1:0").unwrap();
        let mut hearing: Vec<_> = (0..subscribers).map(|_| subscriber(&server)).collect();
        let mut publisher = connect(&server);
        let sent = command(&["PUBLISH", "room", MESSAGE]);
        let heard = command(&["message", "room", MESSAGE]);
        let answer = format!(":{subscribers}\r\n");
        group.throughput(Throughput::Elements(subscribers));
        group.bench_function(BenchmarkId::from_parameter(subscribers), |bencher| {
            bencher.iter(|| {
                publisher.write_all(&sent).unwrap();
                for subscriber in &mut hearing {
                    expect(subscriber, &heard);
                }
                expect(&mut publisher, answer.as_bytes());
            });
        });
    }
    group.finish();
}

/// A full read buffer of requests, and the same in pieces as small as networks make them.
fn decode(criterion: &mut Criterion) {
    let request = command(&["PUBLISH", "room", MESSAGE]);
    let count = 16 * 1024 / request.len();
    let bytes = request.repeat(count);
    let mut group = criterion.benchmark_group("decode requests");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    for (name, size) in [("at once", bytes.len()), ("in pieces of 100 bytes", 100)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| assert_eq!(decoded(&bytes, size), count));
        });
    }
    group.finish();
}

/// How many requests there are in these bytes.
fn decoded(bytes: &[u8], size: usize) -> usize {
    let mut decoder = Decoder::default();
    let mut requests = 0;
    for piece in bytes.chunks(size) {
        decoder.buffer().extend_from_slice(piece);
        while decoder.next_request().unwrap().is_some() {
            requests += 1;
        }
    }
    requests
}

fn subscriber(server: &Server) -> TcpStream {
    let mut stream = connect(server);
    stream.write_all(&command(&["SUBSCRIBE", "room"])).unwrap();
    expect(
        &mut stream,
        b"*3\r\n$9\r\nsubscribe\r\n$4\r\nroom\r\n:1\r\n",
    );
    stream
}

fn connect(server: &Server) -> TcpStream {
    /// Nothing takes this long; what never comes ends the benchmark.
    const TOO_LONG: Duration = Duration::from_secs(20);
    let stream = TcpStream::connect(server.addr()).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(TOO_LONG)).unwrap();
    stream
}

fn expect(stream: &mut TcpStream, wanted: &[u8]) {
    let mut bytes = vec![0; wanted.len()];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, wanted);
}

/// An array of bulk strings: so are requests written, and messages to subscribers.
fn command(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len());
    for word in words {
        bytes += &format!("${}\r\n{word}\r\n", word.len());
    }
    bytes.into_bytes()
}
