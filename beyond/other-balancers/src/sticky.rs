//! Experiments with nginx's own `sticky`, which is free since 1.29.6, and servers that are drained.

use std::net::SocketAddr;

use anyhow::ensure;
use ch03_socket_polling::experiments::poll_twice;
use ch04_ip_hash::{
    Addresses, both_are_answered,
    methods::{Method, Servers, compare},
    second_is_refused, servers_of,
};
use lab::{
    Client, Result, Stage,
    client::{Error, Polling},
};

use crate::left_out;

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
    let [major, minor, patch] = SINCE;
    ensure!(
        numbers >= SINCE.to_vec(),
        "`sticky` needs nginx {major}.{minor}.{patch}, this is {nginx}; name a newer one with NGINX_BIN, \
         or see nginx/04-cookie.conf"
    );
    Ok(())
}

/// Starts three servers, if there is an nginx that knows `sticky`. Otherwise says what is missing.
async fn found(stage: &mut Stage) -> Result<bool> {
    if let Err(missing) = knows_sticky(&stage.nginx.find().await?) {
        left_out(stage, &missing.to_string());
        return Ok(false);
    }
    stage.servers.start(3, &[]).await?;
    Ok(true)
}

/// Round robin: the second request reaches another server.
pub async fn round_robin(stage: &mut Stage) -> Result<()> {
    stage.servers.start(3, &[]).await?;
    let url = stage.nginx.start("03-websocket.conf").await?;
    let twice = poll_twice(&stage.client("you", &url).keeping_cookies()).await?;
    second_is_refused(
        stage,
        &twice,
        "the second request is refused: 400 Session ID unknown",
    );
    Ok(())
}

/// `sticky cookie`: nginx makes a cookie that names the server.
pub async fn cookie(stage: &mut Stage) -> Result<()> {
    if !found(stage).await? {
        return Ok(());
    }
    let url = stage.nginx.start("beyond/04-sticky-cookie.conf").await?;
    let you = stage.client("you", &url);
    both_are_answered(stage, &poll_twice(&you.clone().keeping_cookies()).await?);
    second_is_refused(
        stage,
        &poll_twice(&you).await?,
        "a client that keeps no cookie is refused",
    );
    Ok(())
}

/// `sticky route`: the client names its server in the URL.
pub async fn route(stage: &mut Stage) -> Result<()> {
    if !found(stage).await? {
        return Ok(());
    }
    let url = stage.nginx.start("beyond/04-sticky-route.conf").await?;
    let b = stage.servers.addresses()[1];
    let you = stage.client("you", &url);
    let named = poll_twice(&you.clone().with_query("server=b")).await?;
    both_are_answered(stage, &named);
    stage.claim("it is B, as the URL says", named.asked == Some(b));
    second_is_refused(
        stage,
        &poll_twice(&you).await?,
        "a client that names no server is refused",
    );
    Ok(())
}

/// A table of `sticky cookie`, for clients that keep cookies and for others.
pub async fn methods(stage: &mut Stage) -> Result<()> {
    use Servers::{None as Nobody, Several};
    if !found(stage).await? {
        return Ok(());
    }
    let config = "beyond/04-sticky-cookie.conf";
    let methods = [
        Method::new(
            "sticky cookie",
            config,
            [Several; 3],
            "sticky cookie: even one address is spread, if clients keep cookies",
        )
        .keeping_cookies(),
        Method::new(
            "no cookie kept",
            config,
            [Nobody; 3],
            "sticky cookie: clients that keep none do not connect",
        ),
    ];
    compare(stage, &methods).await
}

/// Server A is drained: it keeps its clients, and gets no new ones.
pub async fn drain(stage: &mut Stage) -> Result<()> {
    const CLIENTS: u8 = 30;
    if !found(stage).await? {
        return Ok(());
    }
    let url = stage.nginx.start("beyond/04-sticky-cookie.conf").await?;
    let a = stage.servers.addresses()[0];
    let before = new_clients_of(a, &url, CLIENTS).await?;
    let clients = with_cookies(&url, CLIENTS).await?;
    let on_a = clients.iter().filter(|(_, server)| *server == Some(a));
    let on_a = on_a.count();
    stage
        .nginx
        .reload("beyond/04-sticky-drain.conf", str::to_owned)
        .await?;
    let moved = moved(&clients).await?;
    stage.claim_seen(
        "clients that have a cookie keep their server, A too",
        format!("{moved} of {CLIENTS} moved, {on_a} are on A"),
        moved == 0 && on_a > 0,
    );
    let after = new_clients_of(a, &url, CLIENTS).await?;
    stage.claim_seen(
        "A gets no new clients",
        format!("{after} of {CLIENTS}, before {before}"),
        after == 0 && before > 0,
    );
    Ok(())
}

/// Clients that keep cookies, each with the server that it got.
pub async fn with_cookies(
    url: &str,
    count: u8,
) -> Result<Vec<(Client, Option<SocketAddr>)>, Error> {
    let mut clients = Vec::new();
    for number in 1..=count {
        let client = Client::new(format!("client {number}"), url).keeping_cookies();
        let polling = Polling::open(&client).await?;
        clients.push((client, polling.owner));
    }
    Ok(clients)
}

/// The same clients open another session. How many of them get another server than before?
pub async fn moved(clients: &[(Client, Option<SocketAddr>)]) -> Result<usize, Error> {
    let mut moved = 0;
    for (client, server) in clients {
        let again = Polling::open(client).await?;
        moved += usize::from(again.owner != *server);
    }
    Ok(moved)
}

/// How many of `count` new clients get that server.
pub async fn new_clients_of(server: SocketAddr, url: &str, count: u8) -> Result<usize, Error> {
    let asked = servers_of(Addresses::ManySubnets, url, count).await?;
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
