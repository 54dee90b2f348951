//! The parts that all pages share: the official Socket.IO client, the font, the style sheet.
//!
//! The client and the font are npm packages. `package-lock.json` names their versions. `npm ci`
//! fetches them when a page needs them for the first time, and they are kept in this package. If
//! there is no npm, or no network, a page loads the client from Socket.IO's CDN and says so. It then
//! uses a font of the system.

pub mod npm;

use std::{collections::BTreeMap, env, path::PathBuf};

use axum::{
    Router,
    http::{
        StatusCode,
        header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE},
    },
    response::{Html, IntoResponse, Response},
    routing::get,
};
use serde_json::json;
use tokio::{sync::OnceCell, task::spawn_blocking};

/// The folder of the npm packages, unless `PAGES` names another one. A container has no checkout.
const FOLDER: &str = env!("CARGO_MANIFEST_DIR");

/// Socket.IO's CDN, and the client's path there.
const CDN: &str = "https://cdn.socket.io";
const CDN_PATH: &str = "/4.8.3/socket.io.min.js";

/// The hash of the client. It is the same for the file on the CDN, where Socket.IO's documentation
/// gives it, and for the file from npm: <https://socket.io/docs/v4/client-installation/>.
pub const INTEGRITY: &str =
    "sha384-kzavj5fiMwLKzzD1f8S7TeoVIEi7uKHvbTA3ueZkrzYq75pNQUiUi6Dy98Q3fxb0";

/// The mark in a page that is replaced by the client's `<script>`.
pub const CLIENT: &str = "<!-- client -->";

/// The files that every page may use: `look.css`, `inter.woff2`, `socket.io.min.js`, and the modules
/// `servers.js` and `losses.js`.
pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/look.css", get(css(include_str!("../look/look.css"))))
        .route("/inter.woff2", get(typeface))
        .route("/socket.io.min.js", get(client))
        .route("/servers.js", get(javascript(servers())))
        .route(
            "/losses.js",
            get(javascript(include_str!("../look/losses.js"))),
        )
        .route("/favicon.ico", get(StatusCode::NO_CONTENT))
}

/// Answers with a page. The client's `<script>` replaces the mark [`CLIENT`].
///
/// The page may load files from its own server, and connect to it. If the client comes from the
/// CDN, the page may load it from there.
pub async fn page(html: &str) -> Response {
    page_framed_by(html, "'self'").await
}

/// The same, but pages of other ports of this machine may frame this page, and it may frame them.
pub async fn page_in_frame(html: &str) -> Response {
    page_framed_by(html, "'self' http://127.0.0.1:* http://localhost:*").await
}

async fn page_framed_by(html: &str, neighbours: &str) -> Response {
    let (script, hosts) = if !html.contains(CLIENT) || packages().await.is_ok() {
        (r#"<script src="socket.io.min.js"></script>"#.to_owned(), "")
    } else {
        let script = format!(
            r#"<script src="{CDN}{CDN_PATH}" integrity="{INTEGRITY}" crossorigin="anonymous" data-from="{CDN}"></script>"#
        );
        (script, CDN)
    };
    let policy = format!(
        "default-src 'self'; script-src 'self' {hosts}; \
         img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; \
         frame-src {neighbours}; frame-ancestors {neighbours}"
    );
    (
        [(CONTENT_SECURITY_POLICY, policy)],
        Html(html.replace(CLIENT, &script)),
    )
        .into_response()
}

/// Answers with a style sheet.
pub fn css(text: &'static str) -> impl IntoResponse + Clone {
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], text)
}

/// Answers with an ES module or script.
pub fn javascript(
    text: impl IntoResponse + Clone + Send + Sync + 'static,
) -> impl IntoResponse + Clone {
    ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], text)
}

/// Exports the servers' letters by port. The stage sets them in `SERVERS`
/// (`8000=A 8001=B 8002=C`). Without it, they are the article's.
fn servers() -> String {
    let roster = env::var("SERVERS").unwrap_or_else(|_| "8000=A 8001=B 8002=C".to_owned());
    let letters: BTreeMap<_, _> = roster
        .split(' ')
        .filter_map(|server| server.split_once('='))
        .collect();
    format!("export const LETTERS = {};\n", json!(letters))
}

async fn typeface() -> Response {
    file(
        "@fontsource-variable/inter/files/inter-latin-wght-normal.woff2",
        "font/woff2",
    )
    .await
}

async fn client() -> Response {
    file(
        "socket.io-client/dist/socket.io.min.js",
        "text/javascript; charset=utf-8",
    )
    .await
}

/// Answers with a file of an npm package, or with 404 and the reason if there are no packages.
async fn file(path: &str, content_type: &'static str) -> Response {
    if let Err(reason) = packages().await {
        return (StatusCode::NOT_FOUND, reason.to_owned()).into_response();
    }
    let path = modules().join(path);
    match spawn_blocking(move || std::fs::read(path)).await {
        Ok(Ok(bytes)) => (
            [
                (CONTENT_TYPE, content_type),
                (CACHE_CONTROL, "max-age=3600"),
            ],
            bytes,
        )
            .into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn modules() -> PathBuf {
    folder().join("node_modules")
}

fn folder() -> PathBuf {
    env::var_os("PAGES").map_or_else(|| FOLDER.into(), PathBuf::from)
}

/// Makes sure that the npm packages are installed. A process checks it once, and they are fetched
/// only if they are missing.
///
/// # Errors
/// One sentence, if there is no npm or npm cannot reach its registry.
pub async fn packages() -> Result<(), &'static str> {
    static ASKED: OnceCell<Result<(), String>> = OnceCell::const_new();
    match ASKED.get_or_init(fetch).await {
        Ok(()) => Ok(()),
        Err(reason) => Err(reason),
    }
}

async fn fetch() -> Result<(), String> {
    npm::ci(&folder()).await.map_err(|error| match error {
        npm::Error::NoLockfile => {
            let lockfile = folder().join("package-lock.json");
            format!("{} cannot be read", lockfile.display())
        }
        npm::Error::NoNpm => "there is no npm, which fetches the client".to_owned(),
        npm::Error::Failed(_) => {
            "npm cannot fetch the client: it needs the network once".to_owned()
        }
    })
}
