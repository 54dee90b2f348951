//! `healthy`, the program of a container's health check.

// What is only for tests may end with a panic that says why.
#![allow(clippy::unwrap_used)]

use std::{future::pending, net::TcpListener};

use axum::Router;
use harness::binary::{command, is_refused, run};
use lab_server::{bounds::serve_bounded, listen_on};
use tokio::runtime::Runtime;

const HEALTHY: &str = env!("CARGO_BIN_EXE_healthy");

/// Serves `app` until the runtime is dropped. Returns its port.
fn serve(app: Router) -> (Runtime, String) {
    let runtime = Runtime::new().unwrap();
    let listener = runtime.block_on(listen_on(0)).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    runtime.spawn(serve_bounded(listener, app, pending()));
    (runtime, port)
}

#[test]
fn a_server_that_answers_200_is_healthy_and_one_that_has_ended_is_not() {
    let (server, port) = serve(Router::new().route("/", axum::routing::get("Hi")));
    let healthy = run(command(HEALTHY).env("PORT", &port));
    assert_eq!(healthy.code, Some(0), "{healthy:?}");
    drop(server);
    is_refused(command(HEALTHY).env("PORT", &port), 1, &[&port, "refused"]);
}

#[test]
fn a_server_that_answers_with_an_error_is_not_healthy() {
    let (_server, port) = serve(Router::new());
    let said = "answers HTTP/1.1 404 Not Found, not 200";
    is_refused(command(HEALTHY).env("PORT", &port), 1, &[&port, said]);
}

#[test]
fn a_server_that_accepts_and_sends_nothing_is_not_healthy() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port().to_string();
    let said = "does not answer within 2 s";
    is_refused(command(HEALTHY).env("PORT", &port), 1, &[said]);
}
