//! The stage: all parts of a chapter, started, watched and stopped together.

use std::{
    ffi::{OsStr, OsString},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use futures_util::future::join_all;
use tokio::{sync::mpsc, task::AbortHandle, time::timeout};

use crate::{
    client::PATIENCE,
    cluster::Cluster,
    event::{Event, Part},
    haproxy::{Haproxy, RunningHaproxy},
    journal::{Journal, Observer, Recorder},
    nginx::{Nginx, RunningNginx, Site},
    ports::Ports,
    process::{Process, Spec, ended, how, memory_of},
    redis::{Keeps, Redis},
    rewrite::Swap,
    scratch::Scratch,
    server::{Command, Server},
};

/// The article's port of the first server; the others follow.
const FIRST_SERVER: u16 = 8000;
/// The article's port of nginx.
pub(crate) const NGINX: u16 = 3000;

/// The environment variable that makes a chapter's binary one of its other programs.
pub(crate) const PROGRAM: &str = "LAB_PROGRAM";

/// What a chapter runs on: servers, nginx, Redis, and the list of what was observed.
///
/// Whatever it started ends with it.
pub struct Stage {
    /// The chapter's binary, whose copies are servers and other programs.
    binary: PathBuf,
    /// What servers are started from: that binary, unless the stage was told otherwise.
    server_command: Arc<Command>,
    title: &'static str,
    pub(crate) journal: Journal,
    ports: Ports,
    // Before `scratch`, since fields are dropped in order: first the processes, then
    // the folder that they use.
    nginx: Option<(RunningNginx, AbortHandle)>,
    pub(crate) haproxy: Option<RunningHaproxy>,
    servers: Vec<Server>,
    redis: Option<Redis>,
    pub(crate) cluster: Option<Cluster>,
    scratch: Scratch,
    nginx_found: Option<Nginx>,
    pub(crate) haproxy_found: Option<Haproxy>,
    nginx_address: Option<SocketAddr>,
    watchers: Vec<(Part, AbortHandle)>,
    by_hand: String,
}

impl Stage {
    pub(crate) fn new(
        binary: PathBuf,
        title: &'static str,
        ports: Ports,
        journal: Journal,
    ) -> Result<Self> {
        let server_command = Command {
            program: binary.clone().into_os_string(),
            arguments: Vec::new(),
        };
        Ok(Self {
            binary,
            server_command: Arc::new(server_command),
            title,
            journal,
            ports,
            nginx: None,
            haproxy: None,
            servers: Vec::new(),
            redis: None,
            cluster: None,
            scratch: Scratch::new()?,
            nginx_found: None,
            haproxy_found: None,
            nginx_address: None,
            watchers: Vec::new(),
            by_hand: String::new(),
        })
    }

    /// A stage for tests and measurements: it takes free ports, shows nothing, and starts copies of `binary`.
    ///
    /// # Errors
    /// When there are no free ports, or no temporary folder can be made.
    pub fn silent(binary: impl Into<PathBuf>) -> Result<Self> {
        Self::new(binary.into(), "", Ports::auto()?, Journal::silent())
    }
}

/// What other views than the terminal need.
impl Stage {
    /// A folder for files of a lesson's own, which is removed when the stage ends.
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// The chapter's title.
    pub fn title(&self) -> &'static str {
        self.title
    }

    /// Reads the list of what was observed, from the beginning.
    pub fn observer(&self) -> Observer {
        Observer::new(self.journal.clone())
    }

    /// Adds to that list what the terminal does not show.
    pub fn recorder(&self) -> Recorder {
        Recorder::new(self.journal.clone())
    }
}

/// What the lesson says.
impl Stage {
    /// Turns to the next experiment.
    pub fn step(&self, title: &str) {
        self.journal.record(Event::Step {
            title: title.to_owned(),
        });
    }

    /// Says how to read what was seen.
    pub fn note(&self, text: impl Into<String>) {
        self.journal.record(Event::Note { text: text.into() });
    }

