//! The same requests to the chapter's server and to the original one in Node: where do the
//! answers differ, and why?

use std::{
    collections::BTreeSet,
    iter,
    path::{Path, PathBuf},
    pin::Pin,
};

use anyhow::{anyhow, bail};
use lab::{
    Client, Event, Socket, Transport,
    client::{Error, PATIENCE, Packet, Polling, WebSocket},
};
use pages::npm;
use serde_json::json;
use similar::TextDiff;
use tokio::{process::Command, time::timeout};

/// Something that a client does.
pub struct Scene {
    /// What it is.
    pub title: &'static str,
    /// Where the two servers differ in it, and what that means.
    pub differs: &'static str,
    play: fn(String) -> Play,
}

type Play = Pin<Box<dyn Future<Output = Result<Vec<String>, Error>>>>;

/// All of them.
pub const SCENES: [Scene; 5] = [
    Scene {
        title: "The first request",
        differs: "socketioxide takes 100 kB a request unless it is told otherwise, Node 1 MB. A client that\n\
             polls puts no more packets into one request than fit.",
        play: |url| Box::pin(first_request(url)),
    },
    Scene {
        title: "What is refused",
        differs: "socketioxide sends the code as a string, Node as a number. The message is the same.",
        play: |url| Box::pin(refused(url)),
    },
    Scene {
        title: "Into the namespace, and a message from somebody else",
        differs: "socketioxide pings at once, Node after its first 25 s; a client answers whenever a ping\n\
             comes. And with socketioxide the session's ID is the socket's too; Node has two. Who\n\
             shows a socket.id there has not given the session away.",
        play: |url| Box::pin(into_the_namespace(url)),
    },
    Scene {
        title: "A WebSocket for a session that is not there",
        differs: "Both refuse it; Node says why in plain text here, and not in JSON.",
        play: |url| Box::pin(unknown_session(url)),
    },
    Scene {
        title: "From polling to a WebSocket",
        differs: "In nothing that was not said above: the same packets, in the same order.",
        play: |url| Box::pin(upgrade(url)),
    },
];

/// The server in Node, whose packages npm fetches on first need.
///
/// # Errors
/// One sentence: Node.js or npm is missing, or npm cannot reach its registry.
pub async fn node_server() -> lab::Result<PathBuf> {
    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/node");
    let node = Command::new("node").arg("--version").output().await;
    if !node.is_ok_and(|node| node.status.success()) {
        bail!("Node.js is not installed: install it to have something to compare with");
    }
    npm::ci(Path::new(FOLDER))
        .await
        .map_err(|error| match error {
            npm::Error::NoLockfile => anyhow!("{FOLDER}/package-lock.json cannot be read"),
            npm::Error::NoNpm => anyhow!("npm is not installed: it fetches socket.io for Node"),
            npm::Error::Failed(_) => {
                anyhow!("`npm ci` in {FOLDER} failed: it needs the network, once")
            }
        })?;
    Ok(Path::new(FOLDER).join("server.js"))
}

impl Scene {
    /// Plays it to the server at `url`. Returns what went over the wire, a line each; IDs are
    /// given names, so that two recordings can be compared.
    ///
    /// # Errors
    /// When a connection breaks that should not.
    pub async fn play(&self, url: &str) -> Result<Vec<String>, Error> {
        (self.play)(url.to_owned()).await.map(|lines| named(&lines))
    }
}

async fn first_request(url: String) -> Result<Vec<String>, Error> {
    let client = Client::new("you", &url);
    Polling::open(&client).await?;
    Ok(lines(&client))
}

async fn refused(url: String) -> Result<Vec<String>, Error> {
    let client = Client::new("you", &url);
    for query in [
        "EIO=4&transport=polling&sid=nobody",
        "EIO=4&transport=pigeon",
        "EIO=3&transport=polling",
    ] {
        client.get_once(&format!("/socket.io/?{query}")).await?;
    }
    Ok(lines(&client))
}

async fn into_the_namespace(url: String) -> Result<Vec<String>, Error> {
    let polling = Polling::open(&Client::new("you", &url)).await?;
    polling.send(&Packet::Message("0".to_owned())).await?;
    // In the order of their text: which of them share a poll is chance.
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

async fn unknown_session(url: String) -> Result<Vec<String>, Error> {
    let client = Client::new("you", &url);
    let end = match WebSocket::open(&client, Some("nobody")).await {
        Ok(mut socket) => match timeout(PATIENCE, socket.receive()).await {
            Ok(Ok(packet)) => format!("← {packet}"),
            Ok(Err(_)) => "closed".to_owned(),
            Err(_) => "open".to_owned(),
        },
        Err(_) => "refused".to_owned(),
    };
    let mut lines = lines(&client);
    lines.push(end);
    Ok(lines)
}

async fn upgrade(url: String) -> Result<Vec<String>, Error> {
    let client = Client::new("you", &url);
    Socket::connect(&client, Transport::Upgrade, None).await?;
    Ok(without_heartbeat(lines(&client)))
}

/// The lines without pings and their answers: when they come is chance.
fn without_heartbeat(lines: Vec<String>) -> Vec<String> {
    let beats = [" 3 → 200 ok", "→ 200 2", "← 2", "→ 3"];
    lines
        .into_iter()
        .filter(|line| !beats.iter().any(|beat| line.ends_with(beat)))
        .map(|line| line.replace(" 2 ␞", "").replace(" ␞ 2", ""))
        .collect()
}

/// What a client sent and got.
fn lines(client: &Client) -> Vec<String> {
    let readable = |payload: &str| payload.trim_end().replace('\x1e', " ␞ ");
    let seen = client.take_seen().into_iter();
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

/// The lines, with names in place of IDs. What is both has the session's.
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

/// Two recordings as one text: what only the first has is marked `-`, what only the second has
/// is marked `+`.
pub fn compared(rust: &[String], node: &[String]) -> String {
    let (rust, node) = (rust.join("\n") + "\n", node.join("\n") + "\n");
    let diff = TextDiff::from_lines(&rust, &node);
    let lines = diff
        .iter_all_changes()
        .map(|change| format!("  {} {}", change.tag(), change.value()));
    lines.collect()
}
