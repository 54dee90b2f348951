//! Replaces the article's addresses in a config by the stage's addresses.
//!
//! The configs are plain nginx with literal ports, so that nginx can use them without a stage. A
//! stage may run on other ports, and then each literal is replaced. It is an error if a literal is
//! missing, or if the stage does not use one of them. A learner may change the configs. So every
//! `listen` and every server is either replaced or refused: nothing listens beyond this machine.

mod misfit;
mod nginx;
mod words;

use std::{borrow::Cow, net::SocketAddr, ops::Range};

pub use misfit::Misfit;
pub(crate) use nginx::Nginx;

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
}

/// Replacements, and which of them were used.
pub struct Swaps<'a> {
    swaps: &'a [Swap],
    used: Vec<bool>,
}

impl<'a> Swaps<'a> {
    /// None of these is used yet.
    pub fn new(swaps: &'a [Swap]) -> Self {
        Self {
            swaps,
            used: vec![false; swaps.len()],
        }
    }

    /// Replaces each `127.0.0.1:<port>` in a text.
    ///
    /// # Errors
    /// When the stage has no server at such an address.
    pub fn replace<'t>(&mut self, text: &'t str) -> Result<Cow<'t, str>, Misfit> {
        let mut rest = text;
        let mut replaced = String::new();
        while let Some(place) = next_literal(rest) {
            let literal = &rest[place.clone()];
            let is_server = |swap: &Swap| matches!(swap, Swap::Server { .. });
            let found = self
                .swaps
                .iter()
                .position(|swap| is_server(swap) && swap.literal() == literal);
            let Some(index) = found else {
                return Err(Misfit::Left(literal.to_owned()));
            };
            self.used[index] = true;
            let (Swap::Server { with, .. } | Swap::Listen { with, .. }) = &self.swaps[index];
            replaced.push_str(&rest[..place.start]);
            replaced.push_str(&with.to_string());
            rest = &rest[place.end..];
        }
        if replaced.is_empty() {
            return Ok(text.into());
        }
        replaced.push_str(rest);
        Ok(replaced.into())
    }

    /// What replaces the address of a `listen`: `3000` or `127.0.0.1:3000`. The stage's port on
    /// another loopback address stays. `None` for every other address.
    fn listen(&mut self, address: &str) -> Option<String> {
        let port = address.strip_prefix("127.0.0.1:").unwrap_or(address);
        for (swap, used) in self.swaps.iter().zip(&mut self.used) {
            let Swap::Listen {
                port: article,
                with,
            } = swap
            else {
                continue;
            };
            if port == article.to_string() {
                *used = true;
                return Some(with.to_string());
            }
            let own = address.parse().ok().filter(|own: &SocketAddr| {
                own.is_ipv4() && own.ip().is_loopback() && own.port() == with.port()
            });
            if own.is_some() {
                return Some(address.to_owned());
            }
        }
        None
    }

    /// The last check.
    ///
    /// # Errors
    /// When an address of the stage was not used.
    pub fn finish(self) -> Result<(), Misfit> {
        match self.used.iter().position(|used| !used) {
            Some(index) => Err(Misfit::Missing(self.swaps[index].literal())),
            None => Ok(()),
        }
    }
}