    /// Claims something, and says whether what was seen agrees.
    pub fn claim(&self, text: impl Into<String>, held: bool) {
        self.claim_seen(text, "", held);
    }

    /// The same, and says what was seen: a figure, a name.
    pub fn claim_seen(&self, text: impl Into<String>, seen: impl Into<String>, held: bool) {
        self.journal.record(Event::Claim {
            text: text.into(),
            seen: seen.into(),
            held,
        });
    }

    /// Shows what an experiment observed.
    pub fn show(&self, seen: Vec<Event>) {
        for event in seen {
            self.journal.record(event);
        }
    }

    /// What to try by hand, for the time after the lesson when the stage stays up.
    pub fn try_by_hand(&mut self, text: impl Into<String>) {
        self.by_hand = text.into();
    }

    /// Sums up, and with `stays_up` says what can be done now. Returns whether all
    /// claims held.
    pub(crate) fn conclude(&self, stays_up: bool) -> bool {
        let claims = self.journal.claims();
        let failed: Vec<_> = claims
            .iter()
            .filter(|claim| matches!(claim, Event::Claim { held: false, .. }))
            .collect();
        let (held, claims) = (claims.len() - failed.len(), claims.len());
        self.note(format!("\n{held} of {claims} claims held"));
        for claim in &failed {
            self.journal.show(claim);
        }
        if stays_up {
            self.step("The stage stays up until Ctrl-C. Try by hand, in a second terminal:");
            self.note(self.by_hand.clone());
        }
        held == claims
    }

    /// From now on, each request and each line of a server is shown as it comes.
    pub fn show_all(&self) {
        self.note("\nEach request, and what the servers write, shows up here:");
        self.journal.show_all();
    }
}

/// Memory.
impl Stage {
    /// The resident memory of each part that runs, in bytes: of its process and all that
    /// it has started, after `ps`.
    ///
    /// # Errors
    /// When there is no `ps`.
    pub async fn memory(&self) -> Result<Vec<(Part, u64)>> {
        let servers = self.servers.iter().filter_map(|server| {
            let pid = server.pid()?;
            Some((Part::Server(server.letter), pid))
        });
        let nginx = self
            .nginx
            .iter()
            .map(|(nginx, _)| (Part::Nginx, nginx.process().pid()));
        let redis = self
            .redis
            .iter()
            .filter_map(|redis| Some((Part::Redis, redis.pid()?)));
        let parts: Vec<_> = servers.chain(nginx).chain(redis).collect();
        memory_of(parts).await
    }
}

/// Servers.
impl Stage {
    /// From now on, servers are this program instead of copies of the chapter's binary.
    ///
    /// It must do as they do: listen on the `PORT` of 127.0.0.1 that the environment
    /// names, then write a line with `running on <PORT> port`, and end on SIGTERM.
    pub fn serve_with(&mut self, program: impl AsRef<OsStr>, arguments: &[&OsStr]) {
        self.server_command = Arc::new(Command {
            program: program.as_ref().to_owned(),
            arguments: arguments.iter().copied().map(OsString::from).collect(),
        });
    }

    /// Starts servers until there are `count`: A on 8000, B on 8001, and so on.
    ///
    /// `environment` is set for each of them, beside `PORT`.
    ///
    /// # Errors
    /// When a port is in use, or a server ends while it starts.
    pub async fn start_servers(&mut self, count: u8, environment: &[(&str, &str)]) -> Result<()> {
        let mut new = Vec::new();
        for index in 0..count {
            let letter = char::from(b'A' + index);
            if self.servers.iter().any(|server| server.letter == letter) {
                continue;
            }
            let article_port = FIRST_SERVER + u16::from(index);
            let address = self.ports.instead_of(article_port)?;
            self.journal.introduce(letter, address);
            self.servers
                .push(Server::new(letter, article_port, address, environment));
            new.push(letter);
        }
        for letter in new {
            self.start_server(letter).await?;
        }
        Ok(())
    }

