//! What a Socket.IO client has no business sending.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// The longest that a server may take to close a connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// Packets and payloads that a client has no business sending.
pub fn no_packets() -> Vec<String> {
    let mut all: Vec<_> = [
        "",
        "9",
        "x",
        "4",
        "49",
        "4x",
        "40",
        "40{",
        "40[]",
        "40{\"a\":",
        "41",
        "42",
        "42[]",
        "42{}",
        "42[1,2]",
        "42[null]",
        "42[\"message\"",
        "42[\"message\",1]",
        "42[\"message\",{\"a\":[1,2]}]",
        "42[\"message\",\"a\",\"b\",\"c\"]",
        "42\"message\"",
        "42/nowhere,[\"message\",\"x\"]",
        "40/nowhere,",
        "43",
        "430[]",
        "43999999999999999999999[]",
        "42999999999999999999999[\"message\",\"x\"]",
        "44{\"message\":\"no\"}",
        "45",
        "451-",
        "451-[\"message\",{\"_placeholder\":true,\"num\":0}]",
        "45999999999-[\"message\",{\"_placeholder\":true,\"num\":0}]",
        "461-[{\"_placeholder\":true,\"num\":99}]",
        "5",
        "6",
        "2probe",
        "3probe",
        "0{}",
        "1",
        "b",
        "bAAAA",
        "b!!!!",
        "\u{1e}",
        "\u{1e}\u{1e}\u{1e}",
    ]
    .map(str::to_owned)
    .into();
    // JSON deeper than any stack, and a great many packets in one payload.
    all.push(format!("42[\"message\",{}", "[".repeat(90_000)));
    all.push("4\u{1e}".repeat(20_000));
    all
}

/// The bit of a frame's second byte that says so.
const MASKED: u8 = 0x80;

/// A WebSocket by hand, which may break every rule of RFC 6455.
pub struct Frames(TcpStream);

impl Frames {
    pub async fn open(address: SocketAddr) -> Self {
        Self::asked(address).await.expect("a WebSocket")
    }

    /// The same; `None` if it is refused with 400.
    pub async fn asked(address: SocketAddr) -> Option<Self> {
        let mut stream = TcpStream::connect(address).await.expect("somebody listens");
        stream
            .write_all(
                b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\n\
                  Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                  Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            )
            .await
            .expect("it is open");
        let mut head = [0; 12];
        stream
            .read_exact(&mut head)
            .await
            .expect("somebody listens");
        match &head {
            b"HTTP/1.1 101" => Some(Self(stream)),
            b"HTTP/1.1 400" => None,
            other => panic!("{}", String::from_utf8_lossy(other)),
        }
    }

    pub async fn text(&mut self, payload: &[u8]) {
        self.frame(0x81, payload).await;
    }

    /// One short frame or a long one, masked with zeros: its first byte, and what it carries.
    pub async fn frame(&mut self, first: u8, payload: &[u8]) {
        let mut frame = vec![first];
        match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
            (Ok(length @ ..126), _) => frame.push(MASKED | length),
            (_, Ok(length)) => {
                frame.push(MASKED | 0x7e);
                frame.extend(length.to_be_bytes());
            }
            _ => {
                frame.push(MASKED | 0x7f);
                frame.extend((payload.len() as u64).to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(payload);
        self.bytes(&frame).await;
    }

    pub async fn bytes(&mut self, bytes: &[u8]) {
        // The server may have closed it already, which is what it should do.
        let _closed = self.0.write_all(bytes).await;
    }

    /// All that comes until the server closes it.
    pub async fn rest(mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let closed = timeout(PATIENCE, self.0.read_to_end(&mut rest)).await;
        closed.expect("it closes").expect("no reset");
        rest
    }

    /// Whether the server closes it.
    pub async fn ends(mut self) -> bool {
        let mut rest = Vec::new();
        timeout(PATIENCE, self.0.read_to_end(&mut rest))
            .await
            .is_ok()
    }
}
