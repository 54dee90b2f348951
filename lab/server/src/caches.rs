//! Keeps the answers of Socket.IO out of caches.
//!
//! engineioxide 0.17.9 sends no `Cache-Control`. A cache may then keep an answer (RFC 9111,
//! section 4.2.2), and give the session ID of one user to another. Node sends `no-store` too. A test
//! fails when engineioxide does it: `engineioxide_alone_still_lets_caches_keep_a_handshake`.

use axum::{
    extract::Request,
    http::{HeaderValue, header::CACHE_CONTROL},
    middleware::Next,
    response::Response,
};

use crate::requests::is_socket_io;

/// Passes a request on. No cache may keep the answer, if it comes from Socket.IO.
pub(crate) async fn forbid(request: Request, next: Next) -> Response {
    let is_socket_io = is_socket_io(request.uri());
    let mut response = next.run(request).await;
    if is_socket_io {
        let no_store = HeaderValue::from_static("no-store");
        response.headers_mut().insert(CACHE_CONTROL, no_store);
    }
    response
}
