//! Which requests are for Socket.IO, and what they ask for.

use axum::http::Uri;

/// Whether a request is for Socket.IO. `/socket.io.min.js` is not: it is a file of a page.
pub(crate) fn is_socket_io(uri: &Uri) -> bool {
    let rest = uri.path().strip_prefix("/socket.io");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A parameter of a request to Socket.IO, read as engineioxide reads it.
pub(crate) fn parameter<'a>(uri: &'a Uri, name: &str) -> Option<&'a str> {
    let mut parts = uri.query()?.split('&');
    let value = parts.find_map(|part| part.strip_prefix(name)?.strip_prefix('='))?;
    value.split('=').next()
}
