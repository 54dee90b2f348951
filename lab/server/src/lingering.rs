//! Closes connections so that the answer arrives, and so that nginx does not give up the server.
//!
//! A server may answer before it has read a request's body, for example with 404. If it then closes
//! the connection, the kernel sees unread bytes and resets the connection (RFC 9112, section 9.6).
//! The reset can destroy the answer on its way. nginx takes that for a failed server, and gives it
//! up for ten seconds (`max_fails`, `fail_timeout`). So here, the server closes its own direction
//! first, and reads what the client still sends.

use std::{
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::{
        StatusCode,
        header::{CONNECTION, HeaderValue},
    },
    middleware::Next,
    response::Response,
};
use hyper::body::{Body as _, Frame, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// How long a client may go on sending after the server has closed its own direction. It is less
/// than a server may take to end.
const LINGER_TIME: Duration = Duration::from_secs(2);

/// How many bytes it may still send. It is more than nginx lets a client send (1 MiB).
const LINGER_SIZE: usize = 8 * 1024 * 1024;

/// A connection that is read to its end when it is closed, with [`LINGER_TIME`] and [`LINGER_SIZE`]
/// as limits.
pub(crate) struct Lingering<C> {
    stream: C,
    /// What the client may still send, after the server has closed its own direction.
    allowed: Option<Allowed>,
}

struct Allowed {
    time: Pin<Box<Sleep>>,
    bytes: usize,
}

impl<C> Lingering<C> {
    pub(crate) fn new(stream: C) -> Self {
        Self {
            stream,
            allowed: None,
        }
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        pin!(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        pin!(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        pin!(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, allowed } = &mut *self;
        if allowed.is_none() {
            ready!(pin!(&mut *stream).poll_shutdown(cx))?;
        }
        let allowed = allowed.get_or_insert_with(|| Allowed {
            time: Box::pin(sleep(LINGER_TIME)),
            bytes: LINGER_SIZE,
        });
        let mut buffer = [0; 8 * 1024];
        while allowed.bytes > 0 && allowed.time.as_mut().poll(cx).is_pending() {
            let mut rest = ReadBuf::new(&mut buffer);
            let read = ready!(pin!(&mut *stream).poll_read(cx, &mut rest));
            if read.is_err() || rest.filled().is_empty() {
                break;
            }
            allowed.bytes = allowed.bytes.saturating_sub(rest.filled().len());
        }
        Poll::Ready(Ok(()))
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Lingering<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        pin!(&mut self.stream).poll_read(cx, buffer)
    }
}

/// Announces in the answer that the connection is closed, if the request's body was not read.
/// Otherwise nginx might send its next request over a connection that is being closed.
pub(crate) async fn announce_close(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let is_read = Arc::new(AtomicBool::new(false));
    let watched = |body| {
        let is_read = Arc::clone(&is_read);
        Body::new(Watched { body, is_read })
    };
    let mut response = next.run(request.map(watched)).await;
    if !is_read.load(Relaxed) && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    response
}

/// A body that notices when it was read to its end.
struct Watched {
    body: Body,
    is_read: Arc<AtomicBool>,
}

impl hyper::body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(pin!(&mut self.body).poll_frame(cx));
        if frame.is_none() || self.body.is_end_stream() {
            self.is_read.store(true, Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
