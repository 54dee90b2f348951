//! A browser's network panel: what a page sent and received, the same in every run.
//!
//! Over polling it is chance which packets share a request, and while the client changes
//! over, which of the two transports carries one. So such packets are listed for the whole
//! connection, in their order; the frames of a WebSocket alone are listed as they came.

use std::collections::HashMap;

use serde_json::Value;

use super::{browser::Page, redact::redact};

/// What a page's connection shows, once no request of it is under way but a poll that
/// the server holds (`held_polls`: how many there should be).
pub(crate) async fn network(page: &Page, held_polls: usize) -> String {
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
        let mut lines = Vec::new();
        if let Some(first) = self.requests.first() {
            let status = first.status.unwrap_or_default();
            lines.push(format!(
                "{} {}  → {status}  {}",
                first.method, first.target, first.body
            ));
        }
        let (upgrade, frames): (Vec<_>, Vec<_>) = self
            .frames
            .iter()
            .partition(|(_, packet)| ["2probe", "3probe", "5"].contains(&packet.as_str()));
        let polled = self.requests.iter().skip(1);
        let polled = polled.flat_map(|request| {
            let is_sent = request.method == "POST";
            let payload = if is_sent {
                &request.sent
            } else {
                &request.body
            };
            payload.split('\x1e').map(move |packet| (is_sent, packet))
        });
        let framed = frames
            .iter()
            .map(|(is_sent, packet)| (*is_sent, packet.as_str()));
        let is_meant = |(_, packet): &(bool, &str)| !["", "2", "3", "6"].contains(packet);
        let mut packets: Vec<_> = polled.chain(framed).filter(is_meant).collect();
        if !self.requests.is_empty() {
            // What was sent first, each in its order.
            packets.sort_by_key(|(is_sent, _)| !is_sent);
        }
        let listed = |name: &str, is_sent, packet: &str| {
            let arrow = if is_sent { "→" } else { "←" };
            format!("{name} {arrow} {packet}")
        };
        let packets = |name: &'static str| {
            let packets = packets.clone().into_iter();
            packets.map(move |(is_sent, packet)| listed(name, is_sent, packet))
        };
        let websocket = self.websocket.iter().map(|websocket| {
            let status = websocket.status.unwrap_or_default();
            format!("GET {}  → {status}", websocket.target)
        });
        if self.requests.is_empty() {
            lines.extend(websocket);
            lines.extend(packets("frame"));
        } else {
            lines.extend(packets("packet"));
            lines.extend(websocket);
            let upgrade = upgrade.iter();
            lines.extend(upgrade.map(|(is_sent, packet)| listed("frame", *is_sent, packet)));
        }
        let held = self.under_way().into_iter();
        lines.extend(held.map(|method| format!("{method} (pending)")));
        let lines = lines.iter().map(|line| format!("  browser     {line}\n"));
        lines.collect()
    }
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
