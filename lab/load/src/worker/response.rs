//! Just enough of HTTP/1.1 to read an answer: its head by `httparse`, its body by length.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::connect::{PATIENCE, Trouble};

/// An answer's head, and where in the buffer its body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Where the body begins.
    pub(crate) body: usize,
    /// Where it ends.
    pub(crate) end: usize,
    /// Whether the server closes the connection after it.
    pub(crate) closes: bool,
}

/// The answer at the beginning of `buffer`; `None` while there is more to come.
pub(crate) fn parse(buffer: &[u8]) -> Result<Option<Response>, Trouble> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let body = match response.parse(buffer) {
        Ok(httparse::Status::Complete(body)) => body,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Trouble::Failed),
    };
    let header = |name: &str| {
        let mut headers = response.headers.iter();
        let header = headers.find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(header.value).ok()
    };
    let status = response.code.ok_or(Trouble::Failed)?;
    let length = match header("content-length") {
        Some(length) => length.parse().map_err(|_| Trouble::Failed)?,
        None if status == 101 => 0,
        // Neither stack answers in chunks.
        None => return Err(Trouble::Failed),
    };
    let end = body + length;
    Ok((buffer.len() >= end).then(|| Response {
        status,
        body,
        end,
        closes: header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")),
    }))
}

/// A connection and what was read from it.
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    pub(crate) buffer: Vec<u8>,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            buffer: Vec::with_capacity(1_024),
        }
    }

    /// Sends a request and reads its answer; the body is in the buffer, until
    /// [`Self::forget`] is called.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Result<Response, Trouble> {
        self.stream.write_all(request).await?;
        self.answer().await
    }

    /// Reads an answer.
    pub(crate) async fn answer(&mut self) -> Result<Response, Trouble> {
        loop {
            if let Some(response) = parse(&self.buffer)? {
                return Ok(response);
            }
            let read = self.stream.read_buf(&mut self.buffer);
            let read = timeout(PATIENCE, read)
                .await
                .map_err(|_too_slow| Trouble::Failed)??;
            if read == 0 {
                return Err(Trouble::Failed);
            }
        }
    }

    /// Has done with an answer.
    pub(crate) fn forget(&mut self, response: Response) {
        self.buffer.drain(..response.end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";

    #[test]
    fn an_answer_is_there_once_its_whole_body_is() {
        for length in 0..ANSWER.len() {
            assert_eq!(parse(&ANSWER[..length]), Ok(None), "after {length} bytes");
        }
        let response = parse(ANSWER).unwrap().unwrap();
        assert_eq!(&ANSWER[response.body..response.end], b"ok");
        assert!(response.status == 200 && response.closes);
    }

    #[test]
    fn what_is_no_answer_is_a_failure() {
        for wrong in [
            &b"garbage\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        ] {
            assert_eq!(parse(wrong), Err(Trouble::Failed));
        }
    }

    #[test]
    fn the_next_answer_begins_where_this_one_ends() {
        let two = [ANSWER, b"HTTP/1.1 404"].concat();
        assert_eq!(parse(&two).unwrap().unwrap().end, ANSWER.len());
    }
}
