//! HTTP/1.1, one connection at a time, every byte counted.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request,
    body::Bytes,
    client::conn::http1::{self, SendRequest},
    header::{CONTENT_TYPE, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, SET_COOKIE},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::tungstenite::{Error as Tungstenite, error::ProtocolError};
use tokio_util::io::{InspectReader, InspectWriter};

use super::{Client, Counters, Error, closed, lock};
use crate::seen::event::{Answered, Event, Exchange, upstreams};

/// An HTTP answer, read to its end.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body, as text.
    pub body: String,
    /// The headers, in the order in which they came.
    pub headers: Vec<(String, String)>,
    /// The servers that nginx asked, in order (`X-Upstream`); empty without nginx.
    pub tried: Vec<SocketAddr>,
}

impl Answer {
    /// The server that answered, if nginx named it.
    pub fn server(&self) -> Option<SocketAddr> {
        self.tried.last().copied()
    }
}

/// One TCP connection. Requests go through it one after the other.
pub struct Connection {
    requests: SendRequest<Full<Bytes>>,
}

impl Connection {
    /// Whether another request can be sent.
    fn is_open(&self) -> bool {
        !self.requests.is_closed()
    }
}

impl Client {
    /// `GET`s a path over a new connection, as `curl` does.
    ///
    /// # Errors
    /// When there is no answer. An HTTP error is an answer.
    pub async fn get_once(&self, target: &str) -> Result<Answer, Error> {
        let mut connection = self.connect().await?;
        self.get_over(&mut connection, target).await
    }

    /// `GET`s a path over the given connection.
    ///
    /// # Errors
    /// When there is no answer: the connection was closed, or is closed now.
    pub async fn get_over(
        &self,
        connection: &mut Connection,
        target: &str,
    ) -> Result<Answer, Error> {
        self.exchange(
            connection,
            Method::GET,
            target,
            String::new(),
            self.inner.who.patience,
        )
        .await
    }

    /// `GET`s a path as a browser does: over an idle connection, or else over a new one. If the
    /// idle connection was closed meanwhile, the request is sent again over a new one.
    pub async fn get(&self, target: &str, patience: Duration) -> Result<Answer, Error> {
        self.browse(Method::GET, target, String::new(), patience)
            .await
    }

    /// `POST`s a body of text.
    pub async fn post(&self, target: &str, body: String) -> Result<Answer, Error> {
        self.browse(Method::POST, target, body, self.inner.who.patience)
            .await
    }

    async fn browse(
        &self,
        method: Method,
        target: &str,
        body: String,
        patience: Duration,
    ) -> Result<Answer, Error> {
        let idle = {
            let mut idle = lock(&self.inner.idle);
            idle.retain(Connection::is_open);
            idle.pop()
        };
        if let Some(mut connection) = idle {
            let outcome = self
                .exchange(
                    &mut connection,
                    method.clone(),
                    target,
                    body.clone(),
                    patience,
                )
                .await;
            // The server may have closed it just as the request was on its way. A browser
            // sends it again, if it may run twice. Source: RFC 9110, section 9.2.2.
            let was_closed = matches!(outcome, Err(Error::Broken(_)));
            if !(was_closed && method.is_idempotent()) {
                let answer = outcome?;
                lock(&self.inner.idle).push(connection);
                return Ok(answer);
            }
        }
        let mut connection = self.connect().await?;
        let answer = self
            .exchange(&mut connection, method, target, body, patience)
            .await?;
        lock(&self.inner.idle).push(connection);
        Ok(answer)
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// When no program listens there.
    pub async fn connect(&self) -> Result<Connection, Error> {
        let (requests, connection) = http1::handshake(TokioIo::new(self.dial().await?)).await?;
        // If the connection ends, the next request fails. That is enough.
        tokio::spawn(connection);
        Ok(Connection { requests })
    }

    /// A TCP connection whose bytes are counted.
    pub(super) async fn dial(
        &self,
    ) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + 'static, Error> {
        let patience = self.inner.who.patience;
        let stream = timeout(patience, TcpStream::connect(&self.inner.who.authority))
            .await
            .map_err(|_| Error::TooSlow(patience))??;
        stream.set_nodelay(true)?;
        let (received, sent) = (self.counters(), self.counters());
        let stream = InspectReader::new(stream, move |bytes: &[u8]| {
            received
                .bytes_received
                .fetch_add(bytes.len() as u64, Relaxed);
        });
        Ok(InspectWriter::new(stream, move |bytes: &[u8]| {
            sent.bytes_sent.fetch_add(bytes.len() as u64, Relaxed);
        }))
    }

