//! Configs, and the addresses in them swapped for a stage's.
//!
//! ```sh
//! cargo fuzz run -s none rewrite
//! ```
//!
//! A rewritten config names no address of before, and rewritten again it stays as it is;
//! addresses swapped there and back are where they were; and a refusal tells the truth.

#![no_main]

use std::net::SocketAddr;

use libfuzzer_sys::fuzz_target;

// The file itself, so that the crate need not show it to anyone.
#[allow(dead_code)]
#[path = "../../lab/src/rewrite.rs"]
mod rewrite;

use rewrite::{Misfit, Swap, rewrite};

const SERVERS: [u16; 2] = [8000, 8001];
const LISTEN: u16 = 3000;

fuzz_target!(|config: &str| {
    new_ports(config);
    there_and_back(config);
});

fn new_ports(config: &str) {
    let new = |port: u16| port + 11_000;
    let mut swaps: Vec<_> = SERVERS.map(|port| server(port, new(port))).into();
    swaps.push(Swap::Listen {
        port: LISTEN,
        with: loopback(new(LISTEN)),
    });
    // Without these, nothing is a comment or in quotes, and all of the text counts.
    let is_plain = !config.contains(['#', '"', '\'', '\\']);
    match rewrite(config, &swaps) {
        Ok(rewritten) => {
            let as_it_is: Vec<_> = [SERVERS[0], SERVERS[1], LISTEN]
                .map(|port| server(new(port), new(port)))
                .into();
            assert_eq!(rewrite(&rewritten, &as_it_is).as_ref(), Ok(&rewritten));
            for port in SERVERS {
                let (old, new) = (address(port), address(new(port)));
                let count = rewritten.matches(&new).count();
                if is_plain && !rewritten.contains(&format!(".{new}")) {
                    assert!(!names(&rewritten, &old), "{old} is left");
                    assert!(count > 0, "{new} is missing");
                }
            }
        }
        Err(Misfit::Missing(literal)) if is_plain => {
            assert!(!names(config, &literal), "{literal} is there");
        }
        Err(Misfit::Left(literal)) => {
            let number = literal.rsplit([' ', ':']).next().unwrap_or_default();
            assert!(config.contains(number), "{literal} is not there");
            assert!(literal != format!("listen {LISTEN}"));
            assert!(!SERVERS.map(address).contains(&literal));
        }
        Err(Misfit::Missing(_)) => {}
    }
}

fn there_and_back(config: &str) {
    let [one, other] = SERVERS;
    let swap = [server(one, other), server(other, one)];
    if let Ok(there) = rewrite(config, &swap) {
        assert_eq!(rewrite(&there, &swap).as_deref(), Ok(config));
    }
}

/// Whether a text without comments and quotes has that address as a word.
fn names(text: &str, literal: &str) -> bool {
    text.split([' ', '\t', '\r', '\n', ';', '{', '}'])
        .any(|word| word == literal)
}

fn server(port: u16, with: u16) -> Swap {
    Swap::Server {
        port,
        with: loopback(with),
    }
}

fn address(port: u16) -> String {
    loopback(port).to_string()
}

fn loopback(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}
