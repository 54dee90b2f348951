//! Decodes requests: an array of bulk strings, or an inline command, as a person types
//! it into telnet.
//!
//! Source: <https://redis.io/docs/latest/develop/reference/protocol-spec/>, "Sending
//! commands to a Redis server" and "Inline commands". A request is flat, unlike a
//! reply: a decoder that accepted nested arrays would have to recurse, and a client
//! that sends `*1` a million times would overflow its stack.

use std::mem;

use bytes::{Buf, BytesMut};

/// A command's name and its arguments; never empty.
pub(crate) type Request = Vec<Vec<u8>>;

/// Redis's `PROTO_INLINE_MAX_SIZE`: the longest inline command, or `*` or `$` line.
const MAX_LINE: usize = 64 * 1024;

/// Redis before 7.0 has this limit too; later ones allow 2,147,483,647.
const MAX_ARGUMENTS: i64 = 1024 * 1024;

/// Redis reads up to 512 MiB into one argument. But a subscriber's output limit is
/// 32 MiB, so such a large message could not be delivered.
const MAX_REQUEST: usize = 64 * 1024 * 1024;

/// A free buffer of more than this is given back once a request is complete.
const KEPT_CAPACITY: usize = 64 * 1024;

/// Why the bytes are no request, in Redis's words. The connection must be closed,
/// because the beginning of the next request is unknown.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ProtocolError(pub(crate) String);

/// Takes bytes in pieces of any size and gives complete requests.
///
/// It remembers its position between the pieces, so it looks at each byte only once.
/// Its memory grows with the received bytes, but not with a length that a client has
/// only announced.
#[derive(Default)]
pub(crate) struct Decoder {
    unread: BytesMut,
    /// The number of bytes in `unread` that were searched and hold no end of line.
    searched: usize,
    arguments: Request,
    /// The number of announced arguments that have not come yet.
    missing: usize,
    /// The length of the present argument, after its header was read.
    bulk_len: Option<usize>,
    /// The sum of the lengths of this request's arguments.
    size: usize,
}

impl Decoder {
    /// The buffer to which received bytes are appended.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.unread
    }

    /// The bytes of memory that an incomplete request takes.
    pub(crate) fn unfinished(&self) -> usize {
        let complete = self.size - self.bulk_len.unwrap_or(0);
        self.unread.len() + complete + size_of_val(&self.arguments[..])
    }

    /// The next complete request, or `None` until more bytes have come.
    pub(crate) fn next_request(&mut self) -> Result<Option<Request>, ProtocolError> {
        while self.missing == 0 {
            match self.unread.first() {
                None => {
                    if self.unread.capacity() > KEPT_CAPACITY {
                        self.unread = BytesMut::new();
                    }
                    return Ok(None);
                }
                Some(b'*') => {
                    let Some(header) = self.header("too big mbulk count string")? else {
                        return Ok(None);
                    };
                    self.missing = argument_count(&header)?;
                }
                Some(_) => {
                    let Some(line) = self.inline()? else {
                        return Ok(None);
                    };
                    let words = split_words(&line)
                        .ok_or_else(|| ProtocolError("unbalanced quotes in request".into()))?;
                    if !words.is_empty() {
                        return Ok(Some(words));
                    }
                }
            }
        }
        while self.missing > 0 {
            let Some(argument) = self.argument()? else {
                return Ok(None);
            };
            self.arguments.push(argument);
            self.missing -= 1;
        }
        self.size = 0;
        Ok(Some(mem::take(&mut self.arguments)))
    }

    fn argument(&mut self) -> Result<Option<Vec<u8>>, ProtocolError> {
        let len = if let Some(len) = self.bulk_len {
            len
        } else {
            let Some(header) = self.header("too big bulk count string")? else {
                return Ok(None);
            };
            let len = bulk_len(&header)?;
            self.size += len;
            if self.size > MAX_REQUEST {
                return Err(ProtocolError("too big request".into()));
            }
            self.bulk_len = Some(len);
            len
        };
        // Redis does not look either whether the two bytes that follow are CR LF.
        if self.unread.len() < len + 2 {
            return Ok(None);
        }
        // A copy, not a shared slice. A channel's name is kept while it has subscribers,
        // and a slice would keep the whole read buffer.
        let argument = self.unread[..len].to_vec();
        self.unread.advance(len + 2);
        self.bulk_len = None;
        Ok(Some(argument))
    }

    /// A `*` or `$` line. Like Redis it ends at CR, and the byte after that is not
    /// looked at.
    fn header(&mut self, too_big: &str) -> Result<Option<Vec<u8>>, ProtocolError> {
        let Some(end) = self.find(b'\r', too_big)? else {
            return Ok(None);
        };
        if self.unread.len() < end + 2 {
            return Ok(None);
        }
        Ok(Some(self.take_line(end, end + 2)))
    }

    /// An inline command. A terminal may end it with LF only.
    fn inline(&mut self) -> Result<Option<Vec<u8>>, ProtocolError> {
        let end = self.find(b'\n', "too big inline request")?;
        Ok(end.map(|end| self.take_line(end, end + 1)))
    }

    fn find(&mut self, end: u8, too_big: &str) -> Result<Option<usize>, ProtocolError> {
        let found = self.unread[self.searched..].iter().position(|&b| b == end);
        self.searched = found.map_or(self.unread.len(), |at| self.searched + at);
        if found.is_none() && self.unread.len() > MAX_LINE {
            return Err(ProtocolError(too_big.into()));
        }
        Ok(found.map(|_| self.searched))
    }

    fn take_line(&mut self, len: usize, consumed: usize) -> Vec<u8> {
        let line = self.unread[..len].to_vec();
        self.unread.advance(consumed);
        self.searched = 0;
        line
    }
}

