//! A user at the keyboard.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use clap::Parser;
use lab::{Client, Socket, Transport, client::Error};
use lab_server::log;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

use crate::link::Private;

/// Connects as a user. Prints the messages of others, and sends what you write: `bob: hi`.
#[derive(Parser)]
pub struct User {
    /// The user's name.
    name: String,
    /// The server, or nginx in front of several servers.
    #[arg(default_value = "http://127.0.0.1:8000")]
    url: String,
    /// The client's address, for configs in which nginx chooses the server by it.
    #[arg(long, value_name = "ADDRESS")]
    from: Option<Ipv4Addr>,
    /// The token for the name, if the server needs one.
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
}

impl User {
    /// Connects and talks, until the input or the connection ends.
    pub async fn run(self) -> Result<()> {
        let client = match self.from {
            Some(address) => Client::at(&self.name, &self.url, address),
            None => Client::new(&self.name, &self.url),
        };
        let mut auth = json!({ "user": self.name });
        if let Some(token) = &self.token {
            auth["token"] = json!(token);
        }
        let mut socket = Socket::connect(&client, Transport::Upgrade, Some(&auth))
            .await
            .with_context(|| format!("{} cannot connect to {}", self.name, self.url))?;
        let server = socket.owner.map(|owner| format!(", on server {owner}"));
        let server = server.unwrap_or_default();
        log(format!(
            "(connected{server}; write to bob with `bob: hi`, Ctrl-D ends)"
        ));

        let mut lines = BufReader::new(stdin()).lines();
        loop {
            tokio::select! {
                event = socket.next_event() => {
                    let (_, message) = event.context("the server has closed the connection")?;
                    if let Ok(Private { from, text, .. }) = serde_json::from_value(message) {
                        log(format!("{from}: {text}"));
                    }
                }
                line = lines.next_line() => {
                    let Some(line) = line? else { return Ok(()) };
                    say(&socket, &line).await?;
                }
            }
        }
    }
}

async fn say(socket: &Socket, line: &str) -> Result<()> {
    let Some((to, text)) = line.split_once(':') else {
        log("(write the user's name first: `bob: hi`)");
        return Ok(());
    };
    let message = json!({ "to": to.trim(), "text": text.trim() });
    match socket.ask("say", &message).await {
        Ok(answer) => log(format!("(the server answers: {answer})")),
        Err(Error::TooSlow(_)) => log("(the server does not answer)"),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
