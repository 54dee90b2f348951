//! Tests of `request`.

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
        "*", "*1\r\n", "*2\r\n", "$", "$0\r\n", "$1\r\n", "$4\r\n", "\r\n", "\r", "\n", "-", "0",
        "1", "7", "PING", "PING\r\n", " ", "\"", "'", "\\", "\\x41",
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
