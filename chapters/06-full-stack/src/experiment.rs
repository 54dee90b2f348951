//! What users do: they connect through nginx, and write to each other.

use std::{net::Ipv4Addr, time::Duration};

use ch04_ip_hash::{Addresses, ip_hash};
use ch05_redis_pubsub::{experiment::LOST_AFTER, link::Private};
use lab::{Client, Socket, Transport, client::Error};
use serde_json::json;
use tokio::time::{Instant, interval};

/// A user who is connected through nginx.
pub struct User {
    /// The user's name.
    pub name: String,
    /// The user's connection.
    pub socket: Socket,
}

/// A client address that nginx, with `ip_hash`, sends to the server with this index of `servers`.
pub fn address_for(server: usize, servers: usize) -> Ipv4Addr {
    (0..=u8::MAX)
        .map(|number| Addresses::ManySubnets.address(number))
        .find(|address| ip_hash(*address, servers) == server)
        .unwrap_or(Ipv4Addr::LOCALHOST)
}

impl User {
    /// A client with a user's name. nginx sends it to the server with this index, of three.
    pub fn client(url: &str, name: &str, server: usize) -> Client {
        Client::at(name, url, address_for(server, 3))
    }

    /// Connects the user whose name the client has.
    pub async fn connect_with(client: &Client, transport: Transport) -> Result<Self, Error> {
        let auth = json!({ "user": client.name() });
        let socket = Socket::connect(client, transport, Some(&auth)).await?;
        Ok(Self {
            name: client.name().to_owned(),
            socket,
        })
    }

    /// Connects a user to the server with this index, of three.
    pub async fn connect(
        url: &str,
        name: &str,
        server: usize,
        transport: Transport,
    ) -> Result<Self, Error> {
        Self::connect_with(&Self::client(url, name, server), transport).await
    }

    /// Writes to another user. Returns whether the server acknowledges that it passed the message
    /// on.
    pub async fn say(&self, to: &str, text: &str) -> Result<bool, Error> {
        let message = json!({ "to": to, "text": text });
        let answer = self.socket.ask("say", &message).await?;
        Ok(answer == true)
    }

    /// Writes to all other users.
    pub async fn shout(&self, text: &str) -> Result<bool, Error> {
        let answer = self.socket.ask("shout", &json!(text)).await?;
        Ok(answer == true)
    }

    /// Whether the next message has this sender and this text.
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

/// One user writes to another. Returns whether the message arrived.
pub async fn write(from: &User, to: &mut User, text: &str) -> Result<bool, Error> {
    from.say(&to.name, text).await?;
    Ok(to.hears(&from.name, text).await)
}

/// Writes twenty times a second until a message arrives. Returns how many were lost before it, and
/// how long it took. `None`: no message arrived within `patience`.
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
