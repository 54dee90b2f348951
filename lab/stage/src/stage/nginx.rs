//! nginx on a stage.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use tokio::time::timeout;

use super::ground::Ground;
use crate::{
    client::PATIENCE,
    parts::{
        nginx::{Installation, RunningNginx},
        rewrite::Swap,
        site::Site,
        watch::Watch,
    },
    seen::event::{Event, Part},
};

/// The article's port of nginx.
pub(crate) const PORT: u16 = 3000;

/// nginx, with one config at a time. Dropping it kills it.
pub struct Nginx {
    ground: Arc<Ground>,
    // First the watch: the end of what it watches is no news then.
    running: Option<(Watch, RunningNginx)>,
    found: Option<Installation>,
    address: Option<SocketAddr>,
}

impl Nginx {
    pub(super) fn new(ground: Arc<Ground>) -> Self {
        Self {
            ground,
            running: None,
            found: None,
            address: None,
        }
    }

    /// Where nginx listens, or what stands in its place.
    ///
    /// # Errors
    /// When its port is in use.
    pub fn address(&mut self) -> Result<SocketAddr> {
        let address = match self.address {
            Some(address) => address,
            None => self.ground.ports.instead_of(PORT)?,
        };
        self.address = Some(address);
        Ok(address)
    }

    /// Starts nginx with one of the configs in `nginx/`, in place of the one that runs.
    /// Returns its URL.
    ///
    /// # Errors
    /// When there is no nginx and none can be built, the config does not fit the servers,
    /// or nginx refuses it.
    pub async fn start(&mut self, config: &str) -> Result<String> {
        let is_first = self.found.is_none();
        let site = self.site(config, str::to_owned)?;
        let url = self.run_site(&site).await?;
        if let (Some((_, nginx)), Some(found)) = (&self.running, &self.found) {
            let pid = nginx.process().pid();
            if is_first {
                self.ground.journal.record(Event::Up {
                    part: Part::Nginx,
                    pid: Some(pid),
                    detail: found.origin.clone(),
                });
            }
            self.ground.journal.record(serves(pid, &site));
            self.ground.journal.record(Event::Said {
                part: Part::Nginx,
                line: nginx.pids(),
            });
        }
        Ok(url)
    }

    /// The same without a word: for a lesson that goes through many configs.
    ///
    /// # Errors
    /// As for [`Nginx::start`].
    pub async fn switch(&mut self, config: &str) -> Result<String> {
        let site = self.site(config, str::to_owned)?;
        self.run(&site).await
    }

    /// A copy of the configs with the stage's addresses, for whoever runs nginx elsewhere.
    ///
    /// `edit` may change the config's text, as a learner would.
    ///
    /// # Errors
    /// When the config does not fit the servers, or nginx's port is in use.
    pub fn site(&mut self, config: &str, edit: impl FnOnce(&str) -> String) -> Result<Site> {
        let address = self.address()?;
        let mut swaps = self.ground.server_swaps();
        swaps.push(Swap::Listen {
            port: PORT,
            with: address,
        });
        Site::copy(self.ground.scratch.path(), config, address, &swaps, edit)
    }

    /// Starts nginx with such a copy, in place of the one that runs. Returns its URL.
    ///
    /// # Errors
    /// When there is no nginx and none can be built, or it refuses the config.
    pub async fn run(&mut self, site: &Site) -> Result<String> {
        let url = self.run_site(site).await?;
        if let Some(pid) = self.pid() {
            self.ground.journal.record_unshown(serves(pid, site));
        }
        Ok(url)
    }

    async fn run_site(&mut self, site: &Site) -> Result<String> {
        self.stop().await;
        if self.found.is_none() {
            self.found = Some(self.installation().await?);
        }
        let nginx = self.found.as_ref().context("nginx was just found")?;
        let running = nginx
            .start(site, self.ground.scratch.path(), &self.ground.journal)
            .await?;
        let way_back = format!(
            "Nobody answers at http://{} now, and its workers were ended with it.\n\
             It comes back with the stage: Ctrl-C, and start that again.",
            site.address
        );
        let watch = Watch::new(
            Part::Nginx,
            running.process(),
            &self.ground.journal,
            way_back,
        );
        self.running = Some((watch, running));
        Ok(format!("http://{}", site.address))
    }

    /// Has the nginx that runs take another of the configs, without losing a connection.
    ///
    /// # Errors
    /// When none runs, or it refuses the config; it then goes on with the one that it has.
    pub async fn reload(&mut self, config: &str, edit: impl FnOnce(&str) -> String) -> Result<()> {
        let site = self.site(config, edit)?;
        let (Some(found), Some((_, running))) = (&self.found, &mut self.running) else {
            bail!("no nginx runs");
        };
        found.test(&site).await?;
        self.ground
            .journal
            .record_unshown(serves(running.process().pid(), &site));
        running.reload(&site).await
    }

    /// The URL of the nginx that runs.
    ///
    /// # Errors
    /// When none runs.
    pub fn url(&self) -> Result<String> {
        let address = self.address.context("no nginx runs")?;
        Ok(format!("http://{address}"))
    }

    /// Waits until a worker of before the last reload has ended. Returns whether it has
    /// within the given time.
    pub async fn old_worker_ends(&mut self, within: Duration) -> bool {
        match &mut self.running {
            Some((_, nginx)) => timeout(within, nginx.worker_ends()).await.unwrap_or(false),
            None => false,
        }
    }

    /// Ends nginx (SIGTERM): every connection through it breaks.
    pub async fn end(&mut self) {
        if let Some((_, nginx)) = &self.running {
            let how = format!("kill {}", nginx.process().pid());
            self.stop().await;
            self.ground.journal.record(Event::Down {
                part: Part::Nginx,
                how,
            });
        }
    }

    /// Waits until the nginx that runs has complained with `text` in its words, and
    /// returns them. Of many complaints it keeps the first thousand.
    pub async fn complaint(&mut self, text: &str) -> Option<String> {
        let (_, nginx) = self.running.as_mut()?;
        timeout(PATIENCE, nginx.complaint(text))
            .await
            .ok()
            .flatten()
    }

    /// Its first process, whose children do the work, while it runs.
    pub fn pid(&self) -> Option<u32> {
        let (_, nginx) = self.running.as_ref()?;
        Some(nginx.process().pid())
    }

    /// Which nginx there is, before one is started: a lesson may need a newer one.
    ///
    /// # Errors
    /// When there is none and none can be built.
    pub async fn find(&self) -> Result<String> {
        Ok(self.installation().await?.origin)
    }

    async fn installation(&self) -> Result<Installation> {
        let ground = &self.ground;
        Installation::find(&ground.binary, ground.scratch.path(), &ground.journal).await
    }

    /// Which nginx it is and where it comes from, once one was started.
    pub fn origin(&self) -> Option<&str> {
        self.found.as_ref().map(|nginx| nginx.origin.as_str())
    }

    /// Ends nginx without a word, if it runs: something else takes its place.
    pub async fn stop(&mut self) {
        if let Some((watch, nginx)) = self.running.take() {
            drop(watch);
            nginx.stop().await;
        }
    }
}

/// nginx serves a site from now on.
fn serves(pid: u32, site: &Site) -> Event {
    Event::Up {
        part: Part::Nginx,
        pid: Some(pid),
        detail: format!("http://{} with nginx/{}", site.address, site.config),
    }
}
