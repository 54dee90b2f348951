//! How a Socket.IO client connects: the namespace's welcome, and the upgrade to a WebSocket.

use serde_json::Value;

use super::{Client, Error, Packet, Polling, WebSocket};

/// Waits for the namespace's welcome, `40{"sid":…}`, and answers pings meanwhile. Packets behind
/// it in the same payload go to `early`.
pub(super) async fn welcome_over_polling(
    polling: &Polling,
    early: &mut Vec<Packet>,
) -> Result<String, Error> {
    loop {
        let mut id = None;
        for packet in polling.poll().await? {
            match packet {
                Packet::Ping(_) => polling.send(&Packet::Pong(String::new())).await?,
                Packet::Message(message) if id.is_none() => id = Some(welcome(&message)?),
                Packet::Message(_) => early.push(packet),
                _ => {}
            }
        }
        if let Some(id) = id {
            return Ok(id);
        }
    }
}

pub(super) async fn welcome_over_websocket(socket: &mut WebSocket) -> Result<String, Error> {
    loop {
        match socket.receive().await? {
            Packet::Ping(_) => socket.send(&Packet::Pong(String::new())).await?,
            Packet::Message(message) => return welcome(&message),
            _ => {}
        }
    }
}

/// Reads the socket's ID from a connect packet. A connect error, `4{"message":…}`, becomes an
/// error with the server's text.
fn welcome(message: &str) -> Result<String, Error> {
    let unexpected = || Error::Unexpected(format!("not the namespace's welcome: {message}"));
    let refusal: Option<Value> = message
        .strip_prefix('4')
        .and_then(|json| serde_json::from_str(json).ok());
    if let Some(reason) = refusal.as_ref().and_then(|error| error["message"].as_str()) {
        return Err(Error::Unexpected(reason.to_owned()));
    }
    let payload: Value = message
        .strip_prefix('0')
        .and_then(|json| serde_json::from_str(json).ok())
        .ok_or_else(unexpected)?;
    let id = payload["sid"].as_str().ok_or_else(unexpected)?;
    Ok(id.to_owned())
}

/// Moves a session from polling to a WebSocket, as the specification's section "Upgrade" says.
pub(super) async fn upgrade(
    client: &Client,
    polling: &Polling,
    early: &mut Vec<Packet>,
) -> Result<WebSocket, Error> {
    let mut socket = WebSocket::open(client, Some(&polling.open.sid)).await?;
    socket.send(&Packet::Ping("probe".to_owned())).await?;
    // The client keeps polling until the probe is answered. Then a noop ends the held poll, so
    // that no packet is lost.
    let mut probed = false;
    while !probed {
        let poll = polling.poll();
        tokio::pin!(poll);
        let packets = loop {
            tokio::select! {
                packets = &mut poll => break packets?,
                packet = socket.receive(), if !probed => match packet? {
                    Packet::Pong(data) if data == "probe" => probed = true,
                    other => return Err(Error::Unexpected(format!("no answer to the probe: {other}"))),
                },
            }
        };
        for packet in packets {
            match packet {
                Packet::Ping(_) => polling.send(&Packet::Pong(String::new())).await?,
                other => early.push(other),
            }
        }
    }
    socket.send(&Packet::Upgrade).await?;
    Ok(socket)
}
