//! Which targets are refused, and how.

use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
};

use redis_driver::RedisTarget;

/// The error, which is one sentence.
async fn refusal(urls: &str) -> String {
    let error = RedisTarget::at(urls).await.err().expect("a refusal");
    let text = error.to_string();
    assert!(!text.contains('\n'), "{text}");
    text
}

#[tokio::test]
async fn text_that_is_not_a_redis_url_is_named() {
    for urls in ["localhost", "http://127.0.0.1", "redis://127.0.0.1,usb", ""] {
        let wrong = urls.split(',').next_back().unwrap();
        let text = refusal(urls).await;
        assert!(
            text.contains(&format!("names {wrong:?}, which is not a Redis URL")),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_port_on_which_nothing_listens_is_named() {
    let text = refusal("redis://127.0.0.1:1").await;
    assert!(
        text.starts_with("no Redis answers at redis://127.0.0.1:1: start one"),
        "{text}"
    );
    assert!(text.contains("Connection refused"), "{text}");
}

#[tokio::test]
async fn a_server_that_is_not_redis_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 16];
            let _count = stream.read(&mut request).unwrap();
            let answer = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\nnot\nRedis\n";
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let text = refusal(&url).await;
    assert!(
        text.starts_with(&format!("no Redis answers at {url}")),
        "{text}"
    );
}

#[tokio::test]
async fn a_server_that_never_answers_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let text = refusal(&url).await;
    assert!(
        text.starts_with(&format!("no Redis answers at {url}")),
        "{text}"
    );
}

#[tokio::test]
async fn several_servers_that_are_not_a_cluster_are_named() {
    let mut bench = harness::bench::Bench::new("");
    let url = bench.redis().await;
    let urls = format!("{url},{url}");
    let text = refusal(&urls).await;
    assert!(
        text.contains(&format!("{urls} names several Redis servers")),
        "{text}"
    );
}

#[tokio::test]
async fn of_several_urls_one_that_answers_is_enough_to_ask() {
    let mut bench = harness::bench::Bench::new("");
    let url = bench.redis().await;
    // It answers that it is not in a cluster: the error is not about the first URL.
    let text = refusal(&format!("redis://127.0.0.1:1,{url}")).await;
    assert!(text.contains("which are not a cluster"), "{text}");
}

#[tokio::test]
async fn tls_is_refused_in_a_sentence_that_names_the_way_out() {
    let error = RedisTarget::at("rediss://ada:secret@127.0.0.1:6380").await;
    let text = error.err().expect("a refusal").to_string();
    assert!(text.contains("asks for TLS"), "{text}");
    assert!(text.contains("redis://"), "{text}");
    assert!(!text.contains("secret"), "{text}");
}

#[tokio::test]
async fn no_error_contains_the_password() {
    for urls in [
        "rediss://ada:secret@127.0.0.1:6380",
        "http://ada:secret@127.0.0.1:6379",
        "redis://ada:secret@127.0.0.1:1",
        "redis://:a,secret@127.0.0.1:1",
        "redis://ada:secret@127.0.0.1:1,redis://ada:secret@127.0.0.1:2",
        "redis+unix:///nowhere/redis.sock?pass=secret",
        "redis://ada:secret",
        "ada:secret://@127.0.0.1:6379",
    ] {
        let error = RedisTarget::at(urls).await.err().expect("a refusal");
        let text = format!("{error} {error:?}");
        assert!(!text.contains("secret"), "{text}");
    }
}