    async fn exchange(
        &self,
        connection: &mut Connection,
        method: Method,
        target: &str,
        body: String,
        patience: Duration,
    ) -> Result<Answer, Error> {
        let verb = if method == Method::POST {
            "POST"
        } else {
            "GET"
        };
        let started = Instant::now();
        self.counters().requests.fetch_add(1, Relaxed);
        let id = self.asks(verb, target);
        let outcome = match timeout(
            patience,
            self.request(connection, method, target, body.clone()),
        )
        .await
        {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::TooSlow(patience)),
        };
        self.saw_exchange(verb, target, id, body, started, &outcome);
        outcome
    }

    async fn request(
        &self,
        connection: &mut Connection,
        method: Method,
        target: &str,
        body: String,
    ) -> Result<Answer, Error> {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in self.headers() {
            request = request.header(name, value);
        }
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "text/plain;charset=UTF-8");
        }
        let request = request
            .body(Full::from(body))
            .map_err(|error| Error::Unexpected(error.to_string()))?;
        connection.requests.ready().await?;
        let (head, body) = connection
            .requests
            .send_request(request)
            .await?
            .into_parts();
        let body = body.collect().await?.to_bytes();
        self.keep_cookie(&head.headers);
        Ok(Answer {
            status: head.status.as_u16(),
            body: String::from_utf8_lossy(&body).into_owned(),
            tried: tried(&head.headers),
            headers: fields(&head.headers),
        })
    }

    /// The headers that every request of this client carries.
    pub(super) fn headers(&self) -> Vec<(HeaderName, String)> {
        let mut headers = vec![(HOST, self.inner.who.authority.clone())];
        if let Some(address) = self.inner.who.address {
            headers.push((FORWARDED_FOR, address.to_string()));
        }
        if let Some(origin) = self.inner.who.origin.clone() {
            headers.push((ORIGIN, origin));
        }
        if let Some(cookie) = lock(&self.inner.cookie).clone() {
            headers.push((COOKIE, cookie));
        }
        headers.extend(self.inner.who.headers.clone());
        headers
    }

    /// Keeps `name=value` of the last cookie set, if this client keeps cookies.
    pub(super) fn keep_cookie(&self, headers: &HeaderMap) {
        if !self.inner.who.keeps_cookies {
            return;
        }
        if let Some(cookie) = headers
            .get(SET_COOKIE)
            .and_then(|value| value.to_str().ok())
        {
            let pair = cookie.split(';').next().unwrap_or(cookie);
            *lock(&self.inner.cookie) = Some(pair.to_owned());
        }
    }

    /// Tells the listeners that a request is on its way. Returns its number.
    pub(super) fn asks(&self, method: &'static str, target: &str) -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Relaxed);
        self.saw(&Event::Asked {
            id,
            client: self.name().to_owned(),
            address: self.inner.who.address,
            method,
            target: target.to_owned(),
        });
        id
    }

    pub(super) fn saw_exchange(
        &self,
        method: &'static str,
        target: &str,
        id: u64,
        sent: String,
        started: Instant,
        outcome: &Result<Answer, Error>,
    ) {
        self.saw(&Event::Exchange(Exchange {
            id,
            client: self.name().to_owned(),
            method,
            target: target.to_owned(),
            sent,
            tried: outcome
                .as_ref()
                .map_or_else(|_| Vec::new(), |answer| answer.tried.clone()),
            outcome: outcome
                .as_ref()
                .map(|answer| Answered {
                    status: answer.status,
                    body: answer.body.clone(),
                })
                .map_err(ToString::to_string),
            took: started.elapsed(),
        }));
    }

    pub(super) fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.inner.traffic)
    }
}

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The servers that nginx asked, from its header `X-Upstream`.
pub(super) fn tried(headers: &HeaderMap) -> Vec<SocketAddr> {
    headers
        .get("x-upstream")
        .and_then(|value| value.to_str().ok())
        .map(upstreams)
        .unwrap_or_default()
}

/// Headers as text.
pub(super) fn fields(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = headers.iter();
    headers
        .map(|(name, value)| (name.to_string(), text(value)))
        .collect()
}

impl From<Tungstenite> for Error {
    fn from(error: Tungstenite) -> Self {
        match error {
            Tungstenite::Io(source) => Self::Broken(source),
            Tungstenite::Http(response) => Self::Refused(Answer {
                status: response.status().as_u16(),
                tried: tried(response.headers()),
                headers: fields(response.headers()),
                body: response
                    .body()
                    .as_deref()
                    .map(|body| String::from_utf8_lossy(body).into_owned())
                    .unwrap_or_default(),
            }),
            Tungstenite::ConnectionClosed
            | Tungstenite::AlreadyClosed
            | Tungstenite::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
                Self::Broken(closed())
            }
            other => Self::Broken(io::Error::other(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        task::JoinHandle,
    };

    use super::*;
    use crate::client::PATIENCE;

    /// Answers the first request of each connection, and closes it on the second.
    async fn server_that_closes() -> (String, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 1024];
                assert!(stream.read(&mut request).await.unwrap() > 0);
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
                stream.write_all(answer).await.unwrap();
                assert!(stream.read(&mut request).await.unwrap() > 0);
            }
        });
        (url, serving)
    }

    #[tokio::test]
    async fn a_get_is_sent_again_when_its_idle_connection_is_closed_and_a_post_is_not() {
        let (url, serving) = server_that_closes().await;
        let client = Client::new("you", &url);
        assert_eq!(client.get("/", PATIENCE).await.unwrap().body, "hi");
        assert_eq!(client.get("/", PATIENCE).await.unwrap().body, "hi");
        assert_eq!(client.traffic().requests, 3, "the second was sent twice");

        client.post("/", String::new()).await.unwrap_err();
        assert_eq!(client.traffic().requests, 4, "once");
        serving.abort();
    }
}
