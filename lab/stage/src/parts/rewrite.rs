//! Replaces the article's addresses in a config by the stage's addresses.
//!
//! The configs are plain nginx with literal ports, so that nginx can use them without a stage. A
//! stage may run on other ports, and then each literal is replaced. It is an error if a literal is
//! missing, or if the stage does not use one of them.

use std::{fmt, net::SocketAddr, ops::Range};

/// A literal in the config, and its replacement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Swap {
    /// `127.0.0.1:<port>`, a server's address, becomes another address.
    Server {
        /// The article's port.
        port: u16,
        /// The replacement.
        with: SocketAddr,
    },
    /// `listen <port>` becomes another address, and only this machine can reach it.
    Listen {
        /// The article's port.
        port: u16,
        /// The replacement.
        with: SocketAddr,
    },
}

impl Swap {
    fn literal(&self) -> String {
        match self {
            Self::Server { port, .. } => format!("127.0.0.1:{port}"),
            Self::Listen { port, .. } => format!("listen {port}"),
        }
    }

    fn replacement(&self) -> String {
        match self {
            Self::Server { with, .. } => with.to_string(),
            Self::Listen { with, .. } => format!("listen {with}"),
        }
    }
}

/// Why a config does not fit the stage.
#[derive(Debug, PartialEq, Eq)]
pub enum Misfit {
    /// The config does not name an address that the stage uses.
    Missing(String),
    /// The config names an address that the stage does not use.
    Left(String),
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(literal) => write!(
                f,
                "`{literal}` is missing: the stage uses this address, so the config must name it"
            ),
            Self::Left(literal) => write!(
                f,
                "`{literal}` is named, but the stage has nothing there: remove the line"
            ),
        }
    }
}

impl std::error::Error for Misfit {}

/// Replaces every address in a config. Comments stay unchanged.
pub fn rewrite(config: &str, swaps: &[Swap]) -> Result<String, Misfit> {
    let mut used = vec![false; swaps.len()];
    let mut rewritten = String::with_capacity(config.len());
    let mut reader = Reader::default();
    for line in config.split_inclusive('\n') {
        let (code, comment) = line.split_at(reader.code_length(line));
        let mut rest = code;
        while let Some((place, literal)) = next_literal(rest) {
            let Some(index) = swaps.iter().position(|swap| swap.literal() == literal) else {
                return Err(Misfit::Left(literal));
            };
            used[index] = true;
            rewritten.push_str(&rest[..place.start]);
            rewritten.push_str(&swaps[index].replacement());
            rest = &rest[place.end..];
        }
        rewritten.push_str(rest);
        rewritten.push_str(comment);
    }
    match used.iter().position(|used| !used) {
        Some(index) => Err(Misfit::Missing(swaps[index].literal())),
        None => Ok(rewritten),
    }
}

/// Reads lines as nginx does. Between words, `#` begins a comment. In a word or in quotes, it does
/// not. Source: `ngx_conf_read_token` in `ngx_conf_file.c`.
#[derive(Default)]
struct Reader {
    place: Place,
    is_escaped: bool,
}

#[derive(Clone, Copy, Default)]
enum Place {
    #[default]
    BetweenWords,
    InWord,
    InQuotes(char),
}

impl Reader {
    /// The length of the next line without its comment.
    fn code_length(&mut self, line: &str) -> usize {
        for (at, c) in line.char_indices() {
            if self.is_escaped {
                self.is_escaped = false;
                continue;
            }
            self.is_escaped = c == '\\';
            self.place = match (self.place, c) {
                (Place::BetweenWords, '#') => return at,
                (Place::BetweenWords, '"' | '\'') => Place::InQuotes(c),
                (Place::InQuotes(quote), _) if c != quote => self.place,
                (Place::InQuotes(_), _) | (_, ' ' | '\t' | '\r' | '\n' | ';' | '{' | '}') => {
                    Place::BetweenWords
                }
                _ => Place::InWord,
            };
        }
        line.len()
    }
}

/// The position and the text of the first `127.0.0.1:<port>` or `listen <port>`.
fn next_literal(code: &str) -> Option<(Range<usize>, String)> {
    let server = code.match_indices("127.0.0.1:").find_map(|(at, mark)| {
        let begins = !code[..at].ends_with(|c: char| c.is_ascii_digit() || c == '.');
        let digits = digits(&code[at + mark.len()..]);
        let place = at..at + mark.len() + digits.len();
        (begins && !digits.is_empty()).then(|| (place.clone(), code[place].to_owned()))
    });
    let listen = code.match_indices("listen").find_map(|(at, mark)| {
        let begins = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let after = &code[at + mark.len()..];
        let port = after.trim_start_matches([' ', '\t']);
        let digits = digits(port);
        // `listen 127.0.0.1:3000` names an address, and its first number is no port.
        let is_port = !digits.is_empty() && !port[digits.len()..].starts_with(['.', ':']);
        let length = mark.len() + after.len() - port.len() + digits.len();
        (begins && is_port && port.len() < after.len())
            .then(|| (at..at + length, format!("listen {digits}")))
    });
    [server, listen]
        .into_iter()
        .flatten()
        .min_by_key(|(place, _)| place.start)
}

