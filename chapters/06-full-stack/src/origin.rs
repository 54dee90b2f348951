//! From which pages a browser may connect.
//!
//! Two rules are needed. CORS (the Fetch standard) lets a page of another origin *read*
//! answers only if the server says so: that closes polling, where every request needs what
//! the answer before it said. A WebSocket is not covered by CORS, any page may open one
//! (RFC 6455, section 10.2), and a server that cares looks at `Origin` itself.

use std::env;

use anyhow::{Result, bail};
use axum::{
    Router,
    extract::{Request, State},
    http::{
        HeaderValue, Method, StatusCode, Uri,
        header::{CONTENT_TYPE, ORIGIN},
    },
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use tower_http::cors::CorsLayer;

/// The pages that may connect: those of this machine, and of one origin if one is named.
///
/// The server listens on this machine alone, so its own pages are such. Whatever is no
/// browser sends no `Origin`, or one that it likes: this protects users, not the server.
#[derive(Clone)]
pub struct Origins {
    named: Option<HeaderValue>,
}

impl Origins {
    /// This machine's pages, and those of the origin that `ALLOWED_ORIGIN` names.
    ///
    /// # Errors
    /// When it names no origin.
    pub fn from_env() -> Result<Self> {
        let named = match env::var("ALLOWED_ORIGIN") {
            Ok(named) => Some(parse(&named)?),
            Err(_) => None,
        };
        Ok(Self { named })
    }

    /// Guards the Socket.IO requests of an application, over both transports.
    pub fn guard(self, app: Router) -> Router {
        let app = match self.named.clone() {
            None => app,
            Some(named) => app.layer(
                CorsLayer::new()
                    .allow_origin(named)
                    .allow_methods([Method::GET, Method::POST])
                    .allow_headers([CONTENT_TYPE]),
            ),
        };
        app.layer(from_fn_with_state(self, refuse_others))
    }

    fn has(&self, origin: &HeaderValue) -> bool {
        self.named.as_ref() == Some(origin) || origin.to_str().is_ok_and(is_of_this_machine)
    }
}

async fn refuse_others(State(origins): State<Origins>, request: Request, next: Next) -> Response {
    let is_socket = request.uri().path().starts_with("/socket.io");
    match request.headers().get(ORIGIN) {
        Some(origin) if is_socket && !origins.has(origin) => (
            StatusCode::FORBIDDEN,
            "pages of this origin may not connect: ALLOWED_ORIGIN names the one that may",
        )
            .into_response(),
        _ => next.run(request).await,
    }
}

/// `scheme://host[:port]`, as a browser writes an origin (RFC 6454, section 6.2).
fn parse(text: &str) -> Result<HeaderValue> {
    let is_origin = text
        .parse::<Uri>()
        .is_ok_and(|uri| origin_of(&uri).is_some_and(|origin| origin == text));
    match HeaderValue::from_str(text) {
        Ok(value) if is_origin => Ok(value),
        _ => bail!("ALLOWED_ORIGIN={text} is no origin: it looks like https://chat.example.org"),
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
            assert!(said.contains("is no origin"), "{said}");
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
