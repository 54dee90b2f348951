//! The resources that all parts of a stage share.

use std::{net::SocketAddr, path::PathBuf, sync::Mutex};

use crate::{
    client::lock,
    parts::{ports::Ports, rewrite::Swap, scratch::Scratch},
    seen::journal::Journal,
};

/// The resources that all parts of a stage share. The temporary folder is removed with the last
/// part.
pub(crate) struct Ground {
    /// The chapter's binary. Its copies are the servers and the other programs.
    pub(crate) binary: PathBuf,
    pub(crate) journal: Journal,
    pub(crate) ports: Ports,
    pub(crate) scratch: Scratch,
    /// Each server's port in the article, and the address where the server listens.
    pub(crate) servers: Mutex<Vec<(u16, SocketAddr)>>,
}

impl Ground {
    /// The servers' addresses, to replace the article's addresses in a config.
    pub(crate) fn server_swaps(&self) -> Vec<Swap> {
        let servers = lock(&self.servers);
        let swaps = servers.iter().map(|(port, with)| Swap::Server {
            port: *port,
            with: *with,
        });
        swaps.collect()
    }
}
