//! What went over the wire, whole: a terminal shows the beginning of it.

use std::net::SocketAddr;

use lab::{Event, Stage, event::Exchange};

use crate::redact::redact;

/// Several recordings, each under its title, the same in every run.
pub fn transcript(stage: &Stage, recordings: &[(&str, Vec<Event>)]) -> String {
    let mut text = String::new();
    for (title, seen) in recordings {
        text.push_str(&format!("── {title}\n"));
        // A request is on the line of its answer.
        let is_asked = |event: &&Event| matches!(event, Event::Asked { .. });
        for event in seen.iter().filter(|event| !is_asked(event)) {
            text.push_str(&line(stage, event));
            text.push('\n');
        }
        text.push('\n');
    }
    redact(&text)
}

fn line(stage: &Stage, event: &Event) -> String {
    match event {
        Event::Exchange(exchange) => exchange_line(stage, exchange),
        Event::Frame { client, sent, text } => {
            let arrow = if *sent { "→" } else { "←" };
            format!("  {client:10}  frame {arrow} {text}")
        }
        other => panic!("not of the wire: {other:?}"),
    }
}

fn exchange_line(stage: &Stage, exchange: &Exchange) -> String {
    let mut request = format!("{} {}", exchange.method, exchange.target);
    if !exchange.sent.is_empty() {
        request = format!("{request}   {}", readable(&exchange.sent));
    }
    let answer = match &exchange.outcome {
        Ok(answered) => format!("{}  {}", answered.status, readable(&answered.body)),
        Err(reason) => reason.clone(),
    };
    let letter = |server: &SocketAddr| stage.servers.letter_of(Some(*server)).unwrap_or('?');
    let servers: String = exchange
        .tried
        .iter()
        .map(|server| format!("{}  ", letter(server)))
        .collect();
    format!(
        "  {:10}  {request}  → {servers}{}",
        exchange.client,
        answer.trim_end()
    )
}

/// Packets of one payload are joined by the record separator, which no page shows.
fn readable(payload: &str) -> String {
    payload.replace('\x1e', " ␞ ")
}
