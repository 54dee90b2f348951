//! Refuses requests that do not come from the page itself.
//!
//! A page of another site, open in the same browser, can send requests to this machine. It
//! cannot change the header `Origin`. It can make a name of its own point to this machine (DNS
//! rebinding), but `Host` then holds that name.
//! Source: the Fetch standard, section "Origin header".

use std::net::SocketAddr;

use axum::{
    extract::{Request, State},
    http::{
        Method, StatusCode,
        header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, ORIGIN},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};

/// Passes on the page's requests, and answers 403 or 415 to all others.
pub(crate) async fn guard(
    State(address): State<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    match refusal(address, request.method(), request.headers()) {
        None => next.run(request).await,
        Some((status, why)) => (status, why).into_response(),
    }
}

fn refusal(
    address: SocketAddr,
    method: &Method,
    headers: &HeaderMap,
) -> Option<(StatusCode, &'static str)> {
    let names = [address.to_string(), format!("localhost:{}", address.port())];
    let host = text(headers, &HOST).unwrap_or_default();
    if !names.iter().any(|name| name == host) {
        return Some((
            StatusCode::FORBIDDEN,
            "the header Host must hold this page's own address",
        ));
    }
    if method == Method::GET {
        return None;
    }
    if text(headers, &ORIGIN) != Some(format!("http://{host}").as_str()) {
        return Some((
            StatusCode::FORBIDDEN,
            "only the page itself may control the stage",
        ));
    }
    if text(headers, &CONTENT_TYPE) != Some("application/json") {
        return Some((
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the request must be JSON",
        ));
    }
    None
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(method: &Method, headers: &[(HeaderName, &str)]) -> Option<u16> {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()))
            .collect();
        refusal(([127, 0, 0, 1], 3030).into(), method, &headers).map(|(status, _)| status.as_u16())
    }

    #[test]
    fn the_page_may_look_and_act() {
        let host = (HOST, "localhost:3030");
        assert_eq!(refused(&Method::GET, std::slice::from_ref(&host)), None);
        let own = [
            host,
            (ORIGIN, "http://localhost:3030"),
            (CONTENT_TYPE, "application/json"),
        ];
        assert_eq!(refused(&Method::POST, &own), None);
    }

    #[test]
    fn a_name_that_was_made_to_point_here_sees_nothing() {
        assert_eq!(
            refused(&Method::GET, &[(HOST, "evil.example:3030")]),
            Some(403)
        );
        assert_eq!(refused(&Method::GET, &[]), Some(403));
    }

    #[test]
    fn another_site_cannot_act() {
        for origin in ["http://evil.example", "null", "http://127.0.0.1:3000"] {
            let headers = [
                (HOST, "127.0.0.1:3030"),
                (ORIGIN, origin),
                (CONTENT_TYPE, "application/json"),
            ];
            assert_eq!(refused(&Method::POST, &headers), Some(403), "{origin}");
        }
        assert_eq!(
            refused(&Method::POST, &[(HOST, "127.0.0.1:3030")]),
            Some(403)
        );
    }
}