/// The position of the first `127.0.0.1:<port>`.
fn next_literal(text: &str) -> Option<Range<usize>> {
    text.match_indices("127.0.0.1:").find_map(|(at, mark)| {
        let begins = !text[..at].ends_with(|c: char| c.is_ascii_digit() || c == '.');
        let port = &text[at + mark.len()..];
        let digits = port.find(|c: char| !c.is_ascii_digit());
        let digits = digits.unwrap_or(port.len());
        (begins && digits > 0).then(|| at..at + mark.len() + digits)
    })
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

    fn listen(with: u16) -> Swap {
        Swap::Listen {
            port: 3000,
            with: ([127, 0, 0, 1], with).into(),
        }
    }

    fn rewrite(config: &str, swaps: &[Swap]) -> Result<String, Misfit> {
        let mut nginx = Nginx::new(swaps);
        let rewritten = nginx.file(config)?;
        nginx.finish()?;
        Ok(rewritten)
    }

    #[test]
    fn addresses_are_swapped_and_comments_are_not() {
        let config = "server 127.0.0.1:8000; # 127.0.0.1:8000\nlisten 3000;\n";
        let swaps = [server(8000, 19000), listen(19001)];
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
        // Any white space, and a rewritten config is taken as it is.
        let once = rewrite("listen \t3000;", &[listen(19001)]).unwrap();
        assert_eq!(once, "listen \t127.0.0.1:19001;");
        let again = rewrite(&format!("{once} listen 3000;"), &[listen(19001)]).unwrap();
        assert!(again.starts_with(&once), "{again}");
        assert_eq!(
            rewrite(&once, &[]),
            Err(Misfit::Listens("listen 127.0.0.1:19001".into()))
        );
    }

    /// `WEB` stands for a `server` block with a line in it, `NODES` for an upstream with one.
    #[test]
    fn every_address_in_another_form_is_refused_by_name() {
        for (line, named) in [
            ("WEB listen [::]:3000", "listen [::]:3000"),
            ("WEB listen [::1]:3000", "listen [::1]:3000"),
            ("WEB listen *:3000", "listen *:3000"),
            ("WEB listen 0.0.0.0:3000", "listen 0.0.0.0:3000"),
            ("WEB listen localhost:3000", "listen localhost:3000"),
            ("WEB listen 127.0.0.1", "listen 127.0.0.1"),
            ("WEB listen 127.0.0.2:3000", "listen 127.0.0.2:3000"),
            ("WEB listen 10.0.0.1:19001", "listen 10.0.0.1:19001"),
            ("WEB listen unix:/tmp/socket", "listen unix:/tmp/socket"),
            ("WEB listen \"[::]:3000\" ipv6only=on", "listen [::]:3000"),
            ("WEB \"listen\" # here\n  8080", "listen 8080"),
            ("NODES server [::1]:8001", "server [::1]:8001"),
            ("NODES server localhost:8001", "server localhost:8001"),
            ("NODES server api.example.org", "server api.example.org"),
            ("NODES server 127.0.0.1", "server 127.0.0.1"),
            ("NODES server unix:/tmp/socket", "server unix:/tmp/socket"),
            ("NODES server 127.0.0.1:8001", "127.0.0.1:8001"),
            (
                "WEB proxy_pass http://localhost:8001",
                "proxy_pass http://localhost:8001",
            ),
            (
                "WEB proxy_pass http://[::1]:8001/a",
                "proxy_pass http://[::1]:8001/a",
            ),
            (
                "WEB proxy_pass http://unix:/tmp/s:/",
                "proxy_pass http://unix:/tmp/s:/",
            ),
            ("WEB proxy_pass http://node", "proxy_pass http://node"),
            ("WEB proxy_pass http://$host", "proxy_pass http://$host"),
            (
                "WEB proxy_pass http://${host}:80",
                "proxy_pass http://${host}:80",
            ),
            ("WEB fastcgi_pass [::1]:9000", "fastcgi_pass [::1]:9000"),
            (
                "WEB set $to localhost:8001; proxy_pass http://$to",
                "proxy_pass http://$to",
            ),
            (
                "WEB include /etc/nginx/mime.types",
                "include /etc/nginx/mime.types",
            ),
            ("WEB include sites/*.conf", "include sites/*.conf"),
            (
                "WEB include include/../other.conf",
                "include include/../other.conf",
            ),
        ] {
            let (block, line) = line.split_once(' ').unwrap();
            let (web, node) = match block {
                "WEB" => (line, "server 127.0.0.1:8000"),
                _ => ("gzip on", line),
            };
            let config = format!(
                "upstream nodes {{ server 127.0.0.1:8000; {node}; }} server {{ listen 3000; {web}; }}"
            );
            let refused = rewrite(&config, &[server(8000, 19000), listen(19001)]);
            let refused = refused.map_err(|misfit| misfit.to_string());
            let said = refused.expect_err(line);
            assert!(said.starts_with(&format!("`{named}` ")), "{line}: {said}");
        }
        assert_eq!(
            rewrite("server { listen 3000; } server { }", &[listen(1)]),
            Err(Misfit::NoListen)
        );
    }

    #[test]
    fn an_included_file_is_read_once_and_belongs_to_the_config() {
        let swaps = [server(8000, 19000), listen(19001)];
        let mut nginx = Nginx::new(&swaps);
        let config = "include include/a; include include/a; \
             server { listen 3000; proxy_pass http://more; }";
        nginx.file(config).unwrap();
        assert_eq!(nginx.next_included().as_deref(), Some("a"));
        let included = nginx.file("upstream more { server 127.0.0.1:8000; } include include/a;");
        assert!(included.unwrap().contains("server 127.0.0.1:19000;"));
        assert_eq!(nginx.next_included(), None);
        assert_eq!(nginx.finish(), Ok(()));
    }

    #[test]
    fn what_only_looks_like_an_address_is_let_pass() {
        let config = "include include/http.conf; include ../include/http.conf;\n\
             map $a $pool { default nodes; listen more; server http://127.0.0.1:8000; }\n\
             upstream nodes { server 127.0.0.1:8000; }\n\
             upstream more { server \"127.0.0.1:8000\" backup; }\n\
             server {\n listen 127.0.0.1:3000 reuseport; listen 127.0.0.2:19001;\n\
             location / { proxy_pass http://nodes$request_uri; }\n\
             location /pool { proxy_pass http://${pool}/x; }\n\
             location /one { proxy_pass http://127.0.0.1:8000; } }\n";
        let swaps = [server(8000, 19000), listen(19001)];
        let wanted = config.replace(":8000", ":19000").replace(":3000", ":19001");
        assert_eq!(rewrite(config, &swaps), Ok(wanted));
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
            swaps.push(listen(3000));
            let text = fs::read_to_string(&path).unwrap();
            rewrite(&text, &swaps).unwrap_or_else(|misfit| panic!("{}: {misfit}", path.display()));
        }
    }
}
