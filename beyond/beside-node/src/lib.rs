//! The same requests to chapter 3's server and to a server with the original Socket.IO in Node.
//! Where do the answers differ, and what does that mean?

use std::{
    collections::BTreeSet,
    iter,
    path::{Path, PathBuf},
    pin::Pin,
};

use anyhow::{anyhow, bail};
use lab::{
    Client, Event, Seen, Socket, Transport,
    client::{Answer, Error, Packet, Polling, WebSocket},
};
use pages::npm;
use serde_json::json;
use similar::TextDiff;
use tokio::process::Command;

/// Requests of a client, sent to both servers.
pub struct Comparison {
    /// The experiment's name.
    pub name: &'static str,
    /// The experiment's title.
    pub title: &'static str,
    /// Where the two servers differ, and what that means.
    pub differs: &'static str,
    send: fn(String) -> Sending,
}

type Sending = Pin<Box<dyn Future<Output = Result<Vec<String>, Error>>>>;

/// A session ID of the right form. No server made it.
const NOBODYS: &str = "AAAAAAAAAAAAAAAA";

/// All comparisons.
pub static COMPARISONS: [Comparison; 7] = [
    Comparison {
        name: "handshake",
        title: "The first request",
        differs: "By default, socketioxide takes 100 kB per request and Node takes 1 MB. A polling\n\
             client puts no more packets into one request than that.",
        send: |url| Box::pin(handshake(url)),
    },
    Comparison {
        name: "refusals",
        title: "Three requests that are refused",
        differs: "socketioxide sends the code as a string, Node as a number. The message is the\n\
             same.",
        send: |url| Box::pin(refusals(url)),
    },
    Comparison {
        name: "message",
        title: "The client connects to the namespace and receives a message",
        differs: "socketioxide sends the first ping at once, Node after 25 s. A client answers a\n\
             ping at any time. In socketioxide the session and the socket have the same ID. In\n\
             Node they have two IDs, so a server that shows a socket.id does not give the\n\
             session away.",
        send: |url| Box::pin(receive_a_message(url)),
    },
    Comparison {
        name: "no-websocket",
        title: "Five WebSockets that cannot begin",
        differs: "Both servers refuse all five. If a request has an `Upgrade`, Node gives the reason as\n\
             plain text.",
        send: |url| Box::pin(no_websocket(url)),
    },
    Comparison {
        name: "too-long",
        title: "A message that is too long for both servers",
        differs: "Both close a WebSocket with the code 1009, and refuse a POST with 413. After that the\n\
             session of a polling client goes on. Only the Rust server gives a reason as text.",
        send: |url| Box::pin(too_long(url)),
    },
    Comparison {
        name: "headers",
        title: "The headers of five answers",
        differs: "No cache may keep the answers of a session (`no-store`). The Rust server says this with\n\
             every answer. Node also says how long it keeps a connection open.",
        send: |url| Box::pin(headers(url)),
    },
    Comparison {
        name: "upgrade",
        title: "From polling to a WebSocket",
        differs: "There is no new difference: the packets and their order are the same.",
        send: |url| Box::pin(upgrade(url)),
    },
];

/// The path of the server in Node. npm fetches its packages the first time.
///
/// # Errors
/// Node.js or npm is missing, or npm cannot reach its registry.
pub async fn node_server() -> lab::Result<PathBuf> {
    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/node");
    let node = Command::new("node").arg("--version").output().await;
    if !node.is_ok_and(|node| node.status.success()) {
        bail!("Node.js is not installed: install it to run the server to compare with");
    }
    npm::ci(Path::new(FOLDER))
        .await
        .map_err(|error| match error {
            npm::Error::NoLockfile => anyhow!("{FOLDER}/package-lock.json cannot be read"),
            npm::Error::NoNpm => {
                anyhow!("npm is not installed: install it to fetch socket.io for Node")
            }
            npm::Error::Failed(_) => {
                anyhow!("`npm ci` in {FOLDER} failed: the first time it needs the network")
            }
        })?;
    Ok(Path::new(FOLDER).join("server.js"))
}