    /// Starts a server that has ended, on its old port.
    ///
    /// # Errors
    /// When its port is in use by now, or it ends while it starts.
    pub async fn start_server(&mut self, letter: char) -> Result<()> {
        let (scratch, journal) = (self.scratch.path().to_owned(), self.journal.clone());
        let (command, roster) = (Arc::clone(&self.server_command), self.roster());
        let server = self.server_mut(letter)?;
        server.start(&command, &roster, &scratch, &journal).await?;
        let way_back = server.way_back(&command);
        let process = server.process.as_ref().context("the server just started")?;
        let watcher = watch(Part::Server(letter), process, &journal, way_back);
        self.watchers.push((Part::Server(letter), watcher));
        Ok(())
    }

    /// Kills a server, as `kill -9` does.
    ///
    /// # Errors
    /// When there is no such server.
    pub async fn kill_server(&mut self, letter: char) -> Result<()> {
        self.unwatch(Part::Server(letter));
        let server = self.server_mut(letter)?;
        if let Some(process) = server.process.take() {
            let pid = process.pid();
            process.kill().await;
            self.journal.record(Event::Down {
                part: Part::Server(letter),
                how: format!("kill -9 {pid}"),
            });
        }
        Ok(())
    }

    /// Asks a server to end, as `kill` does (SIGTERM), and waits: it is killed if it takes
    /// longer than `patience`. Returns how long it took; none if it had to be killed.
    ///
    /// # Errors
    /// When there is no such server, or it does not run.
    pub async fn end_server(
        &mut self,
        letter: char,
        patience: Duration,
    ) -> Result<Option<Duration>> {
        self.unwatch(Part::Server(letter));
        let server = self.server_mut(letter)?;
        let process = server
            .process
            .take()
            .with_context(|| format!("server {letter} does not run"))?;
        let (pid, asked) = (process.pid(), Instant::now());
        let by_itself = process.stop_within(patience).await;
        let took = asked.elapsed();
        let how = if by_itself {
            format!("kill {pid}: it ends, {} ms later", took.as_millis())
        } else {
            format!("kill {pid}, and kill -9 {} s later", took.as_secs())
        };
        self.journal.record(Event::Down {
            part: Part::Server(letter),
            how,
        });
        Ok(by_itself.then_some(took))
    }

    /// Ends all servers and forgets them, so that others can take their ports.
    pub async fn stop_servers(&mut self) {
        self.watchers.retain(|(part, watcher)| {
            let is_server = matches!(part, Part::Server(_));
            if is_server {
                watcher.abort();
            }
            !is_server
        });
        let servers = self.servers.drain(..);
        join_all(
            servers
                .filter_map(|server| server.process)
                .map(Process::stop),
        )
        .await;
    }

    /// Ends all servers and starts as many again, with another environment, on the same ports.
    ///
    /// # Errors
    /// When one of them ends while it starts.
    pub async fn restart_servers(&mut self, environment: &[(&str, &str)]) -> Result<()> {
        let places: Vec<_> = self
            .servers
            .iter()
            .map(|server| (server.letter, server.article_port, server.address))
            .collect();
        self.stop_servers().await;
        self.servers
            .extend(places.iter().map(|(letter, article_port, address)| {
                Server::new(*letter, *article_port, *address, environment)
            }));
        for (letter, ..) in places {
            self.start_server(letter).await?;
        }
        Ok(())
    }

    /// The servers' ports and letters, for their pages: `8000=A 8001=B 8002=C`.
    fn roster(&self) -> String {
        let servers = self.servers.iter();
        let servers = servers.map(|server| format!("{}={}", server.address.port(), server.letter));
        servers.collect::<Vec<_>>().join(" ")
    }

    /// The URL of one server, past nginx.
    ///
    /// # Errors
    /// When there is no such server.
    pub fn server_url(&self, letter: char) -> Result<String> {
        let server = self.server(letter)?;
        Ok(format!("http://{}", server.address))
    }

