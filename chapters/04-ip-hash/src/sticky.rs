//! What newer nginx has for sessions: `sticky cookie`, and servers that are drained.

use std::{io, net::SocketAddr};

use ch03_socket_polling::{Twice, poll_twice};
use lab::{
    Client, Result,
    client::{Error, Polling},
};

use crate::{Crowd, servers_of};

/// The first nginx whose free version knows `sticky` and `drain`. Source: its change log.
const SINCE: [u32; 3] = [1, 29, 6];

/// Whether an nginx, such as `nginx 1.28.3, /usr/sbin/nginx`, knows `sticky`.
///
/// # Errors
/// When it does not: what is needed, and what is there.
pub fn knows_sticky(nginx: &str) -> Result<()> {
    let version = nginx.split([' ', ',']).nth(1).unwrap_or_default();
    let numbers: Vec<u32> = version
        .split('.')
        .filter_map(|number| number.parse().ok())
        .collect();
    if numbers >= SINCE.to_vec() {
        return Ok(());
    }
    let [major, minor, patch] = SINCE;
    let needs = format!(
        "`sticky` needs nginx {major}.{minor}.{patch}, this is {nginx}; name a newer one with NGINX_BIN, \
         or see nginx/04-cookie.conf"
    );
    Err(io::Error::other(needs).into())
}

/// The first two requests of a client that keeps cookies, or of one that does not.
///
/// # Errors
/// When the first already fails.
pub async fn twice(url: &str, keeps_cookies: bool) -> Result<Twice, Error> {
    let client = Client::new("you", url);
    let client = if keeps_cookies {
        client.keeping_cookies()
    } else {
        client
    };
    poll_twice(&client).await
}

/// The first two requests of a client that keeps no cookie, and names a server in its URLs.
///
/// # Errors
/// When the first already fails.
pub async fn twice_to(url: &str, server: char) -> Result<Twice, Error> {
    let client = Client::new("you", url).with_query(&format!("server={server}"));
    poll_twice(&client).await
}

/// Clients that keep cookies, each with the server that it has.
///
/// # Errors
/// When a handshake fails.
pub async fn settle(url: &str, count: u8) -> Result<Vec<(Client, Option<SocketAddr>)>, Error> {
    let mut settled = Vec::new();
    for number in 1..=count {
        let client = Client::new(format!("client {number}"), url).keeping_cookies();
        let polling = Polling::open(&client).await?;
        settled.push((client, polling.owner));
    }
    Ok(settled)
}

/// Clients that come again: how many of them have another server than before.
///
/// # Errors
/// When a handshake fails.
pub async fn moved(settled: &[(Client, Option<SocketAddr>)]) -> Result<usize, Error> {
    let mut moved = 0;
    for (client, server) in settled {
        let again = Polling::open(client).await?;
        moved += usize::from(again.owner != *server);
    }
    Ok(moved)
}

/// How many of `count` new clients get that server.
///
/// # Errors
/// When a handshake fails.
pub async fn newcomers(url: &str, count: u8, server: SocketAddr) -> Result<usize, Error> {
    let asked = servers_of(url, Crowd::Spread, count).await?;
    let there = asked.iter().filter(|(_, asked)| *asked == Some(server));
    Ok(there.count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sticky_is_for_nginx_1_29_6_and_newer() {
        for new in [
            "nginx 1.29.6, from NGINX_BIN",
            "nginx 1.31.4, built from source",
            "nginx 1.30.0",
            "nginx 2.0",
        ] {
            assert!(knows_sticky(new).is_ok(), "{new}");
        }
        for old in [
            "nginx 1.22.1, /usr/sbin/nginx",
            "nginx 1.29.5",
            "nginx 1.9.10",
            "nginx",
        ] {
            let needs = knows_sticky(old).unwrap_err().to_string();
            assert!(
                needs.contains(&format!("needs nginx 1.29.6, this is {old};")),
                "{needs}"
            );
        }
    }
}
