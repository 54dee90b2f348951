//! Says on the console which clients are refused for the version of their protocol.
//!
//! The answer (400, `Unsupported protocol version`) reaches nobody who could mend it: version 2 of
//! the client shows `xhr poll error`.

use std::sync::Once;

use axum::{
    extract::Request,
    http::{StatusCode, Uri},
    middleware::Next,
    response::Response,
};

use crate::{
    console::log,
    requests::{is_socket_io, parameter},
};

/// Passes a request on. If it was refused for its version, this is logged, once for each kind.
pub(crate) async fn name_refused(request: Request, next: Next) -> Response {
    let refusal = refusal(request.uri());
    let response = next.run(request).await;
    if response.status() == StatusCode::BAD_REQUEST
        && let Some((once, line)) = refusal
    {
        once.call_once(|| log(line));
    }
    response
}

/// The line for a client that does not speak `EIO=4`, and whether it was logged before.
fn refusal(uri: &Uri) -> Option<(&'static Once, &'static str)> {
    static OLD: Once = Once::new();
    static OTHER: Once = Once::new();
    if !is_socket_io(uri) {
        return None;
    }
    match parameter(uri, "EIO") {
        Some("4") => None,
        Some("3") => Some((
            &OLD,
            "a client of Socket.IO 2 was refused (EIO=3): it needs version 3 or 4 of socket.io-client",
        )),
        _ => Some((
            &OTHER,
            "a client that does not speak EIO=4 was refused: Socket.IO 3 and 4 do",
        )),
    }
}