    /// The addresses of all servers, in the order of their letters.
    pub fn server_addresses(&self) -> Vec<SocketAddr> {
        self.servers.iter().map(|server| server.address).collect()
    }

    /// A server's process, while it runs.
    pub fn server_pid(&self, letter: char) -> Option<u32> {
        self.server(letter).ok().and_then(Server::pid)
    }

    /// Waits until a server has said a line with `text` in it since it was last started, and
    /// shows the line.
    /// Returns whether it came within the time that a line may take.
    pub async fn await_line(&self, letter: char, text: &str) -> bool {
        let started = self.server(letter).map_or(0, |server| server.started);
        let said = self.journal.find_after(started, |event| {
            matches!(event, Event::Said { part, line }
                if *part == Part::Server(letter) && line.contains(text))
        });
        match timeout(PATIENCE, said).await {
            Ok(event) => {
                self.journal.show(&event);
                true
            }
            Err(_) => false,
        }
    }

    /// The letter of the server at an address.
    pub fn letter_of(&self, address: Option<SocketAddr>) -> Option<char> {
        self.servers
            .iter()
            .find(|server| Some(server.address) == address)
            .map(|server| server.letter)
    }

    /// How the lesson calls the server at an address: `A (PID 4242)`.
    pub fn name_of(&self, address: Option<SocketAddr>) -> String {
        match (self.letter_of(address), address) {
            (Some(letter), _) => match self.server_pid(letter) {
                Some(pid) => format!("{letter} (PID {pid})"),
                None => letter.to_string(),
            },
            (None, Some(address)) => address.to_string(),
            (None, None) => "an unknown server".to_owned(),
        }
    }

    fn server(&self, letter: char) -> Result<&Server> {
        self.servers
            .iter()
            .find(|server| server.letter == letter)
            .ok_or_else(|| anyhow!("there is no server {letter}"))
    }

    fn server_mut(&mut self, letter: char) -> Result<&mut Server> {
        self.servers
            .iter_mut()
            .find(|server| server.letter == letter)
            .ok_or_else(|| anyhow!("there is no server {letter}"))
    }

    /// The address to use where a lesson would write `port` of localhost.
    ///
    /// # Errors
    /// When the port is in use.
    pub fn address(&self, port: u16) -> Result<SocketAddr> {
        self.ports.instead_of(port)
    }
}

/// nginx.
impl Stage {
    /// Starts nginx with one of the configs in `nginx/`, in place of the one that runs.
    /// Returns its URL.
    ///
    /// # Errors
    /// When there is no nginx and none can be built, the config does not fit the servers,
    /// or nginx refuses it.
    pub async fn start_nginx(&mut self, config: &str) -> Result<String> {
        let is_first = self.nginx_found.is_none();
        let site = self.nginx_site(config, str::to_owned)?;
        let url = self.run_nginx(&site).await?;
        if let (Some((nginx, _)), Some(found)) = (&self.nginx, &self.nginx_found) {
            let pid = nginx.process().pid();
            if is_first {
                self.journal.record(Event::Up {
                    part: Part::Nginx,
                    pid: Some(pid),
                    detail: found.origin.clone(),
                });
            }
            self.journal.record(serves(pid, &site));
        }
        Ok(url)
    }

    /// The same without a word: for a lesson that goes through many configs.
    ///
    /// # Errors
    /// As for [`Stage::start_nginx`].
    pub async fn switch_nginx(&mut self, config: &str) -> Result<String> {
        let site = self.nginx_site(config, str::to_owned)?;
        self.run_nginx(&site).await
    }

    /// A copy of the configs with the stage's addresses, for whoever runs nginx elsewhere.
    ///
    /// `edit` may change the config's text, as a learner would.
    ///
    /// # Errors
    /// When the config does not fit the servers, or nginx's port is in use.
    pub fn nginx_site(&mut self, config: &str, edit: impl FnOnce(&str) -> String) -> Result<Site> {
        let address = self.balancer_address()?;
        let mut swaps = self.server_swaps();
        swaps.push(Swap::Listen {
            port: NGINX,
            with: address,
        });
        Site::copy(self.scratch.path(), config, address, &swaps, edit)
    }

