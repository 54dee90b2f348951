//! The body of a request: an event, and the channels that it goes to.

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use crate::refusal::{Refusal, refusal};

/// The most bytes of an event's `data` (10 kB). More is refused with 413.
pub const MOST_DATA: usize = 10 * 1024;

/// The most channels of an event.
const MOST_CHANNELS: usize = 100;

/// The longest name of a channel, or of an event, in bytes.
const LONGEST_NAME: usize = 200;

/// The body of a request.
#[derive(Debug, Deserialize)]
pub(crate) struct Trigger {
    pub(crate) name: String,
    /// Text, and usually JSON.
    data: String,
    #[serde(default)]
    channels: Vec<String>,
    channel: Option<String>,
    socket_id: Option<String>,
}

impl Trigger {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let bad = |what: String| refusal(StatusCode::BAD_REQUEST, what);
        let trigger: Self = serde_json::from_slice(body)
            .map_err(|error| bad(format!("the body is not an event: {error}")))?;
        if trigger.data.len() > MOST_DATA {
            return Err(refusal(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!(
                    "an event has at most {MOST_DATA} bytes of data, and this one has {}",
                    trigger.data.len()
                ),
            ));
        }
        let channels = trigger.channels();
        if channels.is_empty() || channels.len() > MOST_CHANNELS {
            return Err(bad(format!(
                "an event goes to 1 to {MOST_CHANNELS} channels, and this one to {}",
                channels.len()
            )));
        }
        if let Some(channel) = channels.iter().find(|name| !is_channel(name)) {
            return Err(bad(format!("{channel:?} is not a channel's name")));
        }
        if trigger.name.is_empty() || trigger.name.len() > LONGEST_NAME {
            return Err(bad(format!(
                "an event's name has 1 to {LONGEST_NAME} bytes"
            )));
        }
        if trigger.socket_id.is_some() {
            return Err(bad("socket_id is not supported: leave it out".to_owned()));
        }
        Ok(trigger)
    }

    pub(crate) fn channels(&self) -> Vec<String> {
        self.channels.iter().chain(&self.channel).cloned().collect()
    }

    /// What the clients get. Pusher's client library reads the text as JSON, too.
    pub(crate) fn message(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|_| Value::String(self.data.clone()))
    }
}

/// Source: Pusher Channels, "Channel naming conventions".
fn is_channel(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "_-=@,.;".contains(c);
    (1..=LONGEST_NAME).contains(&name.len()) && name.chars().all(is_allowed)
}