impl Comparison {
    /// Sends the requests to the server at `url`. Returns what went over the wire, line by line.
    /// Names replace the IDs, so that two recordings can be compared.
    ///
    /// # Errors
    /// When a connection breaks.
    pub async fn record(&self, url: &str) -> Result<Vec<String>, Error> {
        (self.send)(url.to_owned()).await.map(|lines| named(&lines))
    }
}

async fn handshake(url: String) -> Result<Vec<String>, Error> {
    let (client, seen) = Client::new("you", &url).recorded();
    Polling::open(&client).await?;
    Ok(lines(&seen))
}

async fn refusals(url: String) -> Result<Vec<String>, Error> {
    let (client, seen) = Client::new("you", &url).recorded();
    let unknown = format!("EIO=4&transport=polling&sid={NOBODYS}");
    for query in [
        &unknown,
        "EIO=4&transport=pigeon",
        "EIO=3&transport=polling",
    ] {
        client.get_once(&format!("/socket.io/?{query}")).await?;
    }
    Ok(lines(&seen))
}

async fn receive_a_message(url: String) -> Result<Vec<String>, Error> {
    let polling = Polling::open(&Client::new("you", &url)).await?;
    polling.send(&Packet::Message("0".to_owned())).await?;
    // A sorted set, because it is chance which packets share a poll.
    let mut came = BTreeSet::new();
    let is_welcome = |packet: &String| packet.starts_with("40");
    while !came.iter().any(is_welcome) {
        hear(&polling, &mut came).await?;
    }
    let friend = Client::new("friend", &url);
    let friend = Socket::connect(&friend, Transport::WebSocket, None).await?;
    friend.emit("message", &json!("hi"))?;
    while !came.contains(r#"42["message","hi"]"#) {
        hear(&polling, &mut came).await?;
    }
    let session = format!("the session is {}", polling.open.sid);
    let packets = came.into_iter().map(|packet| format!("← {packet}"));
    Ok(iter::once(session).chain(packets).collect())
}

async fn hear(polling: &Polling, came: &mut BTreeSet<String>) -> Result<(), Error> {
    for packet in polling.poll().await? {
        came.insert(packet.to_string());
    }
    Ok(())
}

async fn no_websocket(url: String) -> Result<Vec<String>, Error> {
    let client = Client::new("you", &url);
    let plain = client.get_once("/socket.io/?EIO=4&transport=websocket");
    let mut lines = vec![told("without Upgrade", &plain.await?)];
    for (what, name, value) in [
        ("another version", "sec-websocket-version", "99"),
        ("an invalid key", "sec-websocket-key", "x"),
        ("another protocol", "upgrade", "h2c"),
    ] {
        let client = client.clone().with_header(name, value);
        lines.push(told(what, &asked(&client, None).await?));
    }
    let unknown = asked(&client, Some(NOBODYS)).await?;
    lines.push(told("an unknown session", &unknown));
    Ok(lines)
}

fn told(what: &str, answer: &Answer) -> String {
    format!("{what} → {} {}", answer.status, answer.body.trim_end())
}

/// The answer to a request for a WebSocket.
async fn asked(client: &Client, sid: Option<&str>) -> Result<Answer, Error> {
    match WebSocket::open(client, sid).await {
        Ok(socket) => Ok(socket.answer),
        Err(Error::Refused(answer)) => Ok(answer),
        Err(error) => Err(error),
    }
}

async fn too_long(url: String) -> Result<Vec<String>, Error> {
    let message = Packet::Message("x".repeat(2_000_000));
    let client = Client::new("you", &url);
    let mut socket = WebSocket::open(&client, None).await?;
    socket.send(&message).await?;
    let end = loop {
        if let Err(error) = socket.receive().await {
            break error;
        }
    };
    let polling = Polling::open(&client).await?;
    let refused = match polling.send(&message).await {
        Ok(()) => "taken".to_owned(),
        Err(error) => error.to_string(),
    };
    polling.send(&Packet::Message("0".to_owned())).await?;
    let lines = [
        end.to_string(),
        format!("POST → {refused}"),
        "POST 40 → 200".to_owned(),
    ];
    Ok(lines.map(|line| line.trim_end().to_owned()).to_vec())
}

