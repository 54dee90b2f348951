//! Redis on a stage.

use std::sync::Arc;

use anyhow::{Result, ensure};

use super::ground::Ground;
use crate::{
    app_name::{APP_NAME, USUAL, app_name, prefixed_by},
    parts::{
        redis::{Keeps, RunningRedis, without_password},
        watch::Watch,
    },
    seen::event::{Event, Part},
};

/// Redis, found or started. If the stage started it, dropping this kills it.
pub struct Redis {
    ground: Arc<Ground>,
    // The watch is dropped first, so that it does not report the end of Redis.
    watch: Option<Watch>,
    running: Option<RunningRedis>,
}

impl Redis {
    pub(super) fn new(ground: Arc<Ground>) -> Self {
        Self {
            ground,
            watch: None,
            running: None,
        }
    }

    pub(super) async fn stop(&mut self) {
        self.watch = None;
        if let Some(mut redis) = self.running.take() {
            redis.kill().await;
        }
    }

    /// Finds or starts Redis, unless it runs already. Returns its URL.
    ///
    /// # Errors
    /// When `REDIS_URL` is no URL or no Redis answers there, or when the port is in use.
    pub async fn start(&mut self) -> Result<String> {
        self.start_that_keeps(Keeps::Nothing).await
    }

    /// The same. If the stage starts this Redis, it keeps its keys when it is started again.
    ///
    /// # Errors
    /// As for [`Redis::start`].
    pub async fn start_with_persistence(&mut self) -> Result<String> {
        self.start_that_keeps(Keeps::Keys).await
    }

    async fn start_that_keeps(&mut self, keeps: Keeps) -> Result<String> {
        if let Some(redis) = &self.running {
            let url = redis.url.clone();
            let (is_up, keeps_it) = (redis.is_up(), redis.keeps(keeps));
            if is_up && keeps_it {
                return Ok(url);
            }
            if is_up {
                self.kill().await;
            }
            if let Some(redis) = &mut self.running {
                redis.set_keeps(keeps);
            }
            self.restart().await?;
            return Ok(url);
        }
        let redis =
            RunningRedis::start(&self.ground.ports, self.ground.scratch.path(), keeps).await?;
        self.choose_app_name(redis.is_own());
        self.record_up(&redis);
        let url = redis.url.clone();
        self.running = Some(redis);
        self.watch();
        Ok(url)
    }

    /// On a Redis that the stage did not start, the stage has an application name of its own.
    fn choose_app_name(&self, is_own: bool) {
        let name = self.ground.app_name.get_or_init(|| match app_name() {
            usual if usual == USUAL && !is_own => format!("{USUAL}-{:08x}", fastrand::u32(..)),
            name => name,
        });
        if !is_own {
            self.ground.journal.record(Event::Note {
                text: format!(
                    "The stage did not start this Redis, and other programs may use it too. The\n\
                     stage's channels and keys there begin with `{name}:`."
                ),
            });
        }
    }

    /// A channel or key of the stage's servers, by its whole name.
    pub fn prefixed(&self, name: &str) -> String {
        prefixed_by(&self.ground.app_name(), name)
    }

    /// The URL of Redis, if the chapter uses one.
    pub fn url(&self) -> Option<String> {
        self.running.as_ref().map(|redis| redis.url.clone())
    }

    /// The PID of Redis, if the stage started it as a process.
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().and_then(RunningRedis::pid)
    }

    /// The version of Redis and where it comes from, and whether it runs. A Redis that the stage did
    /// not start always counts as running.
    pub fn origin(&self) -> Option<(String, bool)> {
        self.running
            .as_ref()
            .map(|redis| (redis.origin.clone(), redis.is_up()))
    }

    /// The text to put before a command in another terminal, so that the command finds this Redis
    /// and the stage's channels: `APP_NAME=… REDIS_URL=… `. What is as usual is left out.
    pub fn for_commands(&self) -> String {
        let url = self.running.as_ref().map(|redis| redis.url.as_str());
        let url = url.filter(|url| *url != RunningRedis::USUAL_URL);
        let name = self.ground.app_name();
        [
            (name != USUAL).then(|| format!("{APP_NAME}={name} ")),
            url.map(|url| format!("REDIS_URL={} ", without_password(url))),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Whether the stage has started Redis, so that it may kill it.
    pub fn is_own(&self) -> bool {
        self.running.as_ref().is_some_and(RunningRedis::is_own)
    }

    /// Refuses an experiment that kills Redis, if the stage did not start Redis.
    ///
    /// # Errors
    /// One sentence, if the stage did not start it.
    pub fn may_be_killed(&self) -> Result<()> {
        ensure!(
            self.is_own(),
            "the experiment kills Redis, but the stage did not start this Redis: unset REDIS_URL, or \
             use free ports with --ports auto"
        );
        Ok(())
    }

    /// Kills Redis, if the stage has started it.
    pub async fn kill(&mut self) {
        self.watch = None;
        if let Some(redis) = self.running.as_mut().filter(|redis| redis.is_own()) {
            let how = match redis.pid() {
                Some(pid) => format!("kill -9 {pid}"),
                None => "stopped, every connection broken".to_owned(),
            };
            redis.kill().await;
            self.ground.journal.record(Event::Down {
                part: Part::Redis,
                how,
            });
        }
    }

    /// Starts the stage's Redis again, on the same port.
    ///
    /// # Errors
    /// When another program uses the port now.
    pub async fn restart(&mut self) -> Result<()> {
        if let Some(redis) = self.running.as_mut() {
            redis.restart(self.ground.scratch.path()).await?;
        }
        if let Some(redis) = &self.running {
            self.record_up(redis);
        }
        self.watch();
        Ok(())
    }

    fn record_up(&self, redis: &RunningRedis) {
        self.ground.journal.record(Event::Up {
            part: Part::Redis,
            pid: redis.pid(),
            detail: format!("{}, {}", without_password(&redis.url), redis.origin),
        });
    }

    fn watch(&mut self) {
        let process = self.running.as_ref().and_then(RunningRedis::process);
        self.watch = process.map(|(process, way_back)| {
            Watch::new(Part::Redis, process, &self.ground.journal, way_back)
        });
    }
}
