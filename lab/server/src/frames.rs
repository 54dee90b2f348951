//! Tells the client of a WebSocket that its message is too long.
//!
//! engineioxide 0.17.9 closes such a WebSocket without a code, so the client does not learn why.
//! Node closes it with the code 1009 (RFC 6455, section 7.4.1). Here, the lengths of the frames are
//! read before engineioxide reads them. In place of a frame that makes a message too long, it gets
//! a close frame with that code, and answers it with the same code (section 5.5.1). A test fails
//! when engineioxide does it itself: `engineioxide_alone_still_closes_a_websocket_without_a_code`.

use std::{
    io,
    mem::take,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    runtime::Handle,
};

use crate::{
    bounds::Connection,
    lingering::Lingering,
    too_long::{MAX_PAYLOAD, TOO_LONG},
};

/// The answer after which a connection carries frames.
const SWITCHING: &[u8] = b"HTTP/1.1 101 ";

/// The close code for a message that is too long.
const CODE: u16 = 1009;

/// A connection whose frames are measured, once it is a WebSocket.
pub(crate) struct Measured<C: Connection> {
    /// `None` only while this is dropped.
    stream: Option<C>,
    /// `None` while it carries requests and answers.
    frames: Option<Frames>,
}

impl<C: Connection> Measured<C> {
    pub(crate) fn new(stream: C) -> Self {
        Self {
            stream: Some(stream),
            frames: None,
        }
    }

    fn stream(&mut self) -> io::Result<Pin<&mut C>> {
        let stream = self.stream.as_mut().map(Pin::new);
        stream.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// hyper begins a call with the head of an answer.
    fn notice(&mut self, written: &[u8]) {
        if self.frames.is_none() && written.starts_with(SWITCHING) {
            self.frames = Some(Frames::default());
        }
    }
}

impl<C: Connection> AsyncWrite for Measured<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.notice(bytes);
        self.stream()?.poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(first) = bytes.iter().find(|part| !part.is_empty()) {
            self.notice(first);
        }
        self.stream()?.poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        let stream = self.stream.as_ref();
        stream.is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(cx)
    }
}

impl<C: Connection> AsyncRead for Measured<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, frames } = &mut *self;
        let Some(stream) = stream else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let Some(frames) = frames else {
            return Pin::new(stream).poll_read(cx, buffer);
        };
        loop {
            if frames.is_closed || !frames.measured.is_empty() {
                let length = buffer.remaining().min(frames.measured.len());
                buffer.put_slice(&frames.measured[..length]);
                frames.measured.drain(..length);
                return Poll::Ready(Ok(()));
            }
            if frames.begun.is_empty() {
                let start = buffer.filled().len();
                ready!(Pin::new(&mut *stream).poll_read(cx, buffer))?;
                let came = &buffer.filled()[start..];
                let (ended, passed) = (came.is_empty(), frames.measure(came));
                buffer.set_filled(start + passed);
                if ended || passed > 0 {
                    return Poll::Ready(Ok(()));
                }
            } else {
                // The buffer may have room for one byte only, so the rest of a head goes elsewhere.
                let mut rest = [0; 16];
                let mut rest = ReadBuf::new(&mut rest);
                ready!(Pin::new(&mut *stream).poll_read(cx, &mut rest))?;
                let mut came = take(&mut frames.begun);
                came.extend(rest.filled());
                if !rest.filled().is_empty() {
                    let passed = frames.measure(&came);
                    came.truncate(passed);
                }
                frames.measured.splice(..0, came);
            }
        }
    }
}

/// If the connection were closed at once, the kernel would reset it, because nobody reads the rest
/// of the message. The reset can destroy the close frame on its way.
impl<C: Connection> Drop for Measured<C> {
    fn drop(&mut self) {
        let is_closed = self.frames.as_ref().is_some_and(|frames| frames.is_closed);
        if is_closed
            && let Some(stream) = self.stream.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(async move {
                // If this fails, the client has closed the connection.
                let _closed = Lingering::new(stream).shutdown().await;
            });
        }
    }
}

/// What has come of a client's frames.
#[derive(Default)]
struct Frames {
    /// What may be read, and was not read yet.
    measured: Vec<u8>,
    /// The head of a frame of which only a part has come.
    begun: Vec<u8>,
    /// How much of the last frame has not come yet: mask and payload.
    rest: u64,
    /// The length of a message whose last frame has not come yet.
    message: u64,
    /// A message was too long. After `measured`, nothing can be read.
    is_closed: bool,
}

