//! Refuses a WebSocket that cannot begin.
//!
//! engineioxide 0.17.9 answers `101` to every request with a `Sec-WebSocket-Key`: without
//! `Upgrade`, with any version and any key, and for a session that does not exist. Then nothing
//! comes, and the client waits for its own time limit: 20 s. Node answers `400`, and so does this.
//! A test fails when engineioxide does it too: `engineioxide_alone_still_answers_101_to_anything`.

use axum::{
    body::Body,
    extract::Request,
    http::{
        HeaderMap, HeaderName, Method, StatusCode, Uri, Version,
        header::{
            CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
            TRANSFER_ENCODING, UPGRADE,
        },
    },
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::requests::{is_socket_io, parameter};

/// The only version of the protocol (RFC 6455, section 4.1).
const VERSION: &str = "13";

/// Passes a request on, unless it asks for a WebSocket that cannot begin.
pub(crate) async fn refuse_broken(request: Request, next: Next) -> Response {
    let is_websocket = request.method() == Method::GET
        && is_socket_io(request.uri())
        && parameter(request.uri(), "transport") == Some("websocket");
    if is_websocket {
        if let Some(refusal) = refused_session(request.uri(), request.headers(), next.clone()).await
        {
            return refusal;
        }
        if let Some(refusal) = refused_headers(&request) {
            return refusal;
        }
    }
    next.run(request).await
}

/// The refusal of a session that cannot move to a WebSocket: it does not exist, or it has one
/// already. Only the library knows its sessions, so it is asked: to post no packet over polling
/// changes nothing, and it is refused for the same reasons.
async fn refused_session(uri: &Uri, headers: &HeaderMap, next: Next) -> Option<Response> {
    parameter(uri, "sid")?;
    let uri = uri
        .to_string()
        .replacen("transport=websocket", "transport=polling", 1);
    let mut question = Request::post(uri).body(Body::empty()).ok()?;
    headers.clone_into(question.headers_mut());
    for of_a_body in [CONTENT_LENGTH, TRANSFER_ENCODING] {
        question.headers_mut().remove(of_a_body);
    }
    let answer = next.run(question).await;
    (!answer.status().is_success()).then_some(answer)
}

/// The refusal of a request whose headers open no WebSocket (RFC 6455, section 4.2.1). The texts
/// are Node's.
fn refused_headers(request: &Request) -> Option<Response> {
    let headers = request.headers();
    let is_upgrade = request.version() >= Version::HTTP_11
        && names(headers, &CONNECTION, "upgrade")
        && names(headers, &UPGRADE, "websocket");
    if !is_upgrade {
        let json = [(CONTENT_TYPE, "application/json")];
        let body = r#"{"code":"3","message":"Bad request"}"#;
        return Some((StatusCode::BAD_REQUEST, json, body).into_response());
    }
    let key = headers.get(SEC_WEBSOCKET_KEY);
    if !key.is_some_and(|key| is_key(key.as_bytes())) {
        let text = "Missing or invalid Sec-WebSocket-Key header";
        return Some((StatusCode::BAD_REQUEST, text).into_response());
    }
    let version = headers.get(SEC_WEBSOCKET_VERSION);
    if version.is_none_or(|version| version != VERSION) {
        let right = [(SEC_WEBSOCKET_VERSION, VERSION)];
        let text = "Missing or invalid Sec-WebSocket-Version header";
        return Some((StatusCode::BAD_REQUEST, right, text).into_response());
    }
    None
}

/// Whether a header has the token. A header is a list, as in `Connection: keep-alive, Upgrade`.
fn names(headers: &HeaderMap, header: &HeaderName, token: &str) -> bool {
    headers
        .get_all(header)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|value| value.trim().eq_ignore_ascii_case(token))
}

/// Whether a key is 16 bytes in base64.
fn is_key(key: &[u8]) -> bool {
    key.strip_suffix(b"==").is_some_and(|digits| {
        digits.len() == 22
            && digits
                .iter()
                .all(|digit| digit.is_ascii_alphanumeric() || b"+/".contains(digit))
    })
}
