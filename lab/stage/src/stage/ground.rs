//! The resources that all parts of a stage share.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Mutex, OnceLock},
};

use crate::{
    app_name::{APP_NAME, USUAL, app_name},
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
    /// The name of the stage's application, once it has a Redis.
    pub(crate) app_name: OnceLock<String>,
}

impl Ground {
    pub(crate) fn app_name(&self) -> String {
        self.app_name.get().cloned().unwrap_or_else(app_name)
    }

    /// The environment of a program. If it uses Redis, it also gets an unusual application name.
    pub(crate) fn environment<'a>(
        &'a self,
        environment: &[(&'a str, &'a str)],
    ) -> Vec<(&'a str, &'a str)> {
        let uses_redis = environment.iter().any(|(name, _)| *name == "REDIS_URL");
        let name = self.app_name.get();
        let name = name.filter(|name| uses_redis && *name != USUAL);
        let named = name.map(|name| (APP_NAME, name.as_str()));
        named
            .into_iter()
            .chain(environment.iter().copied())
            .collect()
    }

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
