//! The messages that Redis passes on, seen by a client that uses `MONITOR`.
//!
//! The page does not subscribe. `PUBLISH` returns the number of subscribers, and the lesson
//! shows this number: it must count the servers only.

use std::time::Duration;

use futures_util::StreamExt;
use lab::{Event, Recorder};
use redis::{Client, RedisError};
use tokio::time::sleep;

/// The time between two attempts to connect to Redis.
const PAUSE: Duration = Duration::from_millis(200);

/// Records each message that is published on a channel whose name begins with `own`. Other
/// applications may use this Redis too. Connects again after Redis has restarted.
pub(crate) async fn watch(url: String, own: String, recorder: Recorder) {
    loop {
        // The list has an event for it already: Redis is down.
        let _ended = listen(&url, &own, &recorder).await;
        sleep(PAUSE).await;
    }
}

async fn listen(url: &str, own: &str, recorder: &Recorder) -> Result<(), RedisError> {
    let monitor = Client::open(url)?.get_async_monitor().await?;
    let mut requests = monitor.into_on_message::<String>();
    while let Some(request) = requests.next().await {
        if let Some((channel, bytes)) = published(&request, own) {
            recorder.record(Event::Published { channel, bytes });
        }
    }
    Ok(())
}

/// Reads the channel, if its name begins with `own`, and the message's length in bytes from a line of `MONITOR`, such as
/// `1339518083.107412 [0 127.0.0.1:60866] "PUBLISH" "news" "hi"`.
fn published(request: &str, own: &str) -> Option<(String, usize)> {
    let (_, words) = request.split_once("] ")?;
    let mut words = words.split("\" \"");
    let command = words.next()?.trim_start_matches('"');
    if !command.eq_ignore_ascii_case("publish") {
        return None;
    }
    let channel = words.next().filter(|name| name.starts_with(own))?;
    let message = words.collect::<Vec<_>>().join("\" \"");
    Some((
        channel.to_owned(),
        unescaped_length(message.strip_suffix('"')?),
    ))
}

/// The number of bytes in a text. Redis has escaped some of them: `\n`, `\"`, `\x1e`.
fn unescaped_length(text: &str) -> usize {
    let mut characters = text.chars();
    let mut length = 0;
    while let Some(character) = characters.next() {
        length += 1;
        if character == '\\' && characters.next() == Some('x') {
            characters.nth(1);
        }
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publish_is_read_and_other_requests_and_applications_are_not() {
        let published = |request: &str| published(request, "mine:");
        let line = |words: &str| format!("1339518083.107412 [0 127.0.0.1:60866] {words}");
        let news = published(&line(r#""PUBLISH" "mine:my channel" "a \"b\" \x1e\n""#));
        assert_eq!(news, Some(("mine:my channel".to_owned(), 8)));
        for other in [
            r#""PUBLISH" "my channel" "hi""#,
            r#""SUBSCRIBE" "mine:news""#,
        ] {
            assert_eq!(published(&line(other)), None);
        }
        assert_eq!(published("OK"), None);
    }
}
