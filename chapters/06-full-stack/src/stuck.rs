//! A client that stops reading is dropped.
//!
//! Its TCP window closes, the kernel's buffers fill, and then the server's own: it would
//! keep messages for somebody who never takes them. Socket.IO's heartbeat notices within
//! 45 s, but ends the session only, and not a write that waits for ever. So each
//! connection has a bound of its own: a write that makes no progress for [`PATIENCE`]
//! ends it, whatever it carries.

use std::{
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::serve::Listener;
use ch01_express_pid::log;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    time::{Sleep, sleep},
};

/// How long a client may take no byte of what is being sent to it.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A listener whose connections have that bound.
pub(crate) struct Impatient(pub(crate) TcpListener);

impl Listener for Impatient {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let (stream, client) = Listener::accept(&mut self.0).await;
        let connection = Connection {
            stream,
            client,
            waiting: None,
        };
        (connection, client)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// A client's connection.
pub(crate) struct Connection {
    stream: TcpStream,
    client: SocketAddr,
    /// The end of patience, while a write waits for the client.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Connection {
    /// Passes a write's outcome on, and measures how long writes wait.
    fn bound<T>(
        &mut self,
        outcome: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.waiting = None;
            return outcome;
        }
        let patience = self
            .waiting
            .get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
        ready!(patience.as_mut().poll(cx));
        self.waiting = None;
        log(format!(
            "{} has read nothing for {} s: dropped",
            self.client,
            PATIENCE.as_secs()
        ));
        // Both ways: whoever waits for the client's next message hears of the end too.
        // It is closed already if this fails.
        let _closed = rustix::net::shutdown(&self.stream, rustix::net::Shutdown::Both);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = pin!(&mut self.stream).poll_write(cx, bytes);
        self.bound(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = pin!(&mut self.stream).poll_write_vectored(cx, bytes);
        self.bound(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        pin!(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        pin!(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        pin!(&mut self.stream).poll_read(cx, buffer)
    }
}