/// `*0` and `*-1` announce no arguments. Redis ignores them without an answer.
fn argument_count(header: &[u8]) -> Result<usize, ProtocolError> {
    integer(&header[1..])
        .filter(|&count| count <= MAX_ARGUMENTS)
        .map(|count| usize::try_from(count).unwrap_or(0))
        .ok_or_else(|| ProtocolError("invalid multibulk length".into()))
}

fn bulk_len(header: &[u8]) -> Result<usize, ProtocolError> {
    match header.split_first() {
        Some((b'$', len)) => integer(len)
            .and_then(|len| usize::try_from(len).ok())
            .filter(|&len| len <= MAX_REQUEST)
            .ok_or_else(|| ProtocolError("invalid bulk length".into())),
        other => {
            let got = other.map_or('\r', |(&byte, _)| char::from(byte));
            Err(ProtocolError(format!("expected '$', got '{got}'")))
        }
    }
}

/// A whole number as Redis reads one (`string2ll`): no `+`, no leading zeros, no
/// spaces.
pub(crate) fn integer(digits: &[u8]) -> Option<i64> {
    let number: i64 = str::from_utf8(digits).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == digits).then_some(number)
}

/// Splits an inline command as Redis does (`sdssplitargs`): at white space, and
/// `"…"` with escapes or `'…'` hold words together. `None`: a quote is not closed,
/// or not followed by white space.
fn split_words(mut line: &[u8]) -> Option<Request> {
    let mut words = Vec::new();
    loop {
        line = line.trim_ascii_start();
        if line.is_empty() {
            return Some(words);
        }
        let mut word = Vec::new();
        line = loop {
            line = match line {
                [] => break line,
                [space, rest @ ..] if space.is_ascii_whitespace() => break rest,
                [quote @ (b'"' | b'\''), rest @ ..] => break quoted(rest, *quote, &mut word)?,
                [byte, rest @ ..] => {
                    word.push(*byte);
                    rest
                }
            };
        };
        words.push(word);
    }
}

/// Appends what is between the quotes, and returns the rest of the line.
fn quoted<'a>(mut line: &'a [u8], quote: u8, word: &mut Vec<u8>) -> Option<&'a [u8]> {
    let double = quote == b'"';
    loop {
        let (byte, rest) = match line {
            [end, rest @ ..] if *end == quote => {
                let ends = rest.first().is_none_or(u8::is_ascii_whitespace);
                return ends.then_some(rest);
            }
            [b'\\', b'x', high, low, rest @ ..]
                if double && high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                (hex(*high) * 16 + hex(*low), rest)
            }
            [b'\\', escaped, rest @ ..] if double => (unescape(*escaped), rest),
            [b'\\', b'\'', rest @ ..] => (b'\'', rest),
            [byte, rest @ ..] => (*byte, rest),
            [] => return None,
        };
        word.push(byte);
        line = rest;
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => digit.to_ascii_lowercase() - b'a' + 10,
    }
}

fn unescape(escaped: u8) -> u8 {
    match escaped {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

#[cfg(test)]
// Said, because the benchmark and the fuzz target include this file by its path.
#[path = "request/tests.rs"]
mod tests;