async fn headers(url: String) -> Result<Vec<String>, Error> {
    let client = Client::new("you", &url);
    let polling = "/socket.io/?EIO=4&transport=polling";
    let handshake = client.get_once(polling).await?;
    let open = Packet::parse(&handshake.body)?;
    let Packet::Open(open) = open else {
        return Err(Error::Unexpected(format!("no open packet: {open}")));
    };
    let session = format!("{polling}&sid={}", open.sid);
    let answers = [
        ("GET, a new session", handshake),
        ("POST", client.post(&session, "40".to_owned()).await?),
        ("GET, a poll", client.get_once(&session).await?),
        (
            "GET, refused",
            client.get_once(&format!("{polling}&sid={NOBODYS}")).await?,
        ),
        ("GET, a WebSocket", asked(&client, None).await?),
    ];
    let answers = answers.into_iter();
    Ok(answers
        .flat_map(|(what, answer)| with_headers(what, answer))
        .collect())
}

/// An answer's headers. Those whose values always differ have their names only.
fn with_headers(what: &str, answer: Answer) -> Vec<String> {
    let mut headers: Vec<_> = answer
        .headers
        .into_iter()
        .map(|(name, value)| match name.as_str() {
            "date" | "content-length" | "sec-websocket-accept" => format!("  {name}"),
            _ => format!("  {name}: {value}"),
        })
        .collect();
    headers.sort();
    headers.insert(0, format!("{what} → {}", answer.status));
    headers
}

async fn upgrade(url: String) -> Result<Vec<String>, Error> {
    let (client, seen) = Client::new("you", &url).recorded();
    Socket::connect(&client, Transport::Upgrade, None).await?;
    Ok(without_heartbeat(lines(&seen)))
}

/// The lines without pings and their answers, because it is chance when these come.
fn without_heartbeat(lines: Vec<String>) -> Vec<String> {
    let beats = [" 3 → 200 ok", "→ 200 2", "← 2", "→ 3"];
    lines
        .into_iter()
        .filter(|line| !beats.iter().any(|beat| line.ends_with(beat)))
        .map(|line| line.replace(" 2 ␞", "").replace(" ␞ 2", ""))
        .collect()
}

/// What a client sent and received.
fn lines(seen: &Seen) -> Vec<String> {
    let readable = |payload: &str| payload.trim_end().replace('\x1e', " ␞ ");
    let seen = seen.take().into_iter();
    seen.filter_map(|event| match event {
        Event::Exchange(exchange) => {
            let answer = match &exchange.outcome {
                Ok(answer) => format!("{} {}", answer.status, readable(&answer.body)),
                Err(reason) => reason.clone(),
            };
            let request = format!("{} {} {}", exchange.method, exchange.target, exchange.sent);
            Some(format!("{} → {}", request.trim_end(), answer.trim_end()))
        }
        Event::Frame { sent, text, .. } => Some(format!("{} {text}", if sent { '→' } else { '←' })),
        _ => None,
    })
    .collect()
}

/// The lines with names in place of IDs. An ID of both a session and a socket is `[session]`.
fn named(lines: &[String]) -> Vec<String> {
    let text = lines.join("\n");
    let mut named = text.clone();
    for (before, name) in [
        (" 0{\"sid\":\"", "session"),
        ("the session is ", "session"),
        ("40{\"sid\":\"", "socket"),
    ] {
        let id = text.split_once(before).and_then(|(_, rest)| {
            rest.split(|c: char| !c.is_ascii_alphanumeric() && !"-_".contains(c))
                .next()
        });
        if let Some(id) = id {
            named = named.replace(id, &format!("[{name}]"));
        }
    }
    named.lines().map(str::to_owned).collect()
}

/// Two recordings as one text. `-` marks a line that only `rust` has, `+` a line that only `node`
/// has.
pub fn compared(rust: &[String], node: &[String]) -> String {
    let (rust, node) = (rust.join("\n") + "\n", node.join("\n") + "\n");
    let diff = TextDiff::from_lines(&rust, &node);
    let lines = diff
        .iter_all_changes()
        .map(|change| format!("  {} {}", change.tag(), change.value()));
    lines.collect()
}
