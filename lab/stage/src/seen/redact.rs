//! Session IDs are secrets: no view shows a whole one.

/// The same as [`redact`], and also for a server's line `<id> connected`.
pub(crate) fn redact_console(line: &str) -> String {
    match line.strip_suffix(" connected") {
        // In a chat, the line holds a user's name, and a name is no secret.
        Some(id) if id.len() >= SHORTEST_ID => format!("{} connected", shorten(id)),
        _ => redact(line),
    }
}

/// Engine.IO's session IDs have 16 to 20 characters.
const SHORTEST_ID: usize = 16;

fn shorten(id: &str) -> String {
    const SHOWN: usize = 4;
    match id.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &id[..at]),
        None => id.to_owned(),
    }
}

/// Shortens session IDs. With polling, anyone who knows a client's ID can send as that client.
///
/// Engine.IO's IDs are 16 to 20 characters of base64url. They stand after `sid=` in a URL and after
/// `"sid":"` in a packet.
pub(crate) fn redact(text: &str) -> String {
    let mut shortened = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = ["sid=", "\"sid\":\""]
        .iter()
        .filter_map(|mark| rest.find(mark).map(|at| at + mark.len()))
        .min()
    {
        let (before, id_and_more) = rest.split_at(start);
        let end = id_and_more
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'))
            .unwrap_or(id_and_more.len());
        shortened.push_str(before);
        shortened.push_str(&shorten(&id_and_more[..end]));
        rest = &id_and_more[end..];
    }
    shortened + rest
}
