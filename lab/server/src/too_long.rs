//! Tells a polling client why it is refused or closed. [`crate::frames`] does this for a WebSocket.
//!
//! If a request is too long, engineioxide 0.17.9 ends the session. The poll that it holds is then
//! answered with `200` and nothing, which is no packet. Node refuses the request, and the session
//! goes on. And if a session ends, Node answers its held poll with a close packet. A test fails when
//! engineioxide does this too: `engineioxide_alone_still_ends_a_poll_without_a_packet`.

use std::{future::poll_fn, pin::pin};

use axum::{
    body::{Body, Bytes, HttpBody as _},
    extract::Request,
    http::{HeaderValue, Method, StatusCode, header::CONTENT_LENGTH},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::requests::{is_socket_io, parameter};

/// The longest message in bytes, over both transports, and the longest body of a POST.
pub const MAX_PAYLOAD: usize = 100_000;

/// What a client is told whose message is longer.
pub(crate) const TOO_LONG: &str = "a message may have at most 100000 bytes";

/// The Engine.IO packet that ends a session.
const CLOSE: &str = "1";

/// Refuses a POST that is too long, and ends each held poll with a packet.
pub(crate) async fn say_why(request: Request, next: Next) -> Response {
    if !is_socket_io(request.uri()) {
        return next.run(request).await;
    }
    if request.method() == Method::POST {
        let (head, body) = request.into_parts();
        return match read(body).await {
            Ok(Some(body)) => next.run(Request::from_parts(head, body.into())).await,
            Ok(None) => (StatusCode::PAYLOAD_TOO_LARGE, TOO_LONG).into_response(),
            Err(_broken) => StatusCode::BAD_REQUEST.into_response(),
        };
    }
    let is_poll = request.method() == Method::GET && parameter(request.uri(), "sid").is_some();
    let response = next.run(request).await;
    let has_packets = response.body().size_hint().exact() != Some(0);
    if !is_poll || response.status() != StatusCode::OK || has_packets {
        return response;
    }
    let (mut head, _nothing) = response.into_parts();
    let length = HeaderValue::from(CLOSE.len());
    head.headers.insert(CONTENT_LENGTH, length);
    Response::from_parts(head, CLOSE.into())
}

/// Reads a body; `None` if it is too long.
async fn read(body: Body) -> Result<Option<Bytes>, axum::Error> {
    if body.size_hint().lower() > MAX_PAYLOAD as u64 {
        return Ok(None);
    }
    let mut body = pin!(body);
    let mut all = Vec::new();
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        if all.len() + data.len() > MAX_PAYLOAD {
            return Ok(None);
        }
        all.extend_from_slice(&data);
    }
    Ok(Some(all.into()))
}
