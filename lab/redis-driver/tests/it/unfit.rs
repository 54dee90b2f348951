//! Servers that answer and cannot be used: each is refused in one sentence that names the way out.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use harness::{bench::Bench, untested};
use redis_driver::{RedisTarget, ResilientDriver};
use socketioxide_redis::drivers::Driver;

use crate::server::{LIMIT, Server};

/// A `redis-server` with arguments of its own. Dropping it kills it.
pub(crate) struct Redis(Child);

impl Redis {
    pub(crate) fn start(bench: &Bench, address: SocketAddr, arguments: &[&str]) -> Self {
        let child = Command::new("redis-server")
            .args(arguments)
            .args(["--bind", "127.0.0.1", "--save", ""])
            .current_dir(bench.stage.folder())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let redis = Self(child);
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(
                started.elapsed() < LIMIT,
                "{arguments:?}: it does not start"
            );
            thread::sleep(Duration::from_millis(10));
        }
        redis
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It has ended already if this fails.
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}

/// A Redis with arguments of its own, at a port of the bench. `None` without `redis-server`.
pub(crate) fn started(arguments: &[&str]) -> Option<(Bench, SocketAddr, Redis)> {
    let bench = bench("redis-server")?;
    let address = bench.stage.address(6379).unwrap();
    let port = address.port().to_string();
    let redis = Redis::start(&bench, address, &[&["--port", &port], arguments].concat());
    Some((bench, address, redis))
}

/// A bench, if this machine has `program`.
fn bench(program: &str) -> Option<Bench> {
    let found = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if found.is_err() {
        untested(
            "servers that cannot be used as Redis",
            &format!("{program} is missing"),
        );
        return None;
    }
    Some(Bench::new(""))
}

async fn refusal(urls: &str) -> String {
    let error = RedisTarget::at(urls).await.err().expect("a refusal");
    let text = error.to_string();
    assert!(!text.contains('\n') && !text.contains("secret"), "{text}");
    text
}

#[tokio::test]
async fn a_missing_and_a_wrong_password_are_told_apart() {
    let Some((_bench, address, _redis)) = started(&["--requirepass", "secret"]) else {
        return;
    };
    let without = refusal(&format!("redis://{address}")).await;
    assert!(without.contains("asks for a password"), "{without}");
    for wrong in [":guess", "ada:secret", ":secret2"] {
        let text = refusal(&format!("redis://{wrong}@{address}")).await;
        assert!(text.contains("refuses the user or the password"), "{text}");
        assert!(text.contains(&format!("redis://***@{address}")), "{text}");
    }
    assert!(
        RedisTarget::at(&format!("redis://:secret@{address}"))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_missing_right_to_a_channel_is_named() {
    let user = [
        "--user",
        "ada",
        "on",
        ">secret",
        "resetchannels",
        "&allowed",
        "+@all",
    ];
    let Some((_bench, address, _redis)) = started(&user) else {
        return;
    };
    let target = RedisTarget::at(&format!("redis://ada:secret@{address}")).await;
    let driver = ResilientDriver::connect(target.unwrap(), |_| {})
        .await
        .unwrap();
    assert!(driver.subscribe("allowed".to_owned(), 1).await.is_ok());
    let refused = driver.subscribe("chat".to_owned(), 1).await;
    let Err(refused) = refused else {
        panic!("a refusal");
    };
    let text = refused.to_string();
    assert!(text.contains("may not use the channel chat"), "{text}");
    assert!(text.contains("ACL SETUSER"), "{text}");
}

#[tokio::test]
async fn a_replica_and_a_sentinel_are_refused_with_the_master() {
    let Some(bench) = bench("redis-server") else {
        return;
    };
    let [master, replica, sentinel] =
        [6379, 6380, 6381].map(|port| bench.stage.address(port).unwrap());
    let ports = [master, replica, sentinel].map(|address| address.port().to_string());
    let _master = Redis::start(&bench, master, &["--port", &ports[0]]);
    let _replica = Redis::start(
        &bench,
        replica,
        &["--port", &ports[1], "--replicaof", "127.0.0.1", &ports[0]],
    );
    let text = refusal(&format!("redis://{replica}")).await;
    assert!(
        text.contains(&format!("it is a replica, and messages that are published there reach no other server: name its master, {master}")),
        "{text}"
    );
    let config = bench.stage.folder().join("sentinel.conf");
    fs::write(&config, format!("port {}\n", ports[2])).unwrap();
    let config = config.to_str().unwrap();
    let _sentinel = Redis::start(&bench, sentinel, &[config, "--sentinel"]);
    let text = refusal(&format!("redis://{sentinel}")).await;
    assert!(text.contains("it is a Sentinel"), "{text}");
}

/// The role is asked on each connection, not only on the first.
#[tokio::test]
async fn a_master_that_comes_back_as_a_replica_is_not_used() {
    let Some((bench, address, redis)) = started(&[]) else {
        return;
    };
    let port = address.port().to_string();
    let other = bench.stage.address(6380).unwrap();
    let mut server = Server::connect(&format!("redis://{address}")).await;
    let _inbox = server.subscribe("chat").await;
    assert!(server.publish("chat", "hi").await);

    drop(redis);
    // It accepts messages, and passes them on to its own subscribers alone.
    let other = other.port().to_string();
    let replica = Redis::start(
        &bench,
        address,
        &["--port", &port, "--replicaof", "127.0.0.1", &other],
    );
    assert_eq!(server.next_notice().await, redis_driver::Notice::RedisLost);
    assert!(
        !server.publish("chat", "hi").await,
        "it reaches nobody else"
    );

    drop(replica);
    let _master = Redis::start(&bench, address, &["--port", &port]);
    while !server.publish("chat", "hi").await {}
}

#[tokio::test]
async fn a_redis_that_expects_tls_is_named() {
    let (Some(bench), Some(_)) = (bench("redis-server"), bench("openssl")) else {
        return;
    };
    let address = bench.stage.address(6379).unwrap();
    let made = Command::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1",
        ])
        .args([
            "-subj",
            "/CN=localhost",
            "-keyout",
            "key.pem",
            "-out",
            "cert.pem",
        ])
        .current_dir(bench.stage.folder())
        .stderr(Stdio::null())
        .status();
    assert!(made.unwrap().success());
    let port = address.port().to_string();
    let _redis = Redis::start(
        &bench,
        address,
        &[
            "--port",
            "0",
            "--tls-port",
            &port,
            "--tls-cert-file",
            "cert.pem",
            "--tls-key-file",
            "key.pem",
            "--tls-auth-clients",
            "no",
        ],
    );
    let text = refusal(&format!("redis://:secret@{address}")).await;
    assert!(text.contains("it expects TLS"), "{text}");
}
