//! MONITOR: a client gets each request of every client.
//!
//! Source: <https://redis.io/docs/latest/commands/monitor/>.

use std::time::{SystemTime, UNIX_EPOCH};

use super::call::{Answer, Call};
use crate::{
    hub::{ClientId, Hub},
    reply::Reply,
};

pub(super) fn monitor(call: &mut Call) -> Answer {
    call.client().monitors = true;
    Ok(Reply::ok())
}

/// Sends a request to all monitors. Like Redis, it leaves out requests with a password.
pub(super) fn tell(hub: &mut Hub, id: ClientId, command: &str, words: &[Vec<u8>]) {
    let Some(peer) = hub.client(id).map(|client| client.peer) else {
        return;
    };
    if matches!(command, "auth" | "hello") {
        return;
    }
    hub.tell_monitors(|| {
        let now = SystemTime::now();
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut line = format!("+{}.{:06} [0 {peer}]", now.as_secs(), now.subsec_micros());
        for word in words {
            line.push_str(&format!(" \"{}\"", word.escape_ascii()));
        }
        line.push_str("\r\n");
        line.into_bytes()
    });
}
