//! A client that sends and expects bytes.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use embedded_pubsub::Server;

/// Nothing takes this long; a test that waits for what never comes fails by it.
const TOO_LONG: Duration = Duration::from_secs(20);

pub(crate) struct Wire(TcpStream);

pub(crate) fn server() -> Server {
    Server::start("127.0.0.1:0").unwrap()
}

impl Wire {
    pub(crate) fn to(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(TOO_LONG)).unwrap();
        stream.set_write_timeout(Some(TOO_LONG)).unwrap();
        Wire(stream)
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends bytes that the server may refuse before the last of them.
    pub(crate) fn send_what_is_taken(&mut self, bytes: &[u8]) {
        let _refused = self.0.write_all(bytes);
    }

    /// Sends an inline command.
    pub(crate) fn say(&mut self, line: &str) {
        self.send(format!("{line}\r\n"));
    }

    /// The next bytes; `None` if the server has closed the connection.
    pub(crate) fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).ok()?;
        Some(bytes)
    }

    /// Reads exactly these bytes.
    pub(crate) fn expect(&mut self, bytes: &str) {
        let mut received = String::new();
        while received.len() < bytes.len() && bytes.starts_with(&received) {
            let left = u64::try_from(bytes.len() - received.len()).unwrap();
            let read = (&self.0).take(left).read_to_string(&mut received);
            assert!(
                read.is_ok_and(|n| n > 0),
                "{received:?} and no more, not {bytes:?}"
            );
        }
        assert_eq!(received, bytes);
    }

    pub(crate) fn ask(&mut self, line: &str, answer: &str) {
        self.say(line);
        self.expect(answer);
    }

    /// Another handle on the same connection, for another thread.
    pub(crate) fn reader(&self) -> Self {
        Wire(self.0.try_clone().unwrap())
    }

    /// Reads a line, and returns it without its end.
    pub(crate) fn read_line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.extend(self.take(1).expect("a whole line"));
        }
        String::from_utf8_lossy(&line).trim_end().to_owned()
    }

    /// The next reply, which is to be an integer, or the length of a string.
    pub(crate) fn read_integer(&mut self) -> usize {
        let mut line = String::new();
        while !line.ends_with("\r\n") {
            let read = (&self.0).take(1).read_to_string(&mut line);
            assert!(
                read.is_ok_and(|n| n > 0),
                "the connection ended after {line:?}"
            );
        }
        line[1..].trim_end().parse().unwrap()
    }

    /// The content of the next reply, which is to be a string.
    pub(crate) fn read_bulk(&mut self) -> String {
        let len = self.read_integer();
        let mut content = vec![0; len + 2];
        self.0.read_exact(&mut content).unwrap();
        content.truncate(len);
        String::from_utf8(content).unwrap()
    }

    /// Sends nothing more, and reads until the server closes as well.
    pub(crate) fn finish(mut self) -> String {
        self.0.shutdown(Shutdown::Write).unwrap();
        self.read_to_end()
    }

    /// The same for a connection that the server may have closed already.
    pub(crate) fn finish_whatever_was_taken(mut self) -> String {
        let _closed = self.0.shutdown(Shutdown::Write);
        self.read_to_end()
    }

    /// Reads until the server closes the connection.
    pub(crate) fn read_to_end(&mut self) -> String {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => {}
            // So the kernel says that the server had not read all that was sent.
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
        }
        String::from_utf8(rest).unwrap()
    }
}
