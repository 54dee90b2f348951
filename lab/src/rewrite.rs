//! Swaps the article's addresses in a config for those in use.
//!
//! The configs are plain nginx with literal ports, so that they start by hand. A stage
//! may run on other ports: then each literal is replaced, and it is an error if one is
//! missing, or if one is left that nobody listens on.

use std::{fmt, net::SocketAddr};

/// A literal of the config, and what stands there instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Swap {
    /// `127.0.0.1:<port>`, a server's address, becomes another address.
    Server { port: u16, with: SocketAddr },
    /// `listen <port>` becomes another address: of loopback alone.
    Listen { port: u16, with: SocketAddr },
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
pub(crate) enum Misfit {
    /// The stage runs something that the config does not name.
    Missing(String),
    /// The config names something that the stage does not run.
    Left(String),
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(literal) => write!(
                f,
                "`{literal}` is missing: the stage runs it, so the config must name it"
            ),
            Self::Left(literal) => write!(
                f,
                "`{literal}` is named, but nothing of the stage runs there: take the line out"
            ),
        }
    }
}

impl std::error::Error for Misfit {}

/// The config with every address swapped; comments stay as they are.
pub(crate) fn rewrite(config: &str, swaps: &[Swap]) -> Result<String, Misfit> {
    let mut used = vec![false; swaps.len()];
    let mut rewritten = String::with_capacity(config.len());
    for line in config.split_inclusive('\n') {
        let (code, comment) = line.split_at(line.find('#').unwrap_or(line.len()));
        let mut rest = code;
        while let Some((at, literal)) = next_literal(rest) {
            let Some(index) = swaps.iter().position(|swap| swap.literal() == literal) else {
                return Err(Misfit::Left(literal.to_owned()));
            };
            used[index] = true;
            rewritten.push_str(&rest[..at]);
            rewritten.push_str(&swaps[index].replacement());
            rest = &rest[at + literal.len()..];
        }
        rewritten.push_str(rest);
        rewritten.push_str(comment);
    }
    match used.iter().position(|used| !used) {
        Some(index) => Err(Misfit::Missing(swaps[index].literal())),
        None => Ok(rewritten),
    }
}

/// Position and text of the first `127.0.0.1:<port>` or `listen <port>`.
fn next_literal(code: &str) -> Option<(usize, &str)> {
    ["127.0.0.1:", "listen "]
        .iter()
        .filter_map(|mark| {
            code.match_indices(mark).find_map(|(at, _)| {
                let digits = code[at + mark.len()..]
                    .find(|c: char| !c.is_ascii_digit())
                    .unwrap_or(code.len() - at - mark.len());
                (digits > 0).then(|| (at, &code[at..at + mark.len() + digits]))
            })
        })
        .min_by_key(|(at, _)| *at)
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
        for file in fs::read_dir(super::super::nginx::CONFIGS).unwrap() {
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
