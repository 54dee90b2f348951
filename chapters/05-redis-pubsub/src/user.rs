//! A user at the keyboard: for whoever wants to be Alice.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use ch01_express_pid::log;
use clap::Parser;
use lab::{Client, Socket, Transport};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

use crate::link::Private;

/// Connects as a user: prints what others write, and sends what you write, as `bob: hi`.
#[derive(Parser)]
pub struct User {
    /// The user's name.
    name: String,
    /// The server, or nginx in front of several.
    #[arg(default_value = "http://127.0.0.1:8000")]
    url: String,
    /// The address to stand for, where nginx chooses the server by it.
    #[arg(long, value_name = "ADDRESS")]
    from: Option<Ipv4Addr>,
}

impl User {
    /// Connects and talks, until the end of the input or of the connection.
    ///
    /// # Errors
    /// When the server refuses, or goes away.
    pub async fn run(self) -> Result<()> {
        let client = match self.from {
            Some(address) => Client::at(&self.name, &self.url, address),
            None => Client::new(&self.name, &self.url),
        };
        let auth = json!({ "user": self.name });
        let mut socket = Socket::connect(&client, Transport::Upgrade, Some(&auth))
            .await
            .with_context(|| format!("{} lets nobody in", self.url))?;
        let server = socket.owner.map(|owner| format!(", on server {owner}"));
        log(format!(
            "(connected{}; write to bob with `bob: hi`, Ctrl-D ends)",
            server.unwrap_or_default()
        ));

        let mut lines = BufReader::new(stdin()).lines();
        loop {
            tokio::select! {
                event = socket.next_event() => {
                    let (_, message) = event.context("the server has closed the connection")?;
                    show(message);
                }
                line = lines.next_line() => {
                    let Some(line) = line? else { return Ok(()) };
                    say(&socket, &line).await?;
                }
            }
        }
    }
}

fn show(message: Value) {
    if let Ok(Private { from, text, .. }) = serde_json::from_value(message) {
        log(format!("{from}: {text}"));
    }
}

async fn say(socket: &Socket, line: &str) -> Result<()> {
    let Some((to, text)) = line.split_once(':') else {
        log("(write the user's name first: `bob: hi`)");
        return Ok(());
    };
    let message = json!({ "to": to.trim(), "text": text.trim() });
    let effort = socket.ask("say", &message).await?;
    log(format!("(the server says: {effort})"));
    Ok(())
}
