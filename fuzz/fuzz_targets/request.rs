//! What clients send to the embedded pub/sub server, decoded.
//!
//! ```sh
//! cargo fuzz run -s none request
//! ```
//!
//! Decoded in pieces, bytes are the same requests as decoded at once; a request holds no
//! more than came in; and encoded again, it is decoded to itself.

#![no_main]

use libfuzzer_sys::fuzz_target;

// The file itself, so that the crate need not show its decoder to anyone.
#[allow(dead_code)]
#[path = "../../lab/embedded-pubsub/src/request.rs"]
mod request;

use request::{Decoder, ProtocolError, Request};

fuzz_target!(|input: &[u8]| {
    let Some((&size, bytes)) = input.split_first() else {
        return;
    };
    let at_once = decode(bytes, bytes.len());
    for size in [1, usize::from(size).max(1)] {
        assert_eq!(decode(bytes, size), at_once, "in pieces of {size}");
    }

    let (requests, _) = at_once;
    assert!(requests.iter().all(|request| !request.is_empty()));
    let held: usize = requests.iter().flatten().map(Vec::len).sum();
    assert!(held <= bytes.len(), "{held} of {}", bytes.len());

    let encoded: Vec<u8> = requests.iter().flat_map(encode).collect();
    assert_eq!(decode(&encoded, encoded.len()), (requests, None));
});

fn decode(bytes: &[u8], size: usize) -> (Vec<Request>, Option<ProtocolError>) {
    let mut decoder = Decoder::default();
    let mut requests = Vec::new();
    for piece in bytes.chunks(size.max(1)) {
        decoder.buffer().extend_from_slice(piece);
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
