//! WebSocket frames (RFC 6455, section 5.2), as a client reads and writes them.
//!
//! Written here for one reason: tens of thousands of connections share one read buffer.
//! A library keeps one for each, which is more than a server may spend on a socket.

/// A frame that came from a server: neither masked nor in pieces.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) kind: Kind,
    pub(crate) payload: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Close,
    /// Binary, or a ping or pong of WebSocket's own: Socket.IO's are texts.
    Other,
}

/// A server that breaks the protocol, or a message in several frames, which neither
/// stack sends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

/// The first frame of `buffer` and its length; `None` while there is more to come.
pub(crate) fn first_frame(buffer: &[u8]) -> Result<Option<(Frame<'_>, usize)>, Unreadable> {
    let [head, length, rest @ ..] = buffer else {
        return Ok(None);
    };
    let (is_last, is_masked) = (head & 0x80 != 0, length & 0x80 != 0);
    if !is_last || is_masked {
        return Err(Unreadable);
    }
    let (length, start) = match length & 0x7f {
        126 => match rest.first_chunk() {
            Some(length) => (u64::from(u16::from_be_bytes(*length)), 4),
            None => return Ok(None),
        },
        127 => match rest.first_chunk() {
            Some(length) => (u64::from_be_bytes(*length), 10),
            None => return Ok(None),
        },
        short => (u64::from(short), 2),
    };
    if length > LONGEST {
        return Err(Unreadable);
    }
    let end = start + usize::try_from(length).map_err(|_| Unreadable)?;
    let Some(payload) = buffer.get(start..end) else {
        return Ok(None);
    };
    let kind = match head & 0x0f {
        0x1 => Kind::Text,
        0x8 => Kind::Close,
        _ => Kind::Other,
    };
    Ok(Some((Frame { kind, payload }, end)))
}

/// No message here comes near it.
const LONGEST: u64 = 1 << 20;

/// A text as a client sends it. The mask is zero: it protects proxies from scripts in
/// browsers, of which there are none here.
pub(crate) fn text(payload: &str) -> Vec<u8> {
    let bytes = payload.as_bytes();
    let mut frame = vec![0x81];
    match u16::try_from(bytes.len()) {
        Ok(length @ 0..=125) => frame.push(0x80 | length.to_be_bytes()[1]),
        Ok(length) => {
            frame.push(0xfe);
            frame.extend(length.to_be_bytes());
        }
        Err(_) => {
            frame.push(0xff);
            frame.extend((bytes.len() as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(bytes);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a server sends it: without the mask.
    fn from_server(payload: &str) -> Vec<u8> {
        let mut frame = text(payload);
        frame[1] &= 0x7f;
        let mask = frame.len() - payload.len() - 4;
        frame.drain(mask..mask + 4);
        frame
    }

    #[test]
    fn a_text_of_any_length_is_read_once_it_is_whole() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let payload = "x".repeat(length);
            let bytes = from_server(&payload);
            for cut in [0, 1, bytes.len() / 2, bytes.len() - 1] {
                assert_eq!(first_frame(&bytes[..cut]), Ok(None), "{cut} of {length}");
            }
            let (frame, end) = first_frame(&bytes).unwrap().unwrap();
            assert_eq!(
                (frame.kind, frame.payload, end),
                (Kind::Text, payload.as_bytes(), bytes.len())
            );
        }
    }

    #[test]
    fn two_frames_of_one_read_are_read_one_after_the_other() {
        let bytes = [from_server("2"), from_server("40")].concat();
        let (first, end) = first_frame(&bytes).unwrap().unwrap();
        assert_eq!(first.payload, b"2");
        let (second, _) = first_frame(&bytes[end..]).unwrap().unwrap();
        assert_eq!(second.payload, b"40");
    }

    #[test]
    fn a_mask_a_fragment_or_a_giant_from_a_server_is_unreadable() {
        let giant = [&[0x81, 127][..], &u64::MAX.to_be_bytes()].concat();
        for wrong in [&[0x81, 0x81][..], &[0x01, 0x01, b'x'], &giant] {
            assert_eq!(first_frame(wrong), Err(Unreadable));
        }
    }

    #[test]
    fn a_close_is_told_from_a_text() {
        let (frame, _) = first_frame(&[0x88, 0]).unwrap().unwrap();
        assert_eq!(frame.kind, Kind::Close);
    }
}
