//! The hardened chat and the origins of pages: which may connect, and read the answers.

use std::net::SocketAddr;

use hardened_chat::lesson::origins::CHAPTER_6;
use harness::{bench::Bench, browser::Browser};

use crate::hostile::{CHAT, alone};

/// The origin of a page on another machine.
const NAMED: &str = "https://chat.example.org";

/// What a browser gets for a page of `origin`: the status, and the origin whose pages may read the
/// answer.
async fn from_page(url: &str, origin: Option<&str>, transport: &str) -> (u16, Option<String>) {
    let address: SocketAddr = url.trim_start_matches("http://").parse().unwrap();
    let origin = origin.map(|origin| format!("Origin: {origin}\r\n"));
    let upgrade = if transport == "websocket" {
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    } else {
        "Connection: close\r\n"
    };
    let request = format!(
        "GET /socket.io/?EIO=4&transport={transport} HTTP/1.1\r\nHost: {address}\r\n{}{upgrade}\r\n",
        origin.unwrap_or_default()
    );
    let answer = head(address, &request).await;
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let readable = answer
        .lines()
        .find_map(|line| line.strip_prefix("access-control-allow-origin: "));
    (status, readable.map(str::to_owned))
}

async fn head(address: SocketAddr, request: &str) -> String {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut lines = BufReader::new(stream).lines();
    let mut head = String::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        if line.is_empty() {
            break;
        }
        head.push_str(&line);
        head.push('\n');
    }
    head
}

#[tokio::test]
async fn pages_of_other_origins_are_refused_over_both_transports_until_one_is_named() {
    let (_closed, closed) = alone(&[]).await;
    let several = format!("https://example.org, {NAMED}");
    let (_opened, opened) = alone(&[("ALLOWED_ORIGIN", &several)]).await;
    for (transport, done) in [("polling", 200), ("websocket", 101)] {
        for other in [
            "https://evil.example",
            "null",
            "https://chat.example.org.evil.example",
        ] {
            for url in [&closed, &opened] {
                let answer = from_page(url, Some(other), transport).await;
                assert_eq!(answer.0, 403, "{transport} {other}");
            }
        }
        // Closed until it is named; then open, and readable.
        assert_eq!(
            from_page(&closed, Some(NAMED), transport).await,
            (403, None)
        );
        let answer = from_page(&opened, Some(NAMED), transport).await;
        assert_eq!(answer, (done, Some(NAMED.to_owned())), "{transport}");
        // Pages of this machine, and a program that is not a browser.
        for url in [&closed, &opened] {
            for own in [None, Some(url.as_str()), Some("http://localhost:3000")] {
                let answer = from_page(url, own, transport).await;
                assert_eq!(answer, (done, own.map(str::to_owned)), "{transport}");
            }
        }
    }
}

/// A browser asks this before a request with headers of its own. It sends no cookie with it, so
/// behind a balancer the request comes to a server that does not know the session.
#[tokio::test]
async fn every_server_answers_a_preflight_whatever_the_session() {
    let programs = [&[][..], &[("LAB_PROGRAM", CHAPTER_6)]];
    for program in programs {
        let named = [("ALLOWED_ORIGIN", NAMED)];
        let (_bench, url) = alone(&[program, &named].concat()).await;
        let address: SocketAddr = url.trim_start_matches("http://").parse().unwrap();
        for query in ["", "?EIO=4&transport=polling&sid=unknown", "?EIO=3"] {
            let preflight = format!(
                "OPTIONS /socket.io/{query} HTTP/1.1\r\nHost: x\r\nOrigin: {NAMED}\r\n\
                 Access-Control-Request-Method: POST\r\n\
                 Access-Control-Request-Headers: authorization,content-type\r\n\r\n"
            );
            let answer = head(address, &preflight).await;
            for line in [
                "HTTP/1.1 200 OK",
                "access-control-allow-origin: https://chat.example.org",
                "access-control-allow-credentials: true",
                "access-control-allow-methods: GET,POST",
                "access-control-allow-headers: content-type,authorization",
            ] {
                assert!(answer.lines().any(|said| said == line), "{line}:\n{answer}");
            }
        }
    }
}

/// In a browser: the official client in a page of another origin, with the balancer's cookie and a
/// header of its own. Chapter 6's server has the same rule for origins.
#[tokio::test]
async fn a_page_of_an_allowed_origin_connects_over_both_transports_with_the_balancers_cookie() {
    let Some(browser) = Browser::find() else {
        return;
    };
    let (_page_server, page_at) = alone(&[]).await;
    // A browser finds this name on this machine, but it is no name of this machine to the servers.
    let named = page_at.replace("127.0.0.1", NAME);
    let several = format!("https://example.org,{named}");
    let programs = [&[][..], &[("LAB_PROGRAM", CHAPTER_6)]];
    for program in programs {
        let environment = [("ADAPTER", "off"), ("ALLOWED_ORIGIN", &several)];
        let mut bench = Bench::with_servers(CHAT, &[program, &environment].concat()).await;
        let nginx = bench.nginx("04-cookie.conf").await;
        for (page_at, nginx) in [
            (&named, nginx.replace("127.0.0.1", NAME)),
            (&page_at, nginx.clone()),
        ] {
            for transport in ["polling", "websocket"] {
                let page = browser.page().await;
                // Not the chat's own page: its policy allows requests to its own server only.
                page.goto(&format!("{page_at}/chat.css")).await;
                let said = page.js(&connect(&nginx, transport)).await;
                assert_eq!(said, "answered", "{transport} from {page_at}");
            }
        }
    }
}

/// A name of loopback in a browser (RFC 6761, section 6.3).
const NAME: &str = "page.localhost";

/// Loads the official client, connects it, and asks the server something.
fn connect(url: &str, transport: &str) -> String {
    format!(
        "new Promise((resolve) => {{
            const script = document.createElement('script');
            script.src = '/socket.io.min.js';
            script.onload = () => {{
                const socket = io('{url}', {{
                    transports: ['{transport}'],
                    withCredentials: true,
                    extraHeaders: {{ authorization: 'Bearer token' }},
                    auth: {{ user: 'alice' }},
                    reconnection: false,
                }});
                socket.on('connect_error', (error) => resolve(error.message));
                socket.on('disconnect', (reason) => resolve(reason));
                socket.emit('server', () => resolve('answered'));
            }};
            document.head.append(script);
        }})"
    )
}

/// In a browser: a page that is not allowed reads nothing, and a page of this machine does.
#[tokio::test]
async fn a_browser_keeps_a_page_of_another_origin_from_reading_the_answers() {
    let Some(browser) = Browser::find() else {
        return;
    };
    let (_page_server, page_at) = alone(&[]).await;
    let (_bench, url) = alone(&[]).await;
    let read = format!(
        "fetch('{url}/socket.io/?EIO=4&transport=polling').then(a => a.text())\
         .then(text => text.slice(0, 8), () => 'closed')"
    );
    let other = page_at.replace("127.0.0.1", NAME);
    for (page_at, expected) in [(other, "closed"), (page_at, "0{\"sid\":")] {
        let page = browser.page().await;
        page.goto(&format!("{page_at}/chat.css")).await;
        assert_eq!(page.js(&read).await, expected, "{page_at}");
        let complaints = format!("{:?}", page.complaints());
        let is_refused = complaints.contains("Access-Control-Allow-Origin");
        assert_eq!(is_refused, expected == "closed", "{complaints}");
    }
}
