//! Methods of choosing a server, of nginx and of others, and crowds of clients to compare them by.

use std::collections::BTreeSet;

use lab::{Result, Stage, Transport};

use crate::{Crowd, gather, spread};

/// How the clients of a crowd are told apart, or not.
pub struct Method {
    name: &'static str,
    balancer: Balancer,
    transport: Transport,
    cookies: bool,
    /// What must come of it: how many servers does each crowd use?
    servers: [Servers; 3],
    /// The same, as a sentence.
    claim: &'static str,
}

/// Who chooses the server, with which of its configs.
enum Balancer {
    Nginx(&'static str),
    Haproxy(&'static str),
}

/// How many servers a crowd uses.
#[derive(Clone, Copy)]
pub enum Servers {
    /// All of it has the same one.
    One,
    /// More than one.
    Several,
    /// Nobody connects.
    None,
}

impl Method {
    /// One of nginx's, for clients that begin with polling and keep no cookies. `servers` is
    /// for one address, one /24, and a /24 each.
    pub fn nginx(
        name: &'static str,
        config: &'static str,
        servers: [Servers; 3],
        claim: &'static str,
    ) -> Self {
        Self::of(name, Balancer::Nginx(config), servers, claim)
    }

    /// One of HAProxy's.
    pub fn haproxy(
        name: &'static str,
        config: &'static str,
        servers: [Servers; 3],
        claim: &'static str,
    ) -> Self {
        Self::of(name, Balancer::Haproxy(config), servers, claim)
    }

    fn of(
        name: &'static str,
        balancer: Balancer,
        servers: [Servers; 3],
        claim: &'static str,
    ) -> Self {
        Self {
            name,
            balancer,
            transport: Transport::Upgrade,
            cookies: false,
            servers,
            claim,
        }
    }

    /// The same for clients that keep cookies.
    #[must_use]
    pub fn keeping_cookies(mut self) -> Self {
        self.cookies = true;
        self
    }

    /// The same for clients that use WebSocket alone.
    #[must_use]
    pub fn websocket_only(mut self) -> Self {
        self.transport = Transport::WebSocket;
        self
    }
}

/// Thirty clients of each crowd, with each method: a table of how many connect, and where to.
///
/// # Errors
/// When a balancer does not start.
pub async fn compare(stage: &mut Stage, methods: &[Method]) -> Result<()> {
    const CLIENTS: u8 = 30;
    stage.note(format!(
        "{:20}{:18}{:18}{}",
        "", "one address", "one /24", "30 different /24s"
    ));
    let mut misfits = BTreeSet::new();
    for method in methods {
        let url = match method.balancer {
            Balancer::Nginx(config) => stage.switch_nginx(config).await?,
            Balancer::Haproxy(config) => stage.switch_haproxy(config).await?,
        };
        let mut line = format!("{:20}", method.name);
        for (crowd, expected) in [Crowd::OneAddress, Crowd::OneSubnet, Crowd::Spread]
            .into_iter()
            .zip(method.servers)
        {
            let (members, failed) =
                gather(&url, crowd, CLIENTS, method.transport, method.cookies).await;
            let spread = spread(&members);
            let fits = match expected {
                Servers::One => failed == 0 && spread.len() == 1,
                Servers::Several => failed == 0 && spread.len() > 1,
                Servers::None => members.is_empty(),
            };
            if !fits {
                misfits.insert(method.name);
            }
            let counts: Vec<_> = stage
                .server_addresses()
                .iter()
                .map(|server| spread.get(server).copied().unwrap_or(0).to_string())
                .collect();
            let cell = format!("{:2}  {}", members.len(), counts.join("/"));
            line.push_str(&format!("{cell:18}"));
        }
        stage.note(line.trim_end());
    }
    for method in methods {
        stage.claim(method.claim, !misfits.contains(method.name));
    }
    Ok(())
}
