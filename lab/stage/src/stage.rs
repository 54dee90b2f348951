//! The stage: all parts of a chapter, started, watched and stopped together.

pub(crate) mod ground;
mod lesson;
pub(crate) mod nginx;
pub(crate) mod program;
mod redis;
mod servers;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Result;

use self::ground::Ground;
pub use self::{nginx::Nginx, program::Program, redis::Redis, servers::Servers};
use crate::{
    parts::{ports::Ports, process::memory_of, rewrite::Swap, scratch::Scratch},
    seen::{
        event::Part,
        journal::{Journal, Observer, Recorder},
    },
};

/// What a chapter runs on: servers, nginx, Redis, and the list of observed events.
///
/// Everything that it started ends with it.
pub struct Stage {
    /// nginx.
    // Before `ground`, because fields are dropped in order: first the processes, then the
    // folder that they use.
    pub nginx: Nginx,
    /// The servers.
    pub servers: Servers,
    /// Redis.
    pub redis: Redis,
    ground: Arc<Ground>,
    title: &'static str,
}

impl Stage {
    pub(crate) fn new(
        binary: PathBuf,
        title: &'static str,
        ports: Ports,
        journal: Journal,
    ) -> Result<Self> {
        let ground = Arc::new(Ground {
            binary,
            journal,
            ports,
            scratch: Scratch::new()?,
            servers: std::sync::Mutex::default(),
            app_name: std::sync::OnceLock::new(),
        });
        Ok(Self {
            nginx: Nginx::new(Arc::clone(&ground)),
            servers: Servers::new(Arc::clone(&ground)),
            redis: Redis::new(Arc::clone(&ground)),
            ground,
            title,
        })
    }

    /// A stage for tests and measurements. It takes free ports, prints nothing, and starts copies
    /// of `binary`.
    ///
    /// # Errors
    /// When there are no free ports, or no temporary folder can be made.
    pub fn silent(binary: impl Into<PathBuf>) -> Result<Self> {
        Self::new(binary.into(), "", Ports::auto()?, Journal::silent())
    }

    /// The chapter's title.
    pub fn title(&self) -> &'static str {
        self.title
    }

    /// A folder for a lesson's files. It is removed when the stage ends.
    pub fn folder(&self) -> &Path {
        self.ground.scratch.path()
    }

    /// The address that this stage uses in place of `port` of localhost.
    ///
    /// # Errors
    /// When the port is in use.
    pub fn address(&self, port: u16) -> Result<SocketAddr> {
        self.ground.ports.instead_of(port)
    }

    /// The servers' addresses, to replace the article's addresses in another balancer's config.
    pub fn server_swaps(&self) -> Vec<Swap> {
        self.ground.server_swaps()
    }

    /// The list of observed events, for a part that another crate adds to the stage.
    pub fn journal(&self) -> &Journal {
        &self.ground.journal
    }

    /// Reads the list of observed events, from the beginning.
    pub fn observer(&self) -> Observer {
        Observer::new(self.ground.journal.clone())
    }

    /// Adds events to the list that the terminal does not show.
    pub fn recorder(&self) -> Recorder {
        Recorder::new(self.ground.journal.clone())
    }

    /// The resident memory of each running part, in bytes, from `ps`. It includes the processes
    /// that the part has started.
    ///
    /// # Errors
    /// When there is no `ps`.
    pub async fn memory(&self) -> Result<Vec<(Part, u64)>> {
        let nginx = self.nginx.pid().map(|pid| (Part::Nginx, pid));
        let redis = self.redis.pid().map(|pid| (Part::Redis, pid));
        memory_of(self.servers.pids().chain(nginx).chain(redis).collect()).await
    }

    /// Ends everything that the stage started. nginx ends first, so that no client gets an answer
    /// from a stage that is half stopped.
    pub async fn clear(&mut self) {
        self.nginx.stop().await;
        self.servers.stop().await;
        self.redis.stop().await;
    }

    /// The same, and the stage is over.
    pub async fn stop(mut self) {
        self.clear().await;
    }
}
