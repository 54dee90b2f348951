//! Replaces the addresses in a config of HAProxy by the stage's addresses.
//!
//! As in nginx's configs, each address is either replaced or refused: nothing listens beyond this
//! machine.

use lab::parts::rewrite::{Misfit, Swap, Swaps};

/// Replaces every address in a config. Comments stay unchanged.
pub(crate) fn rewrite(config: &str, swaps: &[Swap]) -> Result<String, Misfit> {
    let mut swaps = Swaps::new(swaps);
    let mut rewritten = String::with_capacity(config.len());
    for line in config.split_inclusive('\n') {
        let (code, comment) = line.split_at(code_length(line));
        check(code)?;
        rewritten.push_str(&swaps.replace(code)?);
        rewritten.push_str(comment);
    }
    swaps.finish()?;
    Ok(rewritten)
}

/// Refuses a line that listens, or that names a server, in another form than
/// `127.0.0.1:<port>`. Which lines these are: HAProxy's configuration manual.
fn check(code: &str) -> Result<(), Misfit> {
    // HAProxy takes a word without its quotes and backslashes.
    let code = code.replace(['"', '\'', '\\'], "");
    let words: Vec<&str> = code.split_whitespace().collect();
    let (listens, address, shown) = match *words.as_slice() {
        ["bind" | "dgram-bind", address, ..] => (true, address, 2),
        ["stats", "socket", address, ..] | ["peer", _, address, ..] => (true, address, 3),
        ["server", _, address, ..] => (false, address, 3),
        ["dispatch", address, ..] => (false, address, 2),
        ["server-template", _, _, address, ..] => (false, address, 4),
        _ => return Ok(()),
    };
    let port = address.strip_prefix("127.0.0.1:").unwrap_or_default();
    if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(());
    }
    let line = words.get(..shown).unwrap_or(&words).join(" ");
    Err(if listens {
        Misfit::Listens(line)
    } else {
        Misfit::Server(line)
    })
}

/// The length of a line without its comment. In quotes and behind a backslash, `#` begins none.
fn code_length(line: &str) -> usize {
    let (mut quote, mut is_escaped) = (None, false);
    for (at, c) in line.char_indices() {
        match (quote, c) {
            _ if is_escaped => is_escaped = false,
            (None | Some('"'), '\\') => is_escaped = true,
            (None, '#') => return at,
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            _ => {}
        }
    }
    line.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SWAPS: [Swap; 1] = [Swap::Server {
        port: 3000,
        with: std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 19000),
    }];

    #[test]
    fn addresses_are_swapped_and_comments_are_not() {
        let config = "log-format \"#\" \\# bind\n bind 127.0.0.1:3000 # bind *:80, 127.0.0.1:9\n";
        assert_eq!(
            rewrite(config, &SWAPS),
            Ok(config.replace(":3000", ":19000"))
        );
    }

    #[test]
    fn every_address_in_another_form_is_refused_by_name() {
        for line in [
            "bind :3000",
            "bind *:3000",
            "bind [::]:3000",
            "bind [::1]:3000",
            "bind 0.0.0.0:3000",
            "bind localhost:3000",
            "bind 127.0.0.1:3000,:8080",
            "bind 127.0.0.1:3000-3010",
            "bind ${ADDRESS}",
            "bind /tmp/socket",
            "dgram-bind :514",
            "stats socket ipv4@0.0.0.0:9999",
            "peer other 10.0.0.1:10000",
            "server a localhost:8000",
            "server a [::1]:8000",
            "server a 127.0.0.1",
            "server-template a 3 _http._tcp.example.org:8000",
            "dispatch 10.0.0.1:80",
        ] {
            let config = format!("frontend web\n  bind 127.0.0.1:3000\n  {line} check\n");
            let refused = rewrite(&config, &SWAPS).map_err(|misfit| misfit.to_string());
            let said = refused.expect_err(line);
            assert!(said.starts_with(&format!("`{line}` ")), "{line}: {said}");
        }
        for line in ["\"bind\" :80", "b\\ind \":80\""] {
            let config = format!("bind 127.0.0.1:3000\n{line}\n");
            let refused = Misfit::Listens("bind :80".to_owned());
            assert_eq!(rewrite(&config, &SWAPS), Err(refused), "{line}");
        }
    }
}
