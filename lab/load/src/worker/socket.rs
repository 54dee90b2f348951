//! A Socket.IO client over a WebSocket.

use std::{
    cell::RefCell,
    io::{self, ErrorKind},
    net::Ipv4Addr,
    rc::Rc,
};

use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{Instant, timeout_at},
};

use super::{
    connect::{PATIENCE, Targets, Trouble, connect, source},
    response::{Connection, Response},
    wire::{self, Kind, first_frame},
};

/// The buffer into which all sockets of a worker read, one after the other.
#[derive(Clone)]
pub(crate) struct Shared(Rc<RefCell<Vec<u8>>>);

impl Default for Shared {
    fn default() -> Self {
        Self(Rc::new(RefCell::new(vec![0; 64 << 10])))
    }
}

/// A connected user.
pub(crate) struct Socket {
    stream: TcpStream,
    /// The beginning of a frame whose end has not come; most of the time empty.
    rest: Vec<u8>,
    shared: Shared,
}

impl Socket {
    /// Connects as `user` over a WebSocket: GET, `101`, `0{…}`, `40{"user":…}`, `40{…}`.
    pub(crate) async fn connect(
        targets: &Targets,
        client: u32,
        user: &str,
        shared: &Shared,
    ) -> Result<Self, Trouble> {
        let deadline = Instant::now() + PATIENCE;
        let mut socket = Self::open(targets, client, "", shared).await?;
        let hello = format!(r#"40{{"user":"{user}"}}"#);
        socket.await_packet(b"0", b"0", deadline).await?;
        socket.send(&hello).await?;
        socket.await_packet(b"40", b"4", deadline).await?;
        Ok(socket)
    }

    /// Takes a session from long polling to a WebSocket: GET, `101`, `2probe`, `3probe`, `5`
    /// (Engine.IO protocol 4, "Upgrade").
    pub(crate) async fn upgrade(
        targets: &Targets,
        client: u32,
        sid: &str,
        shared: &Shared,
    ) -> Result<Self, Trouble> {
        let deadline = Instant::now() + PATIENCE;
        let mut socket = Self::open(targets, client, &format!("&sid={sid}"), shared).await?;
        socket.send("2probe").await?;
        socket.await_packet(b"3probe", b"3", deadline).await?;
        socket.send("5").await?;
        Ok(socket)
    }

    /// Opens a WebSocket, with what is added to the request's query.
    async fn open(
        targets: &Targets,
        client: u32,
        query: &str,
        shared: &Shared,
    ) -> Result<Self, Trouble> {
        let mut connection = Connection::new(connect(targets, client).await?);
        let response = connection.ask(&request(query, source(client))).await?;
        if response.status != 101 {
            return Err(Trouble::Refused);
        }
        Ok(Self::upgraded(connection, response, shared))
    }

    fn upgraded(connection: Connection, response: Response, shared: &Shared) -> Self {
        Self {
            stream: connection.stream,
            rest: connection.buffer[response.end..].to_vec(),
            shared: shared.clone(),
        }
    }

    /// Waits for the packet that begins with `wanted`, and takes no other of its kind.
    async fn await_packet(
        &mut self,
        wanted: &[u8],
        kind: &[u8],
        deadline: Instant,
    ) -> Result<(), Trouble> {
        loop {
            let mut answer = None;
            let reading = self.read(|packet| {
                if packet.starts_with(kind) && answer.is_none() {
                    answer = Some(packet.starts_with(wanted));
                }
            });
            timeout_at(deadline, reading)
                .await
                .map_err(|_too_slow| Trouble::Failed)??;
            match answer {
                Some(true) => return Ok(()),
                Some(false) => return Err(Trouble::Refused),
                None => {}
            }
        }
    }

    /// Sends an Engine.IO packet.
    pub(crate) async fn send(&mut self, packet: &str) -> io::Result<()> {
        self.stream.write_all(&wire::text(packet)).await
    }

    /// Reads what there is, or waits until there is something. Each packet goes to `each`,
    /// but pings, which are answered.
    ///
    /// # Errors
    /// When the connection is gone.
    pub(crate) async fn read(&mut self, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        // What came together with the answer to the handshake.
        let rest = std::mem::take(&mut self.rest);
        let mut sorted = self.sort(&rest, &mut each)?;
        if sorted.frames == 0 {
            self.stream.readable().await?;
            sorted = self.read_now(&mut each)?;
        }
        for _ in 0..sorted.pings {
            self.send("3").await?;
        }
        Ok(())
    }

    fn read_now(&mut self, each: &mut impl FnMut(&[u8])) -> io::Result<Sorted> {
        let shared = Rc::clone(&self.shared.0);
        let mut buffer = shared.borrow_mut();
        match self.stream.try_read(&mut buffer) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(length) if self.rest.is_empty() => self.sort(&buffer[..length], each),
            Ok(length) => {
                let mut joined = std::mem::take(&mut self.rest);
                joined.extend(&buffer[..length]);
                self.sort(&joined, each)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Sorted::default()),
            Err(error) => Err(error),
        }
    }

    /// Goes through the frames; keeps a piece at the end.
    fn sort(&mut self, bytes: &[u8], each: &mut impl FnMut(&[u8])) -> io::Result<Sorted> {
        let (mut read, mut sorted) = (0, Sorted::default());
        while let Some((frame, length)) =
            first_frame(&bytes[read..]).map_err(|_| ErrorKind::InvalidData)?
        {
            match (frame.kind, frame.payload) {
                (Kind::Text, b"2") => sorted.pings += 1,
                (Kind::Text, packet) => each(packet),
                (Kind::Close, _) => return Err(ErrorKind::ConnectionReset.into()),
                (Kind::Other, _) => {}
            }
            sorted.frames += 1;
            read += length;
        }
        self.rest = bytes[read..].to_vec();
        Ok(sorted)
    }
}

/// What was in some bytes.
#[derive(Default)]
struct Sorted {
    frames: usize,
    pings: usize,
}

/// The request that becomes a WebSocket (RFC 6455, section 4.1), with the key of its example.
fn request(query: &str, source: Ipv4Addr) -> Vec<u8> {
    format!(
        "GET /socket.io/?EIO=4&transport=websocket{query} HTTP/1.1\r\n\
         Host: localhost\r\n\
         Connection: Upgrade\r\n\
         Upgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         X-Forwarded-For: {source}\r\n\r\n"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncReadExt, net::TcpListener};

    use super::*;

    #[tokio::test]
    async fn an_upgrade_names_its_session_and_moves_it_once_the_probe_is_answered() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let targets = Targets::new(vec![listener.local_addr().unwrap()]);
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; super::request("&sid=abc", source(0)).len()];
            stream.read_exact(&mut request).await.unwrap();
            let answer = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";
            stream.write_all(answer).await.unwrap();
            let mut probe = wire::text("2probe");
            stream.read_exact(&mut probe).await.unwrap();
            stream.write_all(b"\x81\x063probe").await.unwrap();
            let mut moved = wire::text("5");
            stream.read_exact(&mut moved).await.unwrap();
            (request, probe, moved)
        };
        let shared = Shared::default();
        let (upgraded, (request, probe, moved)) =
            tokio::join!(Socket::upgrade(&targets, 0, "abc", &shared), server);
        assert!(upgraded.is_ok());
        let line = b"GET /socket.io/?EIO=4&transport=websocket&sid=abc HTTP/1.1\r\n";
        assert!(request.starts_with(line));
        assert_eq!((probe, moved), (wire::text("2probe"), wire::text("5")));
    }
}
