//! Which pages may connect.
//!
//! Two rules are needed. CORS (the Fetch standard) lets a page *read* the answers of another
//! origin only if the server allows it. That closes polling, because every request needs the
//! session ID from the first answer. A WebSocket is not covered by CORS: any page may open one
//! (RFC 6455, section 10.2). So the server itself checks the header `Origin`.

use std::{env, fmt, io};

use axum::{
    Router,
    extract::{Request, State},
    http::{
        HeaderValue, Method, StatusCode, Uri,
        header::{AUTHORIZATION, CONTENT_TYPE, ORIGIN},
    },
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::requests::is_socket_io;

/// The pages that may connect: pages of this machine, and pages of the named origins.
///
/// A program that is not a browser can send any `Origin`, or none. So this protects users, whose
/// browsers show foreign pages. It does not protect the server.
#[derive(Clone, Default)]
pub struct Origins {
    named: Vec<HeaderValue>,
}

impl Origins {
    /// Pages of this machine, and of the origins in the environment variable `ALLOWED_ORIGIN`.
    /// Commas separate them.
    pub fn from_env() -> Result<Self, NotAnOrigin> {
        Ok(Self::named_in_env()?.unwrap_or_default())
    }

    /// The same; `None` if `ALLOWED_ORIGIN` is not set.
    pub(crate) fn named_in_env() -> Result<Option<Self>, NotAnOrigin> {
        let Some(named) = env::var_os("ALLOWED_ORIGIN") else {
            return Ok(None);
        };
        let named = named.to_string_lossy();
        let named = named.split(',').map(|origin| parse(origin.trim()));
        Ok(Some(Self {
            named: named.collect::<Result<_, _>>()?,
        }))
    }

    /// Guards the Socket.IO requests of an application, over both transports. The pages that may
    /// connect may read the answers, also of requests with cookies.
    pub fn guard(self, app: Router) -> Router {
        let origins = self.clone();
        let readable = CorsLayer::new()
            .allow_origin(AllowOrigin::predicate(move |origin, _| origins.has(origin)))
            .allow_credentials(true)
            .allow_methods([Method::GET, Method::POST])
            .allow_headers([CONTENT_TYPE, AUTHORIZATION]);
        // The outer layer answers a browser's preflight, which has no cookie. Behind a balancer it
        // comes to any server, and Socket.IO would refuse a session ID that it does not know.
        app.layer(from_fn_with_state(self, refuse_others))
            .layer(readable)
    }

    fn has(&self, origin: &HeaderValue) -> bool {
        self.named.contains(origin) || origin.to_str().is_ok_and(is_of_this_machine)
    }
}

async fn refuse_others(State(origins): State<Origins>, request: Request, next: Next) -> Response {
    match request.headers().get(ORIGIN) {
        Some(origin) if is_socket_io(request.uri()) && !origins.has(origin) => (
            StatusCode::FORBIDDEN,
            "pages of this origin may not connect: only pages of ALLOWED_ORIGIN may",
        )
            .into_response(),
        _ => next.run(request).await,
    }
}

/// `scheme://host[:port]`, as a browser writes an origin (RFC 6454, section 6.2).
fn parse(text: &str) -> Result<HeaderValue, NotAnOrigin> {
    let is_origin = text
        .parse::<Uri>()
        .is_ok_and(|uri| origin_of(&uri).is_some_and(|origin| origin == text));
    match HeaderValue::from_str(text) {
        Ok(value) if is_origin => Ok(value),
        _ => Err(NotAnOrigin(text.to_owned())),
    }
}

fn origin_of(uri: &Uri) -> Option<String> {
    Some(format!("{}://{}", uri.scheme_str()?, uri.authority()?))
}

fn is_of_this_machine(origin: &str) -> bool {
    origin
        .parse::<Uri>()
        .is_ok_and(|uri| matches!(uri.host(), Some("127.0.0.1" | "localhost" | "[::1]")))
}

/// A part of `ALLOWED_ORIGIN` is no origin.
#[derive(Debug)]
pub struct NotAnOrigin(String);

impl fmt::Display for NotAnOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ALLOWED_ORIGIN: `{}` is not an origin: an origin looks like \
             https://chat.example.org, and commas separate several",
            self.0
        )
    }
}

impl std::error::Error for NotAnOrigin {}

impl From<NotAnOrigin> for io::Error {
    fn from(error: NotAnOrigin) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_a_scheme_and_a_host_and_nothing_else() {
        for right in ["https://chat.example.org", "http://192.168.1.7:3000"] {
            assert_eq!(parse(right).unwrap(), right);
        }
        for wrong in [
            "",
            "*",
            "null",
            "chat.example.org",
            "https://a.example/",
            "https://a/b",
        ] {
            let said = parse(wrong).unwrap_err().to_string();
            assert!(said.contains("is not an origin"), "{said}");
        }
    }

    #[test]
    fn others_that_look_like_this_machine_are_not() {
        assert!(is_of_this_machine("http://127.0.0.1:8000"));
        assert!(is_of_this_machine("http://localhost:3000"));
        for other in [
            "null",
            "http://localhost.example.org",
            "http://127.0.0.1.example.org:8000",
            "http://127.0.0.1@example.org",
        ] {
            assert!(!is_of_this_machine(other), "{other}");
        }
    }
}
