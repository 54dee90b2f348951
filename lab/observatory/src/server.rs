//! The page's server: the page's files, the live events, and the requests of the buttons.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    http::{StatusCode, header::CONTENT_TYPE},
    middleware::from_fn_with_state,
    response::{
        IntoResponse, Response,
        sse::{self, KeepAlive, Sse},
    },
    routing::{get, post},
};
use futures_util::{StreamExt, stream};
use lab::{Observed, Observer};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::sleep,
};

use crate::{
    act::{Act, Asked, BEAT},
    guard::guard,
};

/// How many events the page gets at a time. A page that opens gets as many earlier events.
const BATCH: usize = 500;
/// The longest request body, in bytes.
const ORDER: usize = 4096;

#[derive(Clone)]
struct Desk {
    observer: Observer,
    state: watch::Receiver<Value>,
    asked: mpsc::Sender<Asked>,
    lesson: Arc<Value>,
}

/// The routes of the page's server, which listens on `address`.
pub(crate) fn app(
    observer: Observer,
    state: watch::Receiver<Value>,
    asked: mpsc::Sender<Asked>,
    lesson: Value,
    address: SocketAddr,
) -> Router {
    files()
        .merge(pages::routes())
        .route("/events", get(events))
        .route("/lesson", get(replay))
        .route("/do", post(act))
        .layer(DefaultBodyLimit::max(ORDER))
        .layer(from_fn_with_state(address, guard))
        .with_state(Desk {
            observer,
            state,
            asked,
            lesson: Arc::new(lesson),
        })
}

/// The page's ES modules.
const MODULES: [(&str, &str); 11] = [
    ("/controls.js", include_str!("../page/controls.js")),
    ("/feed.js", include_str!("../page/feed.js")),
    ("/layout.js", include_str!("../page/layout.js")),
    ("/lesson.js", include_str!("../page/lesson.js")),
    ("/log.js", include_str!("../page/log.js")),
    ("/main.js", include_str!("../page/main.js")),
    ("/model.js", include_str!("../page/model.js")),
    ("/questions.js", include_str!("../page/questions.js")),
    ("/scene.js", include_str!("../page/scene.js")),
    ("/trace.js", include_str!("../page/trace.js")),
    ("/words.js", include_str!("../page/words.js")),
];

fn files() -> Router<Desk> {
    let page = || async { pages::page(include_str!("../page/index.html")).await };
    let style = pages::css(include_str!("../page/observatory.css"));
    MODULES
        .into_iter()
        .fold(Router::new(), |files, (path, text)| {
            files.route(path, get(pages::javascript(text)))
        })
        .route("/", get(page))
        .route("/observatory.css", get(style))
}

async fn events(State(desk): State<Desk>) -> impl IntoResponse {
    let states = stream::unfold((desk.state, true), |(mut state, is_first)| async move {
        if !is_first {
            state.changed().await.ok()?;
        }
        let now = message("state", &state.borrow_and_update());
        sleep(BEAT).await;
        Some((now, (state, false)))
    });
    let batches = stream::unfold((desk.observer, None), |(mut observer, last)| async move {
        let events = observer.next(BATCH).await;
        let batch = batch(last, &events);
        let last = events.last().map(|event| event.number).or(last);
        sleep(BEAT).await;
        Some((message("batch", &batch), (observer, last)))
    });
    let both = stream::select(states, batches).map(Ok::<_, Infallible>);
    Sse::new(both).keep_alive(KeepAlive::default())
}

fn message(name: &str, data: &Value) -> sse::Event {
    sse::Event::default().event(name).data(data.to_string())
}

/// An event as the page gets it. Session IDs are shortened, because they are secrets.
#[derive(Serialize)]
struct Told {
    n: usize,
    at: f64,
    #[serde(flatten)]
    event: lab::Event,
}

/// `last` is the number of the last event that the page has got, if it has got one.
fn batch(last: Option<usize>, events: &[Observed]) -> Value {
    let skipped = match (last, events.first()) {
        (Some(last), Some(first)) => first.number - last - 1,
        _ => 0,
    };
    let told: Vec<_> = events
        .iter()
        .cloned()
        .map(|observed| Told {
            n: observed.number,
            at: observed.at.as_secs_f64() * 1000.0,
            event: observed.event.without_secrets(),
        })
        .collect();
    json!({ "skipped": skipped, "events": told })
}

/// The events from before the page was opened: the experiments, with their requests, notes and
/// claims.
pub(crate) fn lesson_of(observed: &[Observed]) -> Value {
    use lab::Event::{Asked, Step};
    // The last step is not an experiment: it says what to try by hand.
    let ends = observed
        .iter()
        .rposition(|observed| matches!(observed.event, Step { .. }));
    let lesson = &observed[..ends.unwrap_or_default()];
    let once: Vec<_> = lesson
        .iter()
        .filter(|observed| match observed.event {
            Asked { .. } => true,
            ref other => !other.is_background(),
        })
        .cloned()
        .collect();
    batch(None, &once)
}

async fn replay(State(desk): State<Desk>) -> Response {
    answer(StatusCode::OK, &desk.lesson)
}

async fn act(State(desk): State<Desk>, order: String) -> Response {
    let act: Act = match serde_json::from_str(&order) {
        Ok(act) => act,
        Err(error) => {
            return answer(
                StatusCode::BAD_REQUEST,
                &json!({ "error": format!("the page's server does not know this request: {error}") }),
            );
        }
    };
    let (answered, outcome) = oneshot::channel();
    if desk.asked.send(Asked { act, answered }).await.is_err() {
        return answer(
            StatusCode::SERVICE_UNAVAILABLE,
            &json!({ "error": "the stage is ending" }),
        );
    }
    match outcome.await {
        Ok(Ok(done)) => answer(StatusCode::OK, &done),
        Ok(Err(error)) => answer(
            StatusCode::CONFLICT,
            &json!({ "error": format!("{error:#}") }),
        ),
        Err(_) => answer(
            StatusCode::SERVICE_UNAVAILABLE,
            &json!({ "error": "the stage is ending" }),
        ),
    }
}

fn answer(status: StatusCode, body: &Value) -> Response {
    (
        status,
        [(CONTENT_TYPE, "application/json")],
        body.to_string(),
    )
        .into_response()
}
