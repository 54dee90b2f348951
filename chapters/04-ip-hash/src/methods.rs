//! A table that compares methods of choosing a server.

use lab::{Result, Stage, Transport};

use crate::{Addresses, connect_from, per_server};

/// A method of choosing a server, and what it must do.
pub struct Method {
    name: &'static str,
    config: &'static str,
    transport: Transport,
    cookies: bool,
    /// How many servers get clients: from one address, from one /24, from a /24 each.
    servers: [Servers; 3],
    /// The same, as a sentence.
    claim: &'static str,
}

/// How many servers get clients of one group.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Servers {
    /// All clients connect, to the same server.
    One,
    /// All clients connect, and several servers get some of them.
    Several,
    /// No client connects.
    None,
}

impl Method {
    /// A method, for clients that start with polling and keep no cookies. `servers` is for
    /// clients from one address, from one /24, and from a /24 each.
    pub fn new(
        name: &'static str,
        config: &'static str,
        servers: [Servers; 3],
        claim: &'static str,
    ) -> Self {
        Self {
            name,
            config,
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

    /// The same for clients that use only WebSocket.
    #[must_use]
    pub fn websocket_only(mut self) -> Self {
        self.transport = Transport::WebSocket;
        self
    }
}

/// Thirty clients of each group connect through nginx, with each method. Prints a table of how
/// many connect, and to which servers.
pub async fn compare(stage: &mut Stage, methods: &[Method]) -> Result<()> {
    compare_with(stage, methods, async |stage, config| {
        stage.nginx.switch(config).await
    })
    .await
}

/// The same with any balancer: `start` starts it with a config, and returns its URL.
pub async fn compare_with(
    stage: &mut Stage,
    methods: &[Method],
    mut start: impl AsyncFnMut(&mut Stage, &str) -> Result<String>,
) -> Result<()> {
    stage.note(format!(
        "{:20}{:18}{:18}{}",
        "", "one address", "one /24", "30 different /24s"
    ));
    let mut verdicts = Vec::new();
    for method in methods {
        let url = start(stage, method.config).await?;
        let (line, holds) = row(stage, method, &url).await;
        stage.note(line.trim_end());
        verdicts.push(holds);
    }
    for (method, holds) in methods.iter().zip(verdicts) {
        if method.servers == [Servers::None; 3] {
            stage.claim_failure(method.claim, "", holds);
        } else {
            stage.claim(method.claim, holds);
        }
    }
    Ok(())
}

/// One line of the table, and whether the method does what it must.
async fn row(stage: &Stage, method: &Method, url: &str) -> (String, bool) {
    const CLIENTS: u8 = 30;
    const GROUPS: [Addresses; 3] = [Addresses::One, Addresses::OneSubnet, Addresses::ManySubnets];
    let (mut line, mut holds) = (format!("{:20}", method.name), true);
    for (group, expected) in GROUPS.into_iter().zip(method.servers) {
        let (connected, failed) =
            connect_from(group, url, CLIENTS, method.transport, method.cookies).await;
        let counts = per_server(&connected);
        holds &= match expected {
            Servers::One => failed == 0 && counts.len() == 1,
            Servers::Several => failed == 0 && counts.len() > 1,
            Servers::None => connected.is_empty(),
        };
        let servers = stage.servers.addresses();
        let counts = servers
            .iter()
            .map(|server| counts.get(server).unwrap_or(&0));
        let counts: Vec<_> = counts.map(usize::to_string).collect();
        let cell = format!("{:2}  {}", connected.len(), counts.join("/"));
        line.push_str(&format!("{cell:18}"));
    }
    (line, holds)
}
