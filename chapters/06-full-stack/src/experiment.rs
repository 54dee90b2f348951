//! What users do: they come through nginx, and write to each other.

pub mod between_polls;
pub mod burst;
pub mod reader;

use std::{net::Ipv4Addr, time::Duration};

use ch04_ip_hash::{Crowd, ip_hash};
use ch05_redis_pubsub::{experiment::LOST_AFTER, link::Private};
use lab::{Client, Event, Socket, Transport, client::Error};
use serde_json::json;
use tokio::time::{Instant, interval};

/// A user who is connected through nginx.
pub struct User {
    /// The user's name.
    pub name: String,
    /// The user's connection.
    pub socket: Socket,
}

/// An address whose clients nginx sends to the server with that index, of `servers`.
pub fn address_for(server: usize, servers: usize) -> Ipv4Addr {
    (0..=u8::MAX)
        .map(|number| Crowd::Spread.address(number))
        .find(|address| ip_hash(*address, servers) == server)
        .unwrap_or(Ipv4Addr::LOCALHOST)
}

impl User {
    /// A client with a user's name, at an address that nginx sends to one of three servers.
    pub fn client(url: &str, name: &str, server: usize) -> Client {
        Client::at(name, url, address_for(server, 3))
    }

    /// Connects the user whose name the client has.
    ///
    /// # Errors
    /// When the connection is refused.
    pub async fn connect_with(client: &Client, transport: Transport) -> Result<Self, Error> {
        let auth = json!({ "user": client.name() });
        let socket = Socket::connect(client, transport, Some(&auth)).await?;
        Ok(Self {
            name: client.name().to_owned(),
            socket,
        })
    }

    /// Both in one.
    ///
    /// # Errors
    /// When the connection is refused.
    pub async fn connect(
        url: &str,
        name: &str,
        server: usize,
        transport: Transport,
    ) -> Result<Self, Error> {
        Self::connect_with(&Self::client(url, name, server), transport).await
    }

    /// Writes to another user, and waits for the server's acknowledgement.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn say(&self, to: &str, text: &str) -> Result<(), Error> {
        self.socket
            .ask("say", &json!({ "to": to, "text": text }))
            .await
            .map(drop)
    }

    /// Writes to everybody else.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn shout(&self, text: &str) -> Result<(), Error> {
        self.socket.ask("shout", &json!(text)).await.map(drop)
    }

    /// Whether a message with that text comes, and from whom it should.
    pub async fn hears(&mut self, from: &str, text: &str) -> bool {
        self.next_message(LOST_AFTER)
            .await
            .is_some_and(|message| message.from == from && message.text == text)
    }

    async fn next_message(&mut self, within: Duration) -> Option<Private> {
        let message = self.socket.hear("message", within).await?;
        serde_json::from_value(message).ok()
    }
}

/// One user writes to another. Returns whether it arrived, and what was seen.
///
/// # Errors
/// When the sender's connection is gone.
pub async fn write(from: &User, to: &mut User, text: &str) -> Result<(bool, Vec<Event>), Error> {
    from.say(&to.name, text).await?;
    let arrived = to.hears(&from.name, text).await;
    let seen = vec![Event::Message {
        from: from.name.clone(),
        to: to.name.clone(),
        text: text.to_owned(),
        arrived,
    }];
    Ok((arrived, seen))
}

/// Writes twenty times a second until a message arrives. Returns how many were lost
/// before it, and how long that took; `None` if none arrives within `patience`.
///
/// # Errors
/// When the sender's connection is gone.
pub async fn write_until_heard(
    from: &User,
    to: &mut User,
    patience: Duration,
) -> Result<Option<(usize, Duration)>, Error> {
    const PAUSE: Duration = Duration::from_millis(50);
    let started = Instant::now();
    let mut turns = interval(PAUSE);
    let mut lost = 0;
    while started.elapsed() < patience {
        turns.tick().await;
        from.say(&to.name, "are you there?").await?;
        if to.next_message(PAUSE).await.is_some() {
            return Ok(Some((lost, started.elapsed())));
        }
        lost += 1;
    }
    Ok(None)
}
