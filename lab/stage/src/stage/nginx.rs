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
    // The watch is dropped first, so that it does not report the end of nginx.
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

    /// The address of nginx, or of the balancer in its place.
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

    /// Starts nginx with one of the configs in `nginx/`. An nginx that runs is stopped first.
    /// Returns the URL.
    ///
    /// # Errors
    /// When no nginx is installed and nginx cannot be built, when the config does not fit the
    /// servers, or when nginx refuses the config.
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

    /// The same, but prints nothing: for a lesson that uses many configs.
    ///
    /// # Errors
    /// As for [`Nginx::start`].
    pub async fn switch(&mut self, config: &str) -> Result<String> {
        let site = self.site(config, str::to_owned)?;
        self.run(&site).await
    }

    /// A copy of the configs with the stage's addresses, for an nginx outside the stage.
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

    /// Starts nginx with such a copy. An nginx that runs is stopped first. Returns the URL.
    ///
    /// # Errors
    /// When no nginx is installed and nginx cannot be built, or when nginx refuses the config.
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
            "nginx and its workers have ended. No program answers at http://{} now.\n\
             To start nginx again, start the stage again: press Ctrl-C first.",
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

    /// Makes the running nginx use another config. No connection is lost.
    ///
    /// # Errors
    /// When nginx does not run, or when it refuses the config. It then keeps its present config.
    pub async fn reload(&mut self, config: &str, edit: impl FnOnce(&str) -> String) -> Result<()> {
        let site = self.site(config, edit)?;
        let (Some(found), Some((_, running))) = (&self.found, &mut self.running) else {
            bail!("nginx does not run");
        };
        found.test(&site).await?;
        self.ground
            .journal
            .record_unshown(serves(running.process().pid(), &site));
        running.reload(&site).await
    }

    /// The URL of the running nginx.
    ///
    /// # Errors
    /// When nginx does not run.
    pub fn url(&self) -> Result<String> {
        let address = self.address.context("nginx does not run")?;
        Ok(format!("http://{address}"))
    }

    /// Waits until a worker from before the last reload has ended. Returns whether it has ended
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

    /// Waits for a line of nginx's error log with `text` in it, and returns the line. Only the first
    /// thousand lines are kept.
    pub async fn complaint(&mut self, text: &str) -> Option<String> {
        let (_, nginx) = self.running.as_mut()?;
        timeout(PATIENCE, nginx.complaint(text))
            .await
            .ok()
            .flatten()
    }

    /// The PID of its master process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        let (_, nginx) = self.running.as_ref()?;
        Some(nginx.process().pid())
    }

    /// Finds nginx without starting it, and names it: a lesson may need a newer version.
    ///
    /// # Errors
    /// When no nginx is installed and nginx cannot be built.
    pub async fn find(&self) -> Result<String> {
        Ok(self.installation().await?.origin)
    }

    async fn installation(&self) -> Result<Installation> {
        let ground = &self.ground;
        Installation::find(&ground.binary, ground.scratch.path(), &ground.journal).await
    }

    /// The version of nginx and where it comes from, after it was started once.
    pub fn origin(&self) -> Option<&str> {
        self.found.as_ref().map(|nginx| nginx.origin.as_str())
    }

    /// Ends nginx, if it runs, and prints nothing: another program takes its place.
    pub async fn stop(&mut self) {
        if let Some((watch, nginx)) = self.running.take() {
            drop(watch);
            nginx.stop().await;
        }
    }
}

/// The event that nginx has started with a config.
fn serves(pid: u32, site: &Site) -> Event {
    Event::Up {
        part: Part::Nginx,
        pid: Some(pid),
        detail: format!("http://{} with nginx/{}", site.address, site.config),
    }
}
