//! Decodes what a client sends: an array of bulk strings, or an inline command as
//! typed into telnet.
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

/// Redis reads up to 512 MiB into one argument. No subscriber could be sent more
/// than its output limit of 32 MiB, so half a gigabyte would be read for nothing.
const MAX_REQUEST: usize = 64 * 1024 * 1024;

/// A free buffer of more than this is given back once a request is complete.
const KEPT_CAPACITY: usize = 64 * 1024;

/// Why the bytes are no request, in Redis's words. The connection cannot go on:
/// nobody knows where the next request would begin.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ProtocolError(pub(crate) String);

/// Takes bytes in pieces of any size and gives complete requests.
///
/// It keeps its place between the pieces, so that each byte is looked at once
/// however many reads bring it. Its memory grows with the bytes that came in, never
/// with a number that a client merely announced.
#[derive(Default)]
pub(crate) struct Decoder {
    unread: BytesMut,
    /// So many bytes of `unread` are known to hold no end of line.
    searched: usize,
    arguments: Request,
    /// Arguments that the array's header announced and that are still to come.
    missing: usize,
    /// Length of the argument that is coming in, once its header was read.
    bulk_len: Option<usize>,
    /// What the arguments of this request add up to.
    size: usize,
}

impl Decoder {
    /// Where to append the bytes that were received.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.unread
    }

    /// Bytes of memory that a request takes which is not complete yet.
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
        // A copy, and no shared slice: the name of a channel is kept for as long as
        // somebody subscribes to it, and must not keep a whole read buffer with it.
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

    /// An inline command. A person's terminal may end it with LF alone.
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