    /// Where nginx listens, or what stands in its place.
    pub(crate) fn balancer_address(&mut self) -> Result<SocketAddr> {
        let address = match self.nginx_address {
            Some(address) => address,
            None => self.ports.instead_of(NGINX)?,
        };
        self.nginx_address = Some(address);
        Ok(address)
    }

    /// The servers' addresses, for a config that names the article's.
    pub(crate) fn server_swaps(&self) -> Vec<Swap> {
        let servers = self.servers.iter();
        let swaps = servers.map(|server| Swap::Server {
            port: server.article_port,
            with: server.address,
        });
        swaps.collect()
    }

    /// Ends what listens there.
    pub(crate) async fn stop_balancer(&mut self) {
        self.stop_nginx().await;
        self.stop_haproxy().await;
    }

    /// Starts nginx with such a copy, in place of the one that runs. Returns its URL.
    ///
    /// # Errors
    /// When there is no nginx and none can be built, or it refuses the config.
    pub async fn run_nginx(&mut self, site: &Site) -> Result<String> {
        self.stop_balancer().await;
        let nginx = match self.nginx_found.take() {
            Some(nginx) => nginx,
            None => Nginx::find(&self.binary, self.scratch.path(), &self.journal).await?,
        };
        let running = nginx
            .start(site, self.scratch.path(), &self.journal)
            .await?;
        let way_back = format!(
            "Nobody answers at http://{} now, and its workers were ended with it.\n\
             It comes back with the stage: Ctrl-C, and start that again.",
            site.address
        );
        let watcher = watch(Part::Nginx, running.process(), &self.journal, way_back);
        self.journal
            .record_unshown(serves(running.process().pid(), site));
        self.nginx = Some((running, watcher));
        self.nginx_found = Some(nginx);
        Ok(format!("http://{}", site.address))
    }

    /// Has the nginx that runs take another of the configs, without losing a connection.
    ///
    /// # Errors
    /// When none runs, or it refuses the config; it then goes on with the one that it has.
    pub async fn reload_nginx(
        &mut self,
        config: &str,
        edit: impl FnOnce(&str) -> String,
    ) -> Result<()> {
        let site = self.nginx_site(config, edit)?;
        let (Some(found), Some((running, _))) = (&self.nginx_found, &mut self.nginx) else {
            bail!("no nginx runs");
        };
        found.test(&site).await?;
        self.journal
            .record_unshown(serves(running.process().pid(), &site));
        running.reload(&site).await
    }

    /// The URL of the nginx that runs.
    ///
    /// # Errors
    /// When none runs.
    pub fn nginx_url(&self) -> Result<String> {
        let address = self.nginx_address.context("no nginx runs")?;
        Ok(format!("http://{address}"))
    }

    /// Waits until a worker of before the last reload has ended. Returns whether it has
    /// within the given time.
    pub async fn old_nginx_worker_ends(&mut self, within: Duration) -> bool {
        match &mut self.nginx {
            Some((nginx, _)) => timeout(within, nginx.worker_ends()).await.unwrap_or(false),
            None => false,
        }
    }

    /// Ends nginx (SIGTERM): every connection through it breaks.
    pub async fn end_nginx(&mut self) {
        if let Some((nginx, _)) = &self.nginx {
            let how = format!("kill {}", nginx.process().pid());
            self.stop_nginx().await;
            self.journal.record(Event::Down {
                part: Part::Nginx,
                how,
            });
        }
    }

    /// Waits until the nginx that runs has complained with `text` in its words, and
    /// returns them. Of many complaints it keeps the first thousand.
    pub async fn nginx_complaint(&mut self, text: &str) -> Option<String> {
        let (nginx, _) = self.nginx.as_mut()?;
        timeout(PATIENCE, nginx.complaint(text))
            .await
            .ok()
            .flatten()
    }

