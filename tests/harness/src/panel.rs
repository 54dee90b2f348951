//! A browser's network panel: what a page sent and received, the same in every run.
//!
//! Over polling it is chance which packets share a request, and while the client changes
//! over, which of the two transports carries one. So such packets are listed for the whole
//! connection, in their order; the frames of a WebSocket alone are listed as they came.

use std::collections::HashMap;

use serde_json::Value;

use crate::{browser::Page, redact::redact};

/// What a page's connection shows, once no request of it is under way but a poll that
/// the server holds (`held_polls`: how many there should be).
pub async fn network(page: &Page, held_polls: usize) -> String {
    let what = format!("{held_polls} polls held, and nothing else under way");
    page.wait_events(&what, |events| {
        let panel = Panel::read(events);
        let under_way = panel.under_way();
        under_way.len() == held_polls && under_way.iter().all(|method| *method == "GET")
    })
    .await;
    let mut panel = Panel::read(&page.events());
    for request in &mut panel.requests {
        request.body = page.body(&request.id).await.unwrap_or_default();
    }
    redact(&panel.text())
}

/// The connection's requests, of which a WebSocket is one, and its frames.
#[derive(Default)]
struct Panel {
    requests: Vec<Request>,
    websocket: Option<Request>,
    /// Whether it was sent, and its text.
    frames: Vec<(bool, String)>,
}

#[derive(Default)]
struct Request {
    id: String,
    method: String,
    target: String,
    sent: String,
    status: Option<u64>,
    body: String,
    has_ended: bool,
}

impl Panel {
    fn read(events: &[Value]) -> Self {
        let mut panel = Self::default();
        let mut indices = HashMap::new();
        for event in events {
            let parameters = &event["params"];
            let id = text(&parameters["requestId"]);
            let response = &parameters["response"];
            match event["method"].as_str() {
                Some("Network.requestWillBeSent") => {
                    let sent = &parameters["request"];
                    let target = target(&text(&sent["url"]));
                    if target.contains("transport=polling") {
                        indices.insert(id.clone(), panel.requests.len());
                        panel.requests.push(Request {
                            id,
                            method: text(&sent["method"]),
                            target,
                            sent: text(&sent["postData"]),
                            ..Request::default()
                        });
                    }
                }
                Some("Network.webSocketCreated") => {
                    panel.websocket = Some(Request {
                        target: target(&text(&parameters["url"])),
                        ..Request::default()
                    });
                }
                Some("Network.webSocketHandshakeResponseReceived") => {
                    if let Some(websocket) = &mut panel.websocket {
                        websocket.status = response["status"].as_u64();
                    }
                }
                Some("Network.webSocketFrameSent") => {
                    panel.frames.push((true, text(&response["payloadData"])));
                }
                Some("Network.webSocketFrameReceived") => {
                    panel.frames.push((false, text(&response["payloadData"])));
                }
                Some(ended) => {
                    let request = indices.get(&id).map(|index| &mut panel.requests[*index]);
                    match (request, ended) {
                        (Some(request), "Network.responseReceived") => {
                            request.status = response["status"].as_u64();
                        }
                        (Some(request), "Network.loadingFinished" | "Network.loadingFailed") => {
                            request.has_ended = true;
                        }
                        _ => {}
                    }
                }
                None => {}
            }
        }
        panel
    }

    /// The methods of the requests without an answer.
    fn under_way(&self) -> Vec<&str> {
        let requests = self.requests.iter();
        requests
            .filter(|request| !request.has_ended)
            .map(|request| request.method.as_str())
            .collect()
    }

    fn text(&self) -> String {
        let answered = |request: &Request| {
            let status = request.status.unwrap_or_default();
            let line = format!("GET {}  → {status}  {}", request.target, request.body);
            line.trim_end().to_owned()
        };
        let websocket: Vec<_> = self.websocket.iter().map(answered).collect();
        let lines: Vec<String> = if self.requests.is_empty() {
            [websocket, listed("frame", self.packets())].concat()
        } else {
            let first = self.requests.first().map(answered);
            let steps = self.frames.iter().filter(|(_, text)| is_step(text));
            let steps = steps.map(|(is_sent, text)| (*is_sent, text.as_str()));
            let mut packets = self.packets();
            // What was sent first, each in its order.
            packets.sort_by_key(|(is_sent, _)| !is_sent);
            let held = self.under_way().into_iter();
            [
                first.into_iter().collect(),
                listed("packet", packets),
                websocket,
                listed("frame", steps.collect()),
                held.map(|method| format!("{method} (pending)")).collect(),
            ]
            .concat()
        };
        let lines = lines.iter().map(|line| format!("  browser     {line}\n"));
        lines.collect()
    }

    /// Whether it was sent, and its text, of every packet that means something: no
    /// heartbeat, and no step of an upgrade. The first request's answer stands for itself.
    fn packets(&self) -> Vec<(bool, &str)> {
        let polled = self.requests.iter().skip(1).flat_map(|request| {
            let is_sent = request.method == "POST";
            let payload = if is_sent {
                &request.sent
            } else {
                &request.body
            };
            payload.split('\x1e').map(move |packet| (is_sent, packet))
        });
        let frames = self.frames.iter();
        polled
            .chain(frames.map(|(is_sent, text)| (*is_sent, text.as_str())))
            .filter(|(_, packet)| !["", "2", "3", "6"].contains(packet) && !is_step(packet))
            .collect()
    }
}

/// How a client tries a WebSocket, and moves over to it.
fn is_step(packet: &str) -> bool {
    ["2probe", "3probe", "5"].contains(&packet)
}

fn listed(name: &str, packets: Vec<(bool, &str)>) -> Vec<String> {
    let line = |(is_sent, packet)| {
        let arrow = if is_sent { "→" } else { "←" };
        format!("{name} {arrow} {packet}")
    };
    packets.into_iter().map(line).collect()
}

/// A URL without its host, and without the mark that keeps caches from answering.
fn target(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (_, target) = rest.split_once('/').unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let kept: Vec<_> = query
        .split('&')
        .filter(|pair| !pair.starts_with("t="))
        .collect();
    format!("/{path}?{}", kept.join("&"))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