impl Frames {
    /// Measures what has come. Returns how many bytes of it may be read now: not a part of a head,
    /// and nothing from the frame that makes a message too long.
    fn measure(&mut self, came: &[u8]) -> usize {
        let mut at = 0;
        loop {
            let passed = usize::try_from(self.rest).unwrap_or(usize::MAX);
            let passed = passed.min(came.len() - at);
            self.rest -= passed as u64;
            at += passed;
            let Some(head) = Head::parse(&came[at..]) else {
                self.begun = came[at..].to_vec();
                return at;
            };
            // A control frame may come between the frames of a message.
            let before = if head.is_control { 0 } else { self.message };
            let message = before.saturating_add(head.length);
            if message > MAX_PAYLOAD as u64 {
                self.is_closed = true;
                self.measured = close_frame();
                return at;
            }
            if !head.is_control {
                self.message = if head.is_last { 0 } else { message };
            }
            self.rest = head.mask + head.length;
            at += head.size;
        }
    }
}

/// A masked close frame, as a client sends it. The mask is zero.
fn close_frame() -> Vec<u8> {
    let payload = [&CODE.to_be_bytes(), TOO_LONG.as_bytes()].concat();
    // A control frame has at most 125 bytes.
    let length = u8::try_from(payload.len()).unwrap_or_default();
    [&[0x88, 0x80 | length, 0, 0, 0, 0], payload.as_slice()].concat()
}

/// The head of a frame, without its mask (RFC 6455, section 5.2).
struct Head {
    is_last: bool,
    is_control: bool,
    /// The length in bytes of the head.
    size: usize,
    /// The length of the mask.
    mask: u64,
    /// The length of the payload.
    length: u64,
}

impl Head {
    /// `None` if only a part of it has come.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (&[first, second], rest) = bytes.split_first_chunk()?;
        let (size, length) = match second & 0x7f {
            126 => (4, u16::from_be_bytes(*rest.first_chunk()?).into()),
            127 => (10, u64::from_be_bytes(*rest.first_chunk()?)),
            short => (2, short.into()),
        };
        Some(Self {
            is_last: first & 0x80 != 0,
            is_control: first & 0x08 != 0,
            size,
            mask: if second & 0x80 == 0 { 0 } else { 4 },
            length,
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, duplex};

    use super::*;

    fn frame(first: u8, length: usize) -> Vec<u8> {
        let head = match u16::try_from(length) {
            Ok(short @ ..126) => vec![first, 0x80 | short.to_be_bytes()[1]],
            Ok(long) => [&[first, 0xfe][..], &long.to_be_bytes()].concat(),
            Err(_) => [&[first, 0xff][..], &(length as u64).to_be_bytes()].concat(),
        };
        [head, vec![0; 4], vec![b'x'; length]].concat()
    }

    /// What a server reads of these frames. They come `part` bytes at a time, and the server's
    /// buffer has room for `room` bytes.
    async fn read(frames: &[u8], part: usize, room: usize) -> Vec<u8> {
        let (client, mut server) = (frames.to_vec(), Vec::new());
        let (mut sender, receiver) = duplex(part);
        let mut measured = Measured::new(receiver);
        measured.notice(b"HTTP/1.1 101 Switching Protocols\r\n");
        let sending = tokio::spawn(async move { sender.write_all(&client).await });
        let mut buffer = vec![0; room];
        loop {
            let length = measured.read(&mut buffer).await.unwrap();
            if length == 0 {
                break;
            }
            server.extend(&buffer[..length]);
        }
        drop(measured);
        // A message that is too long is not read to its end.
        let _unread = sending.await.unwrap();
        server
    }

    const SIZES: [(usize, usize); 4] = [(3, 64), (64, 1), (100, 7), (1 << 20, 4096)];

    #[tokio::test]
    async fn messages_up_to_the_limit_pass_unchanged_however_they_are_cut() {
        let frames = [
            frame(0x81, 0),
            frame(0x81, 125),
            frame(0x82, 126),
            frame(0x01, MAX_PAYLOAD - 1000),
            frame(0x89, 125),
            frame(0x80, 1000),
            frame(0x81, MAX_PAYLOAD),
            // The client ends in the middle of a head.
            vec![0x81],
        ]
        .concat();
        for (part, room) in SIZES {
            assert!(
                read(&frames, part, room).await == frames,
                "{part} bytes at a time, {room} bytes of room"
            );
        }
    }

    #[tokio::test]
    async fn a_close_frame_comes_in_place_of_the_frame_that_makes_a_message_too_long() {
        let before = [frame(0x81, 300), frame(0x01, 200)].concat();
        for too_long in [
            frame(0x80, MAX_PAYLOAD - 199),
            frame(0x00, MAX_PAYLOAD + 1),
            [&[0x80, 0xff][..], &[0xff; 8]].concat(),
            // A control frame must not be that long.
            frame(0x89, MAX_PAYLOAD + 1),
        ] {
            let frames = [&before[..], &too_long].concat();
            let expected = [&before[..], &close_frame()].concat();
            for (part, room) in SIZES {
                assert!(
                    read(&frames, part, room).await == expected,
                    "{part} bytes at a time, {room} bytes of room"
                );
            }
        }
    }
}