    /// Its first process, whose children do the work, while it runs.
    pub fn nginx_pid(&self) -> Option<u32> {
        let (nginx, _) = self.nginx.as_ref()?;
        Some(nginx.process().pid())
    }

    /// Which nginx there is, before one is started: a lesson may need a newer one.
    ///
    /// # Errors
    /// When there is none and none can be built.
    pub async fn find_nginx(&self) -> Result<String> {
        let nginx = Nginx::find(&self.binary, self.scratch.path(), &self.journal).await?;
        Ok(nginx.origin)
    }

    /// Which nginx it is and where it comes from, once one was started.
    pub fn nginx_origin(&self) -> Option<&str> {
        self.nginx_found.as_ref().map(|nginx| nginx.origin.as_str())
    }

    async fn stop_nginx(&mut self) {
        if let Some((nginx, watcher)) = self.nginx.take() {
            watcher.abort();
            nginx.stop().await;
        }
    }
}

/// Redis.
impl Stage {
    /// Finds or starts Redis. Returns its URL, which asks for RESP3.
    ///
    /// # Errors
    /// When `REDIS_URL` does not parse or answer, or the port is in use.
    pub async fn start_redis(&mut self) -> Result<String> {
        self.start_redis_that_keeps(Keeps::Nothing).await
    }

    /// The same; if it is the stage's own, it has its keys still when it is started again.
    ///
    /// # Errors
    /// As for [`Stage::start_redis`].
    pub async fn start_redis_with_persistence(&mut self) -> Result<String> {
        self.start_redis_that_keeps(Keeps::Keys).await
    }

    async fn start_redis_that_keeps(&mut self, keeps: Keeps) -> Result<String> {
        if let Some(redis) = self.redis.as_mut().filter(|redis| !redis.is_up()) {
            redis.set_keeps(keeps);
            let url = redis.url.clone();
            self.restart_redis().await?;
            return Ok(url);
        }
        let redis = Redis::start(&self.ports, self.scratch.path(), keeps).await?;
        self.record_redis_up(&redis);
        let url = redis.url.clone();
        self.redis = Some(redis);
        self.watch_redis();
        Ok(url)
    }

    /// Where Redis is, if the chapter has one.
    pub fn redis_url(&self) -> Option<String> {
        self.redis.as_ref().map(|redis| redis.url.clone())
    }

    /// The process of the stage's own Redis, where it has one of its own.
    pub fn redis_pid(&self) -> Option<u32> {
        self.redis.as_ref().and_then(Redis::pid)
    }

    /// Which Redis it is, and whether it runs; somebody else's is taken to run.
    pub fn redis_origin(&self) -> Option<(String, bool)> {
        self.redis
            .as_ref()
            .map(|redis| (redis.origin.clone(), redis.is_up()))
    }

    /// What stands before a command in another terminal, so that it finds the stage's
    /// Redis: `REDIS_URL=… `, or nothing if it is where everyone looks.
    pub fn redis_for_commands(&self) -> String {
        match &self.redis {
            Some(redis) if redis.url != Redis::USUAL_URL => format!("REDIS_URL={} ", redis.url),
            _ => String::new(),
        }
    }

    /// Whether Redis is the stage's own, so that it may be killed.
    pub fn owns_redis(&self) -> bool {
        self.redis.as_ref().is_some_and(Redis::is_own)
    }

    /// Kills the stage's own Redis.
    pub async fn kill_redis(&mut self) {
        self.unwatch(Part::Redis);
        if let Some(redis) = self.redis.as_mut().filter(|redis| redis.is_own()) {
            let how = match redis.pid() {
                Some(pid) => format!("kill -9 {pid}"),
                None => "stopped, every connection broken".to_owned(),
            };
            redis.kill().await;
            self.journal.record(Event::Down {
                part: Part::Redis,
                how,
            });
        }
    }

