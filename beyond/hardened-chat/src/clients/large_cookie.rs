//! WebSockets whose handshake has a cookie of a given size.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// The size of a large cookie in bytes. Browsers accept at least 4,096 (RFC 6265, section 6.1).
pub const LARGE: usize = 4_000;

/// The message that joins the namespace.
const HELLO: &[u8] = br#"40{"user":"a"}"#;

/// Opens `count` WebSockets, one after the other.
///
/// # Errors
/// When one of them is refused.
pub async fn open_all(server: SocketAddr, count: usize, cookie: usize) -> Result<Vec<TcpStream>> {
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..count {
        sockets.push(open(server, cookie).await?);
    }
    Ok(sockets)
}

/// Opens a WebSocket with a cookie of that many bytes, and joins the namespace.
///
/// # Errors
/// When it is refused.
pub async fn open(server: SocketAddr, cookie: usize) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(server).await?;
    let request = format!(
        "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {server}\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Cookie: {}\r\n\r\n",
        "x".repeat(cookie)
    );
    stream.write_all(request.as_bytes()).await?;
    read_until(&mut stream, "\"maxPayload\":").await?;
    // A text frame, masked with zeros (RFC 6455, section 5.3).
    let length = 0x80 | u8::try_from(HELLO.len()).context("the message is short")?;
    let join = [&[0x81, length, 0, 0, 0, 0], HELLO].concat();
    stream.write_all(&join).await?;
    read_until(&mut stream, "40{\"sid\":").await?;
    Ok(stream)
}

async fn read_until(stream: &mut TcpStream, wanted: &str) -> Result<()> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if text.contains(wanted) {
            return Ok(());
        }
        let said = text.into_owned();
        let read = stream.read_buf(&mut bytes).await?;
        ensure!(read > 0, "the server closed the connection after {said:?}");
    }
}
