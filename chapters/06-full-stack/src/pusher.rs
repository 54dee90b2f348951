//! The shape of Pusher's HTTP API: any program that can sign a request triggers an event.
//!
//! `POST /apps/{app_id}/events` takes what Pusher's own server libraries send, and hands it to
//! the servers through the emitter, as [`crate::emit`] does. A channel is a room, and a user's
//! name is one: the user's devices hear the event, wherever they are connected.
//!
//! Source: Pusher Channels, HTTP API reference, "POST event (trigger an event)".

pub mod signature;

use std::{env, sync::Arc};

use anyhow::{Context, Result, ensure};
use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Query, State},
    http::{StatusCode, Uri, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::post,
};
use ch01_express_pid::{listen_on, log, port_or, serve};
use ch05_redis_pubsub::programs::no_redis;
use redis::RedisError;
use serde::Deserialize;
use serde_json::Value;
use socketioxide_emitter::IoEmitter;

use crate::{emit::Publisher, place::Place};
use signature::{Key, Parameters, now};

/// Bytes that an event's `data` may have (10 kB); longer ones are refused with 413.
pub const MOST_DATA: usize = 10 * 1024;

/// Bytes of a whole request: the data, escaped, and a hundred long names.
const MOST_BODY: usize = 64 * 1024;

/// How many channels an event may go to.
const MOST_CHANNELS: usize = 100;

/// Letters of the name of a channel, or of an event.
const LONGEST_NAME: usize = 200;

/// Where it listens, unless `PORT` says otherwise.
const PORT: u16 = 8090;

/// An app, as Pusher calls what has an ID, a key and a secret.
pub struct App {
    /// Its ID, which is in the path.
    pub id: String,
    /// What its requests are signed with.
    pub key: Key,
}

impl App {
    /// The app that `PUSHER_APP_ID`, `PUSHER_KEY` and `PUSHER_SECRET` name.
    ///
    /// # Errors
    /// When there is no secret: everybody could trigger events.
    pub fn from_env() -> Result<Self> {
        let or = |name, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
        let secret = or("PUSHER_SECRET", "");
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

/// Serves the API on the port that `PORT` names, or 8090, until SIGTERM.
///
/// # Errors
/// When a variable makes no sense, the port cannot be had, or Redis does not answer.
pub async fn run() -> Result<()> {
    let app = App::from_env()?;
    let listener = listen_on(port_or(PORT)?).await?;
    // It connects again by itself.
    let place = Place::from_env().await?;
    let routes = routes(app, &place).await.with_context(no_redis)?;
    Ok(serve("Event API", listener, routes, async {}).await?)
}

/// The API, in front of the Redis at `place`.
///
/// # Errors
/// When a cluster does not answer.
pub async fn routes(app: App, place: &Place) -> Result<Router, RedisError> {
    let publisher = Publisher::at(place).await?;
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
    let emitter = IoEmitter::new().to(trigger.channels());
    if let Err(error) = emitter.emit(&trigger.name, &message, publisher).await {
        log(format!("an event was not published: {error}"));
        return Err(refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "the event was not published: try again",
        ));
    }
    Ok(([(CONTENT_TYPE, "application/json")], "{}").into_response())
}

/// The body of a request.
#[derive(Debug, Deserialize)]
struct Trigger {
    name: String,
    /// Text, which is JSON as a rule.
    data: String,
    #[serde(default)]
    channels: Vec<String>,
    channel: Option<String>,
    socket_id: Option<String>,
}

impl Trigger {
    fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let bad = |what: String| refusal(StatusCode::BAD_REQUEST, what);
        let trigger: Self = serde_json::from_slice(body)
            .map_err(|error| bad(format!("the body is no event: {error}")))?;
        if trigger.data.len() > MOST_DATA {
            return Err(refusal(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!(
                    "the data of an event may have {MOST_DATA} bytes, and this has {}",
                    trigger.data.len()
                ),
            ));
        }
        let channels = trigger.channels();
        if channels.is_empty() || channels.len() > MOST_CHANNELS {
            return Err(bad(format!(
                "an event goes to 1 to {MOST_CHANNELS} channels, and this to {}",
                channels.len()
            )));
        }
        if let Some(channel) = channels.iter().find(|name| !is_channel(name)) {
            return Err(bad(format!("{channel:?} is no name of a channel")));
        }
        if trigger.name.is_empty() || trigger.name.len() > LONGEST_NAME {
            return Err(bad(format!(
                "an event's name has 1 to {LONGEST_NAME} letters"
            )));
        }
        if trigger.socket_id.is_some() {
            return Err(bad("socket_id is not known here: leave it out".to_owned()));
        }
        Ok(trigger)
    }

    fn channels(&self) -> Vec<String> {
        self.channels.iter().chain(&self.channel).cloned().collect()
    }

    /// What the clients hear: their library, too, would read the text as JSON.
    fn message(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|_| Value::String(self.data.clone()))
    }
}

/// Source: Pusher Channels, "Channel naming conventions".
fn is_channel(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "_-=@,.;".contains(c);
    (1..=LONGEST_NAME).contains(&name.len()) && name.chars().all(is_allowed)
}

/// A status, and a sentence that says why.
type Refusal = (StatusCode, String);

fn refusal(status: StatusCode, why: impl Into<String>) -> Refusal {
    (status, why.into() + "\n")
}