    /// Starts the stage's own Redis again, where it was.
    ///
    /// # Errors
    /// When its port is in use by now.
    pub async fn restart_redis(&mut self) -> Result<()> {
        if let Some(redis) = self.redis.as_mut() {
            redis.restart(self.scratch.path()).await?;
        }
        if let Some(redis) = &self.redis {
            self.record_redis_up(redis);
        }
        self.watch_redis();
        Ok(())
    }

    fn record_redis_up(&self, redis: &Redis) {
        self.journal.record(Event::Up {
            part: Part::Redis,
            pid: redis.pid(),
            detail: format!("{}, {}", redis.url, redis.origin),
        });
    }

    fn watch_redis(&mut self) {
        if let Some((process, way_back)) = self.redis.as_ref().and_then(Redis::process) {
            let watcher = watch(Part::Redis, process, &self.journal, way_back);
            self.watchers.push((Part::Redis, watcher));
        }
    }
}

/// The chapter's other programs.
impl Stage {
    /// Starts one of the chapter's other programs as a process of its own.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_program(
        &self,
        name: &'static str,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Program> {
        let mut spec = Spec::new(&self.binary)
            .arguments(arguments)
            .environment(PROGRAM, name);
        for (name, value) in environment {
            spec = spec.environment(name, value);
        }
        let (said, lines) = mpsc::unbounded_channel();
        let journal = self.journal.clone();
        let process = Process::spawn(&spec, self.scratch.path(), move |line| {
            journal.record(Event::Said {
                part: Part::Program(name),
                line: line.clone(),
            });
            // A lesson that has seen enough does not listen any more.
            let _unheard = said.send(line);
        })?;
        Ok(Program {
            name,
            process,
            lines,
        })
    }
}

/// The end.
impl Stage {
    /// Ends everything that the stage started, in order: no client is answered by half a stage.
    pub async fn stop(mut self) {
        self.stop_balancer().await;
        self.stop_servers().await;
        self.unwatch(Part::Redis);
        if let Some(mut redis) = self.redis.take() {
            redis.kill().await;
        }
        if let Some(cluster) = self.cluster.take() {
            cluster.stop().await;
        }
    }

    fn unwatch(&mut self, part: Part) {
        self.watchers.retain(|(watched, watcher)| {
            if *watched == part {
                watcher.abort();
            }
            *watched != part
        });
    }
}

/// One of a chapter's other programs, running. Dropping it kills it.
pub struct Program {
    name: &'static str,
    process: Process,
    lines: mpsc::UnboundedReceiver<String>,
}

impl Program {
    /// Waits for the next line that it writes; `None` once it has closed its output.
    pub async fn next_line(&mut self) -> Option<String> {
        self.lines.recv().await
    }

    /// Its PID.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Kills it, as `kill -9` does.
    pub async fn kill(self) {
        self.process.kill().await;
    }

    /// Waits for it to end by itself.
    ///
    /// # Errors
    /// When it ends with a failure, in its own last words.
    pub async fn finish(mut self) -> Result<()> {
        let status: Option<ExitStatus> = ended(self.process.watch_exit()).await;
        let mut last_words = String::new();
        while let Some(line) = self.lines.recv().await {
            last_words = line;
        }
        ensure!(
            status.is_some_and(|status| status.success()),
            "{} failed: {last_words}",
            self.name
        );
        Ok(())
    }
}

/// Says a part's end that nobody of the stage asked for, and what brings the part back.
pub(crate) fn watch(
    part: Part,
    process: &Process,
    journal: &Journal,
    way_back: String,
) -> AbortHandle {
    let (exit, pid, journal) = (process.watch_exit(), process.pid(), journal.clone());
    tokio::spawn(async move {
        if let Some(status) = ended(exit).await {
            journal.record(Event::Down {
                part,
                how: format!("PID {pid} {}", how(status)),
            });
            journal.record(Event::Note { text: way_back });
        }
    })
    .abort_handle()
}

/// nginx serves a site from now on.
fn serves(pid: u32, site: &Site) -> Event {
    Event::Up {
        part: Part::Nginx,
        pid: Some(pid),
        detail: format!("http://{} with nginx/{}", site.address, site.config),
    }
}
