//! The chat in a browser: one user's page at `/`, and two users side by side at `/pair`.

use axum::{Router, response::Response, routing::get};

/// The pages and their files.
pub fn routes() -> Router {
    let script = include_str!("../page/chat.js");
    let pair_script = include_str!("../page/pair.js");
    let style = include_str!("../page/chat.css");
    Router::new()
        .merge(pages::routes())
        .route("/", get(chat))
        .route("/pair", get(pair))
        .route("/chat.js", get(pages::javascript(script)))
        .route("/pair.js", get(pages::javascript(pair_script)))
        .route("/chat.css", get(pages::css(style)))
}

async fn chat() -> Response {
    pages::page_in_frame(include_str!("../page/index.html")).await
}

/// Its two frames are the chats of two servers.
async fn pair() -> Response {
    pages::page_in_frame(include_str!("../page/pair.html")).await
}
