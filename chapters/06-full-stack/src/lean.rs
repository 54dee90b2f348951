//! What a socket costs: a server keeps of a request only what is needed.
//!
//! engineioxide keeps the request that opened a session for as long as the session lasts, and
//! each WebSocket keeps the request that asked for it. hyper does not copy what it reads:
//! address and headers are windows (`Bytes`) on the buffer that the request was read into, and
//! one window keeps all of it, 8 KiB, or 16 if the headers are many. So requests to Socket.IO
//! are copied before it sees them, and hyper's buffer goes once the connection is a WebSocket.

use axum::{
    extract::Request,
    http::{
        HeaderMap, HeaderName, HeaderValue, Uri,
        header::{CONTENT_TYPE, SEC_WEBSOCKET_KEY},
    },
};
use hyper::upgrade::OnUpgrade;

/// Bytes that each WebSocket has set aside to read into, in place of 4 KiB. A message
/// that is longer gets more.
pub const READ_BUFFER: usize = 512;

/// The headers that engineioxide reads: the first to answer a WebSocket's handshake (RFC 6455,
/// section 4.2.2), the second of what a polling client posts.
const NEEDED: [HeaderName; 2] = [SEC_WEBSOCKET_KEY, CONTENT_TYPE];

/// Copies what Socket.IO needs of a request, and lets the rest go; other requests pass as
/// they are.
///
/// Kept are the method, the address, the body, the headers that engineioxide reads
/// (`Sec-WebSocket-Key`, `Content-Type`), and hyper's way to the connection once it is a
/// WebSocket. Gone are cookies, the browser's name, and all else: a handler that wants to see
/// them in `socket.req_parts()` has them added here. What looks at `Origin` stands before this.
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
    // Strangers send addresses: one that cannot be read twice is kept as it came.
    uri.to_string().parse().unwrap_or(uri)
}

fn needed(all: &HeaderMap) -> HeaderMap {
    // Otherwise it has room for six, of a hundred bytes each.
    let mut kept = HeaderMap::with_capacity(NEEDED.len());
    for name in NEEDED {
        // A value that was read once can be read again.
        if let Some(Ok(value)) = all
            .get(&name)
            .map(|value| HeaderValue::from_bytes(value.as_bytes()))
        {
            kept.insert(name, value);
        }
    }
    kept
}
