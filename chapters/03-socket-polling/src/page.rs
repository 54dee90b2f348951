//! The page at `/`: three clients of this server, and what they send at this moment.
//!
//! Its files are in `page/`. `recorder.js` records what goes over the wire.

use axum::{
    Router,
    response::Response,
    routing::{MethodRouter, get},
};
use pages::{css, javascript};

/// The page and its files.
pub(crate) fn routes() -> Router {
    Router::new()
        .route("/", get(index))
        .route("/page.css", style(include_str!("../page/page.css")))
        .route("/network.css", style(include_str!("../page/network.css")))
        .route("/sequence.css", style(include_str!("../page/sequence.css")))
        .route("/recorder.js", script(include_str!("../page/recorder.js")))
        .route("/page.js", script(include_str!("../page/page.js")))
        .route("/panel.js", script(include_str!("../page/panel.js")))
        .route("/network.js", script(include_str!("../page/network.js")))
        .route("/sequence.js", script(include_str!("../page/sequence.js")))
        .route("/packets.js", script(include_str!("../page/packets.js")))
        .route("/elements.js", script(include_str!("../page/elements.js")))
        .merge(pages::routes())
}

fn style(text: &'static str) -> MethodRouter {
    get(css(text))
}

fn script(text: &'static str) -> MethodRouter {
    get(javascript(text))
}

async fn index() -> Response {
    pages::page(include_str!("../page/index.html")).await
}
