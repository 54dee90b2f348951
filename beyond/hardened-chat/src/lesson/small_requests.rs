//! What an open socket costs, with and without a large cookie.

use anyhow::{Context, Result};
use drills::servers_memory;
use lab::Stage;
use tokio::net::TcpStream;

use super::one_server;
use crate::clients::large_cookie::{LARGE, open, open_all};

/// How many sockets are opened each time. They do not answer pings, so all must be open within 45 s.
const SOCKETS: usize = 200;

/// The KiB that each open socket adds to the memory of its server.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Without a cookie.
    pub plain: f64,
    /// With a cookie of [`LARGE`] bytes.
    pub cookie: f64,
}

/// The cost where the server keeps whole requests, and where it keeps small copies.
///
/// # Errors
/// When a server does not start, or refuses a socket.
pub async fn copied(stage: &mut Stage) -> Result<()> {
    let whole = Cost::with_requests(stage, "whole").await?;
    let small = Cost::with_requests(stage, "small").await?;
    stage.claim_failure(
        "REQUESTS=whole: each socket keeps its request, and the cookie in it",
        whole.in_words(),
        whole.plain > small.plain + 2.0 && whole.cookie > small.cookie + 6.0,
    );
    stage.claim_seen(
        "REQUESTS=small: a socket costs less, and a cookie costs nothing",
        small.in_words(),
        small.cookie < small.plain + 2.0,
    );
    Ok(())
}

impl Cost {
    /// Measures it on a new server with that value of `REQUESTS`.
    ///
    /// # Errors
    /// When the server does not start, or refuses a socket.
    pub async fn with_requests(stage: &mut Stage, requests: &str) -> Result<Self> {
        one_server(stage, &[("REQUESTS", requests)]).await?;
        let server = stage.servers.addresses().first().copied();
        let server = server.context("a server has just started")?;
        // The first sockets also need memory that all sockets share.
        let _first = [open(server, 0).await?, open(server, LARGE).await?];
        // All of them stay open, so that none takes the memory that another one has freed.
        let mut open_sockets: Vec<TcpStream> = Vec::new();
        let mut costs = [0.0; 2];
        for (cost, cookie) in costs.iter_mut().zip([0, LARGE]) {
            let before = servers_memory(stage).await?;
            open_sockets.extend(open_all(server, SOCKETS, cookie).await?);
            let grown = servers_memory(stage).await?.saturating_sub(before);
            *cost = grown as f64 / 1024.0 / SOCKETS as f64;
        }
        let [plain, cookie] = costs;
        Ok(Self { plain, cookie })
    }

    fn in_words(self) -> String {
        format!(
            "{:.1} KiB a socket, {:.1} KiB with the cookie",
            self.plain, self.cookie
        )
    }
}
