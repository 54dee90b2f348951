//! Keeps little of each request, so that an open socket costs less memory.
//!
//! engineioxide keeps the request that opened a session for as long as the session lasts. Each
//! WebSocket also keeps the request that asked for it. hyper does not copy what it reads: the URI
//! and the headers are views (`Bytes`) of the buffer that the request was read into. One view
//! keeps the whole buffer: 8 KiB, or 16 KiB if there are many headers. So requests to Socket.IO are
//! copied first, and hyper's buffer is freed once the connection is a WebSocket.

use axum::{
    extract::Request,
    http::{
        HeaderMap, HeaderName, HeaderValue, Uri,
        header::{CONTENT_TYPE, SEC_WEBSOCKET_KEY},
    },
};
use hyper::upgrade::OnUpgrade;

/// The size in bytes of each WebSocket's read buffer; the default is 4 KiB. It grows for a longer
/// message.
pub const READ_BUFFER: usize = 512;

/// The headers that engineioxide reads. The first answers a WebSocket's handshake (RFC 6455,
/// section 4.2.2). The second tells what a polling client has posted.
const NEEDED: [HeaderName; 2] = [SEC_WEBSOCKET_KEY, CONTENT_TYPE];

/// Copies the parts of a request that Socket.IO needs, and drops the rest. Other requests pass
/// unchanged.
///
/// It keeps the method, the URI, the body, two headers (`Sec-WebSocket-Key`, `Content-Type`), and
/// the way to the connection once it is a WebSocket. It drops cookies, `User-Agent` and all other
/// headers. If a handler needs one of them in `socket.req_parts()`, add it here. The check of
/// `Origin` must come before this.
pub async fn keep_little(request: Request) -> Request {
    if !request.uri().path().starts_with("/socket.io") {
        return request;
    }
    let (mut was, body) = request.into_parts();
    let mut request = Request::new(body);
    *request.method_mut() = was.method;
    *request.uri_mut() = copied(was.uri);
    *request.headers_mut() = needed(&was.headers);
    if let Some(upgrade) = was.extensions.remove::<OnUpgrade>() {
        request.extensions_mut().insert(upgrade);
    }
    request
}

fn copied(uri: Uri) -> Uri {
    // If its text cannot be parsed again, the original is kept.
    uri.to_string().parse().unwrap_or(uri)
}

fn needed(all: &HeaderMap) -> HeaderMap {
    // An empty map would reserve room for six headers, a hundred bytes each.
    let mut kept = HeaderMap::with_capacity(NEEDED.len());
    for name in NEEDED {
        // A valid value stays valid.
        if let Some(Ok(value)) = all
            .get(&name)
            .map(|value| HeaderValue::from_bytes(value.as_bytes()))
        {
            kept.insert(name, value);
        }
    }
    kept
}
