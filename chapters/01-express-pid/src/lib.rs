//! Chapter 1: a server that answers with its PID.
//!
//! `GET /` returns `Hi, PID: <pid>`. With several servers, the PID shows which server
//! answered.

use std::process;

use axum::{Router, routing::get};

/// The whole application: one route.
pub fn app() -> Router {
    Router::new().route("/", get(hi))
}

async fn hi() -> String {
    format!("Hi, PID: {}", process::id())
}
