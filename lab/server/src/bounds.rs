//! Limits the memory and the time that one client can use, whatever it sends.
//!
//! `axum::serve` waits without a limit for the rest of a request, as hyper does without a timer.
//! Here, a client that sends nothing, or a byte now and then (slowloris), loses its connection. The
//! size of a request's head is limited too.

use std::{convert::Infallible, net::SocketAddr, pin::pin, time::Duration};

use axum::{Router, http::StatusCode, middleware::from_fn};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    time::{Instant, sleep},
};
use tower_http::timeout::TimeoutLayer;

use crate::{
    console::log,
    lingering::{Lingering, announce_close},
};

/// How long the head of a request may take. The time begins with the connection, or with the end of
/// the request before.
pub const HEAD_TIME: Duration = Duration::from_secs(30);

/// The most bytes in the head of a request, with all its headers. Node.js has the same limit.
pub const HEAD_SIZE: usize = 16 * 1024;

/// How long a request may take until it is answered. It is more than a held poll takes: a ping ends
/// the poll after 25 s. It is less than the 60 s after which nginx takes the server for a failed one
/// (`proxy_read_timeout`).
pub const ANSWER_TIME: Duration = Duration::from_secs(45);

/// The pause after a connection could not be accepted. Mostly, the process has no descriptors left.
const PAUSE: Duration = Duration::from_millis(50);

/// A shortage is over if every connection could be accepted for this time.
const QUIET: Duration = Duration::from_secs(10);

/// A TCP connection, or a wrapped one.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> Connection for C {}

/// Serves `app` with these limits until `end` is ready. Then it lets open requests finish.
pub async fn serve_bounded(listener: TcpListener, app: Router, end: impl Future<Output = ()>) {
    serve_guarded(listener, |stream, _client| stream, app, end, async {}).await;
}

/// The same, but `guard` may wrap each connection. `drain` runs when the server accepts no more
/// connections.
pub async fn serve_guarded<C: Connection>(
    listener: TcpListener,
    guard: impl Fn(TcpStream, SocketAddr) -> C,
    app: Router,
    end: impl Future<Output = ()>,
    drain: impl Future<Output = ()>,
) {
    let in_time = TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, ANSWER_TIME);
    let app = app.layer(in_time).layer(from_fn(announce_close));
    // Dropping `serving` asks every connection to end. `all_closed` ends when all of them have ended.
    let (serving, ending) = watch::channel(());
    let (open, mut all_closed) = mpsc::channel::<Infallible>(1);
    let mut end = pin!(end);
    let mut shortage = Shortage::default();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut end => break,
        };
        match accepted {
            Ok((stream, client)) => {
                // As in Node.js, a small message is sent at once (no Nagle's algorithm). If this
                // fails, messages are only slower.
                let _slower = stream.set_nodelay(true);
                let stream = Lingering::new(guard(stream, client));
                let connection = serve_one(stream, app.clone(), ending.clone());
                let open = open.clone();
                tokio::spawn(async move {
                    // A broken connection is no error of the server.
                    let _how = connection.await;
                    drop(open);
                });
            }
            Err(error) => {
                if shortage.is_news(Instant::now()) {
                    log(format!("no more connections can be taken for now: {error}"));
                }
                sleep(PAUSE).await;
            }
        }
    }
    // During `drain`, a new session would be closed at once, and its client would not connect
    // again. A client whose connection is refused tries again.
    drop((listener, serving, open));
    drain.await;
    all_closed.recv().await;
}

/// Remembers the last connection that could not be accepted. During a shortage, some connections
/// are still accepted. It is one shortage all the same, and it is logged once.
#[derive(Default)]
struct Shortage {
    last: Option<Instant>,
}

impl Shortage {
    /// A connection could not be accepted. Returns whether a new shortage begins with it.
    fn is_news(&mut self, now: Instant) -> bool {
        let before = self.last.replace(now);
        before.is_none_or(|before| now.duration_since(before) >= QUIET)
    }
}

async fn serve_one(
    stream: impl Connection,
    app: Router,
    mut ending: watch::Receiver<()>,
) -> hyper::Result<()> {
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME)
            .max_buf_size(HEAD_SIZE)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app))
            .with_upgrades()
    );
    tokio::select! {
        served = connection.as_mut() => served,
        _ = ending.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_is_logged_once_and_again_after_a_quiet_time() {
        let mut shortage = Shortage::default();
        let start = Instant::now();
        let seconds = |seconds| start + Duration::from_secs(seconds);
        assert!(shortage.is_news(start));
        // Also in a long shortage: each failure comes soon after the one before.
        for second in 1..60 {
            assert!(!shortage.is_news(seconds(second)), "after {second} s");
        }
        assert!(shortage.is_news(seconds(59) + QUIET));
        assert!(!shortage.is_news(seconds(60) + QUIET));
    }
}
