//! Disconnects a client that stops reading.
//!
//! The client's TCP window closes, the kernel's buffers fill, and then the server's own: it keeps
//! messages for a client that never takes them. The heartbeat of Socket.IO notices that within
//! 45 s. But it ends only the session, and not a write that waits. So each connection has a limit:
//! if a write makes no progress for [`PATIENCE`], the connection ends.

use std::{
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use lab_server::log;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};

/// How long a client may read nothing while the server writes to it.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A client's connection.
pub(crate) struct Connection {
    stream: TcpStream,
    client: SocketAddr,
    patience: Duration,
    /// While a write waits: when it has waited too long.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream, client: SocketAddr) -> Self {
        Self {
            stream,
            client,
            patience: PATIENCE,
            waiting: None,
        }
    }

    /// Returns the outcome of a write, and limits how long writes wait.
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
            .get_or_insert_with(|| Box::pin(sleep(self.patience)));
        ready!(patience.as_mut().poll(cx));
        self.waiting = None;
        log(format!(
            "{} has read nothing for {} s: disconnected",
            self.client,
            self.patience.as_secs_f64()
        ));
        // Both directions, so that the task that reads from the client ends too.
        // If this fails, the connection is closed already.
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

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        time::timeout,
    };

    use super::*;

    const BOUND: Duration = Duration::from_millis(200);

    /// Writes until that fails.
    async fn write_on(connection: &mut (impl AsyncWrite + Unpin)) -> io::Error {
        loop {
            if let Err(error) = connection.write_all(&[0; 4096]).await {
                return error;
            }
        }
    }

    /// The server's end of a connection, and the client's end, which reads nothing.
    async fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        (listener.accept().await.unwrap().0, client)
    }

    #[tokio::test]
    async fn a_write_to_a_client_that_does_not_read_waits_for_ever_and_here_it_ends() {
        let (mut stream, _client) = connected().await;
        let waits = timeout(10 * BOUND, write_on(&mut stream)).await;
        assert!(waits.is_err(), "{waits:?}");

        let (stream, client) = connected().await;
        let mut connection = Connection {
            client: client.local_addr().unwrap(),
            stream,
            patience: BOUND,
            waiting: None,
        };
        let ended = timeout(10 * BOUND, write_on(&mut connection)).await;
        assert_eq!(ended.unwrap().kind(), io::ErrorKind::TimedOut);
        // The task that reads from the client ends too.
        assert_eq!(connection.read(&mut [0]).await.unwrap(), 0);
    }
}