/// The digits at the beginning of a text.
fn digits(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_digit());
    &text[..end.unwrap_or(text.len())]
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    fn server(port: u16, with: u16) -> Swap {
        Swap::Server {
            port,
            with: ([127, 0, 0, 1], with).into(),
        }
    }

    #[test]
    fn addresses_are_swapped_and_comments_are_not() {
        let config = "server 127.0.0.1:8000; # 127.0.0.1:8000\nlisten 3000;\n";
        let swaps = [
            server(8000, 19000),
            Swap::Listen {
                port: 3000,
                with: ([127, 0, 0, 1], 19001).into(),
            },
        ];
        assert_eq!(
            rewrite(config, &swaps).unwrap(),
            "server 127.0.0.1:19000; # 127.0.0.1:8000\nlisten 127.0.0.1:19001;\n"
        );
    }

    #[test]
    fn a_server_that_the_config_forgets_is_named() {
        let misfit = rewrite(
            "server 127.0.0.1:8000;",
            &[server(8000, 1), server(8001, 2)],
        );
        assert_eq!(misfit, Err(Misfit::Missing("127.0.0.1:8001".into())));
    }

    #[test]
    fn an_address_that_nobody_serves_is_named() {
        let misfit = rewrite("server 127.0.0.1:80001;", &[server(8000, 1)]);
        assert_eq!(misfit, Err(Misfit::Left("127.0.0.1:80001".into())));
    }

    /// Each was found by `fuzz/fuzz_targets/rewrite.rs`, or while writing it.
    #[test]
    fn what_fuzzing_found_stays_mended() {
        let swaps = [server(8000, 19000)];
        for (config, rewritten) in [
            // In quotes, or in a word, `#` begins no comment.
            (
                "set $mark \"#\"; server 127.0.0.1:8000;",
                "set $mark \"#\"; server 127.0.0.1:19000;",
            ),
            (
                "set $mark a#b; server 127.0.0.1:8000;",
                "set $mark a#b; server 127.0.0.1:19000;",
            ),
            // Another address that ends like this one.
            (
                "deny 10.127.0.0.1:8000; server 127.0.0.1:8000;",
                "deny 10.127.0.0.1:8000; server 127.0.0.1:19000;",
            ),
        ] {
            assert_eq!(rewrite(config, &swaps).as_deref(), Ok(rewritten));
        }
        let listen = |with: u16| Swap::Listen {
            port: 3000,
            with: ([127, 0, 0, 1], with).into(),
        };
        // Any white space, and a rewritten config is taken as it is.
        let once = rewrite("listen \t3000;", &[listen(19001)]).unwrap();
        assert_eq!(once, "listen 127.0.0.1:19001;");
        assert_eq!(rewrite(&once, &[server(19001, 19001)]), Ok(once.clone()));
        assert_eq!(
            rewrite(&once, &[]),
            Err(Misfit::Left("127.0.0.1:19001".into()))
        );
    }

    proptest! {
        #[test]
        fn any_text_is_rewritten_or_refused(text in any::<String>()) {
            if let Ok(rewritten) = rewrite(&text, &[]) {
                prop_assert_eq!(rewritten, text);
            }
        }

        #[test]
        fn swapping_there_and_back_is_nothing(ports in proptest::collection::hash_set(1u16.., 1..6)) {
            let config: String = ports.iter().map(|port| format!("server 127.0.0.1:{port};\n")).collect();
            let ports: Vec<u16> = ports.into_iter().collect();
            let shifted = |port: u16| ports[(ports.iter().position(|p| *p == port).unwrap() + 1) % ports.len()];
            let there: Vec<_> = ports.iter().map(|port| server(*port, shifted(*port))).collect();
            let back: Vec<_> = ports.iter().map(|port| server(shifted(*port), *port)).collect();
            let swapped = rewrite(&config, &there).unwrap();
            prop_assert_eq!(rewrite(&swapped, &back).unwrap(), config);
        }
    }

    #[test]
    fn every_config_names_its_servers_and_its_port() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../nginx");
        let chapters = fs::read_dir(folder).unwrap();
        let beyond = fs::read_dir(format!("{folder}/beyond")).unwrap();
        for file in chapters.chain(beyond) {
            let path = file.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "conf") {
                continue;
            }
            let last = if path.ends_with("02-backup.conf") {
                8003
            } else {
                8002
            };
            let mut swaps: Vec<_> = (8000..=last).map(|port| server(port, port)).collect();
            swaps.push(Swap::Listen {
                port: 3000,
                with: ([127, 0, 0, 1], 3000).into(),
            });
            let text = fs::read_to_string(&path).unwrap();
            rewrite(&text, &swaps).unwrap_or_else(|misfit| panic!("{}: {misfit}", path.display()));
        }
    }
}
