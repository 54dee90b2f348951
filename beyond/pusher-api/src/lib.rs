//! An HTTP API like Pusher's: a program that can sign a request sends events to users.
//!
//! `POST /apps/{app_id}/events` takes what Pusher's own server libraries send, and gives it to the
//! chat servers through the emitter, as chapter 6's `emit` does. A channel is a room, and each
//! user has a room of that name. So all devices of the user hear the event, on every server.
//!
//! `event` checks the body of a request, `signature` its signature, and `shop` is a program
//! that posts events.
//!
//! Source: Pusher Channels, HTTP API reference, "POST event (trigger an event)".

mod event;
mod refusal;
pub mod shop;
pub mod signature;

use std::{env, sync::Arc};

use anyhow::{Result, ensure};
use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Query, State},
    http::{StatusCode, Uri, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::post,
};
use ch06_full_stack::chat::CHANNELS;
use lab::prefixed;
use lab_server::{listen_on, log, port_or, serve};
use redis_driver::{Publisher, RedisTarget};
use socketioxide_emitter::IoEmitter;

pub use event::MOST_DATA;
use event::Trigger;
use refusal::{Refusal, refusal};
use signature::{Key, Parameters, now};

/// The most bytes of a whole request: the data, escaped, and a hundred long names.
const MOST_BODY: usize = 64 * 1024;

/// The port if `PORT` is not set.
pub const PORT: u16 = 8090;

/// The variable that contains the secret.
pub const SECRET: &str = "PUSHER_SECRET";

/// An app, in Pusher's sense: an ID, a key and a secret.
pub struct App {
    /// The ID, which is in the path of a request.
    pub id: String,
    /// The key and the secret, which sign a request.
    pub key: Key,
}

impl App {
    /// The app that `PUSHER_APP_ID`, `PUSHER_KEY` and `PUSHER_SECRET` name.
    ///
    /// Without a secret it fails: everybody could send events.
    pub fn from_env() -> Result<Self> {
        let or = |name, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
        let secret = or(SECRET, "");
        ensure!(
            !secret.is_empty(),
            "PUSHER_SECRET is not set: set it to a long random text, such as `openssl rand -hex 32` prints"
        );
        Ok(Self {
            id: or("PUSHER_APP_ID", "chat"),
            key: Key::new(or("PUSHER_KEY", "key"), &secret)?,
        })
    }
}

/// Serves the API on the port that `PORT` names, or on 8090, until SIGTERM.
pub async fn run() -> Result<()> {
    let app = App::from_env()?;
    let listener = listen_on(port_or(PORT)?).await?;
    let redis = RedisTarget::from_env().await?;
    let routes = routes(app, &redis).await?;
    Ok(serve("Event API", listener, routes, async {}).await?)
}

/// The API. It publishes to `redis`, and reconnects when Redis has been away.
pub async fn routes(app: App, redis: &RedisTarget) -> Result<Router> {
    let publisher = Publisher::at(redis, |_subscribers| {}).await?;
    let routes = Router::new()
        .route("/apps/{app_id}/events", post(trigger))
        .layer(DefaultBodyLimit::max(MOST_BODY))
        .with_state(Arc::new((app, publisher)));
    Ok(routes)
}

type Shared = Arc<(App, Publisher)>;

async fn trigger(
    State(shared): State<Shared>,
    Path(app_id): Path<String>,
    uri: Uri,
    Query(parameters): Query<Parameters>,
    body: Bytes,
) -> Result<Response, Refusal> {
    let (app, publisher) = &*shared;
    if app_id != app.id {
        return Err(refusal(StatusCode::NOT_FOUND, "there is no such app"));
    }
    app.key
        .verify("POST", uri.path(), &parameters, &body, now())
        .map_err(|reason| refusal(StatusCode::UNAUTHORIZED, reason))?;
    let trigger = Trigger::parse(&body)?;
    let message = trigger.message();
    let emitter = IoEmitter::new()
        .prefix(prefixed(CHANNELS))
        .to(trigger.channels());
    if let Err(error) = emitter.emit(&trigger.name, &message, publisher).await {
        log(format!("an event was not published: {error}"));
        return Err(refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "the event was not published: try again",
        ));
    }
    Ok(([(CONTENT_TYPE, "application/json")], "{}").into_response())
}
