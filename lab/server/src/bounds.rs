//! What one client may take of a server, whatever it sends, or does not send.
//!
//! `axum::serve` waits for ever for a request that was begun, as hyper does without a
//! timer. Here a client that sends nothing, or a byte now and then (slowloris), loses its
//! connection, and no request takes more memory than the server has set aside for it.

use std::{convert::Infallible, net::SocketAddr, pin::pin, time::Duration};

use axum::{Router, http::StatusCode};
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

use crate::log;

/// From the first moment of a connection, or from the end of the request before, until a
/// request's head is there.
pub const HEAD_TIME: Duration = Duration::from_secs(30);

/// Bytes that the head of a request may have, all its headers together, as in Node.js.
pub const HEAD_SIZE: usize = 16 * 1024;

/// Until a request is answered, its body read. More than a held poll takes, which a ping
/// ends after 25 s.
pub const ANSWER_TIME: Duration = Duration::from_mins(1);

/// After a connection could not be taken, most likely for want of descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// A shortage is over once every connection could be taken for so long.
const QUIET: Duration = Duration::from_secs(10);

/// What carries requests and answers: a TCP connection, or one with a guard before it.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> Connection for C {}

/// Serves `app` within these bounds until `end` is ready, then lets open requests finish.
pub async fn serve_bounded(listener: TcpListener, app: Router, end: impl Future<Output = ()>) {
    serve_guarded(listener, |stream, _client| stream, app, end, async {}).await;
}

/// The same; `guard` may put a guard of its own before each connection, and `drain` runs
/// once nobody is accepted any more.
pub async fn serve_guarded<C: Connection>(
    listener: TcpListener,
    guard: impl Fn(TcpStream, SocketAddr) -> C,
    app: Router,
    end: impl Future<Output = ()>,
    drain: impl Future<Output = ()>,
) {
    let in_time = TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, ANSWER_TIME);
    let app = app.layer(in_time);
    // Dropping `serving` asks every connection to end; `all_closed` is the news that all did.
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
                // As in Node.js: a small message is sent at once, and waits for no other
                // (Nagle's algorithm). Where that cannot be had, it is only slower.
                let _slower = stream.set_nodelay(true);
                let connection = serve_one(guard(stream, client), app.clone(), ending.clone());
                let open = open.clone();
                tokio::spawn(async move {
                    // How it ended is the client's affair.
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
    // A client that still got in while its session's place is being closed would be turned
    // away for good. Refused by the port, it tries again.
    drop((listener, serving, open));
    drain.await;
    all_closed.recv().await;
}

/// Whether connections could be taken of late. Where clients come and go, one gets in now
/// and then, and the next does not: that is one shortage, not many.
#[derive(Default)]
struct Shortage {
    last: Option<Instant>,
}

impl Shortage {
    /// A connection could not be taken. Returns whether a shortage begins with that.
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
    fn a_shortage_is_said_once_and_again_after_a_quiet_time() {
        let mut shortage = Shortage::default();
        let start = Instant::now();
        let seconds = |seconds| start + Duration::from_secs(seconds);
        assert!(shortage.is_news(start));
        // However long it goes on: each failure is soon after the one before.
        for second in 1..60 {
            assert!(!shortage.is_news(seconds(second)), "after {second} s");
        }
        assert!(shortage.is_news(seconds(59) + QUIET));
        assert!(!shortage.is_news(seconds(60) + QUIET));
    }
}
