//! A page of another website connects.

use anyhow::Result;
use lab::{
    Stage,
    client::{Error, Polling, WebSocket},
};

use super::one_server;

/// A page that nobody invited.
const FOREIGN: &str = "https://evil.example";
/// The page of the chat itself, on its own server.
const NAMED: &str = "https://chat.example.org";

/// Pages of two origins connect: to chapter 6's server, to this server, and to this server with
/// one of them in `ALLOWED_ORIGIN`.
///
/// # Errors
/// When a server does not start.
pub async fn another_website(stage: &mut Stage) -> Result<()> {
    let chapter_6 = [("LAB_PROGRAM", CHAPTER_6)];
    let url = one_server(stage, &chapter_6).await?;
    let answers = Answers::to_page(stage, &url, FOREIGN).await;
    stage.claim_failure(
        format!("chapter 6's server opens a WebSocket for {FOREIGN}"),
        "",
        answers.websocket.is_none(),
    );

    let url = one_server(stage, &[]).await?;
    for origin in [FOREIGN, NAMED] {
        let answers = Answers::to_page(stage, &url, origin).await;
        stage.claim(
            format!("this server refuses both transports for {origin}"),
            answers == Answers::refused(),
        );
    }
    let own = Answers::to_page(stage, &url, &url).await;
    stage.claim("its own page connects", own == Answers::default());

    let url = one_server(stage, &[("ALLOWED_ORIGIN", NAMED)]).await?;
    let named = Answers::to_page(stage, &url, NAMED).await;
    let foreign = Answers::to_page(stage, &url, FOREIGN).await;
    stage.claim(
        format!("with ALLOWED_ORIGIN={NAMED} that page connects, and no other page"),
        named == Answers::default() && foreign == Answers::refused(),
    );
    Ok(())
}

/// The program of this lesson's binary that is chapter 6's server.
pub const CHAPTER_6: &str = "chapter-6";

/// The status of the refusal over each transport; `None` if the page may connect.
#[derive(Debug, Default, PartialEq)]
struct Answers {
    polling: Option<u16>,
    websocket: Option<u16>,
}

impl Answers {
    fn refused() -> Self {
        Self {
            polling: Some(403),
            websocket: Some(403),
        }
    }

    /// What a browser gets for a page of `origin`.
    async fn to_page(stage: &Stage, url: &str, origin: &str) -> Self {
        let browser = stage.client("browser", url).with_origin(origin);
        Self {
            polling: status(Polling::open(&browser).await),
            websocket: status(WebSocket::open(&browser, None).await),
        }
    }
}

fn status<T>(outcome: Result<T, Error>) -> Option<u16> {
    let error = outcome.err()?;
    // 0: there was no HTTP answer at all.
    Some(error.refusal().map_or(0, |answer| answer.status))
}