/// `*0` and `*-1` announce nothing; Redis passes over them without an answer.
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
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// All requests that these bytes hold when they come in pieces of these sizes,
    /// and the error that ended them.
    fn decode(bytes: &[u8], sizes: &[usize]) -> (Vec<Request>, Option<ProtocolError>) {
        let mut decoder = Decoder::default();
        let mut requests = Vec::new();
        let mut sizes = sizes.iter().copied().chain([usize::MAX]).cycle();
        let mut rest = bytes;
        while !rest.is_empty() {
            let size = sizes.next().unwrap().clamp(1, rest.len());
            let (piece, later) = rest.split_at(size);
            decoder.buffer().extend_from_slice(piece);
            rest = later;
            loop {
                match decoder.next_request() {
                    Ok(Some(request)) => requests.push(request),
                    Ok(None) => break,
                    Err(error) => return (requests, Some(error)),
                }
            }
        }
        (requests, None)
    }

    fn encode(request: &Request) -> Vec<u8> {
        let mut bytes = format!("*{}\r\n", request.len()).into_bytes();
        for argument in request {
            bytes.extend(format!("${}\r\n", argument.len()).bytes());
            bytes.extend(argument);
            bytes.extend(b"\r\n");
        }
        bytes
    }

    /// Bytes of which RESP and inline commands are made, so that much of it decodes.
    fn nearly_resp() -> impl Strategy<Value = Vec<u8>> {
        let pieces = [
            "*", "*1\r\n", "*2\r\n", "$", "$0\r\n", "$1\r\n", "$4\r\n", "\r\n", "\r", "\n", "-",
            "0", "1", "7", "PING", "PING\r\n", " ", "\"", "'", "\\", "\\x41",
        ];
        vec(prop::sample::select(pieces.to_vec()), 0..30).prop_map(|p| p.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn an_encoded_request_is_decoded_to_itself_however_it_is_split(
            requests in vec(vec(vec(any::<u8>(), 0..40), 1..6), 0..6),
            sizes in vec(1_usize..50, 0..20),
        ) {
            let bytes: Vec<u8> = requests.iter().flat_map(encode).collect();
            prop_assert_eq!(decode(&bytes, &sizes), (requests, None));
        }

        #[test]
        fn a_split_changes_nothing(bytes in nearly_resp(), sizes in vec(1_usize..9, 0..20)) {
            prop_assert_eq!(decode(&bytes, &sizes), decode(&bytes, &[]));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..200)) {
            decode(&bytes, &[]);
        }
    }

    #[test]
    fn what_is_no_request_is_refused_in_the_words_of_redis() {
        for (bytes, words) in [
            ("*x\r\n", "invalid multibulk length"),
            ("*+1\r\n", "invalid multibulk length"),
            ("*1048577\r\n", "invalid multibulk length"),
            ("*1\r\n$-1\r\n", "invalid bulk length"),
            ("*1\r\n$x\r\n", "invalid bulk length"),
            ("*1\r\n$67108865\r\n", "invalid bulk length"),
            ("*1\r\n+PING\r\n", "expected '$', got '+'"),
            ("PING \"x\r\n", "unbalanced quotes in request"),
        ] {
            let error = ProtocolError(words.into());
            assert_eq!(
                decode(bytes.as_bytes(), &[]),
                (vec![], Some(error)),
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn nested_arrays_are_refused_at_the_second_level() {
        let bytes = "*1\r\n".repeat(1_000_000);
        let error = ProtocolError("expected '$', got '*'".into());
        assert_eq!(decode(bytes.as_bytes(), &[]), (vec![], Some(error)));
    }

    #[test]
    fn an_endless_line_is_refused() {
        for (start, words) in [
            ("", "too big inline request"),
            ("*", "too big mbulk count string"),
            ("*1\r\n$", "too big bulk count string"),
        ] {
            let bytes = start.to_owned() + &"1".repeat(MAX_LINE + 1);
            let error = ProtocolError(words.into());
            assert_eq!(decode(bytes.as_bytes(), &[]), (vec![], Some(error)));
        }
    }

    #[test]
    fn arguments_that_add_up_to_too_much_are_refused() {
        let half = MAX_REQUEST / 2 + 1;
        let bytes = [
            format!("*2\r\n${half}\r\n").into_bytes(),
            vec![b'x'; half],
            format!("\r\n${half}\r\n").into_bytes(),
        ];
        let error = ProtocolError("too big request".into());
        assert_eq!(decode(&bytes.concat(), &[]), (vec![], Some(error)));
    }

    #[test]
    fn an_announced_number_reserves_no_memory() {
        let mut decoder = Decoder::default();
        decoder
            .buffer()
            .extend_from_slice(b"*1048576\r\n$67108864\r\n");
        let before = decoder.unread.capacity();
        assert_eq!(decoder.next_request(), Ok(None));
        assert_eq!(decoder.arguments.capacity(), 0);
        assert!(decoder.unread.capacity() <= before);
    }

    #[test]
    fn bytes_that_were_searched_are_not_searched_again() {
        let mut decoder = Decoder::default();
        for received in 1..=1000 {
            decoder.buffer().extend_from_slice(b"x");
            assert_eq!(decoder.next_request(), Ok(None));
            assert_eq!(decoder.searched, received);
        }
        decoder.buffer().extend_from_slice(b"\r\n");
        assert_eq!(decoder.next_request(), Ok(Some(vec![vec![b'x'; 1000]])));
        assert_eq!(decoder.searched, 0);
    }

    #[test]
    fn a_person_may_type_a_command() {
        let words = |line: &str| {
            let (mut requests, error) = decode(line.as_bytes(), &[]);
            assert_eq!(error, None);
            let words = requests.pop().unwrap_or_default();
            words
                .into_iter()
                .map(|word| String::from_utf8(word).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(words("PING\n"), ["PING"]);
        assert_eq!(
            words("  PUBLISH\tnews  hello \r\n"),
            ["PUBLISH", "news", "hello"]
        );
        assert_eq!(
            words("a \"b c\" 'd e' f\"g h\"\r\n"),
            ["a", "b c", "d e", "fg h"]
        );
        assert_eq!(
            words("\"\\x41\\n\\\"\" '\\x41\\'' \"\"\r\n"),
            ["A\n\"", "\\x41'", ""]
        );
        assert!(words("\r\n  \r\n").is_empty());
    }
}
