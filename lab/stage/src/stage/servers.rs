//! The servers of a stage.

use std::{
    ffi::{OsStr, OsString},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use futures_util::future::join_all;
use tokio::time::timeout;

use super::ground::Ground;
use crate::{
    client::{PATIENCE, lock},
    parts::{
        process::Process,
        server::{Command, Server},
        watch::Watch,
    },
    seen::event::{Event, Part},
};

/// The article's port of the first server; the others follow.
const FIRST_SERVER: u16 = 8000;

/// The servers: A, B, C, … Dropping them kills them.
pub struct Servers {
    ground: Arc<Ground>,
    /// The program of the servers. It is the chapter's binary, unless a lesson has set another one.
    command: Arc<Command>,
    all: Vec<Server>,
}

impl Servers {
    pub(super) fn new(ground: Arc<Ground>) -> Self {
        let command = Command {
            program: ground.binary.clone().into_os_string(),
            arguments: Vec::new(),
        };
        Self {
            ground,
            command: Arc::new(command),
            all: Vec::new(),
        }
    }

    /// The servers that run, each with its PID.
    pub(super) fn pids(&self) -> impl Iterator<Item = (Part, u32)> {
        self.all
            .iter()
            .filter_map(|server| Some((Part::Server(server.letter), server.pid()?)))
    }

    /// From now on, starts this program as a server, in place of the chapter's binary.
    ///
    /// The program must listen on 127.0.0.1, on the port in the variable `PORT`. Then it must print a
    /// line with `running on <PORT> port`. It must end on SIGTERM.
    pub fn run_program(&mut self, program: impl AsRef<OsStr>, arguments: &[&OsStr]) {
        self.command = Arc::new(Command {
            program: program.as_ref().to_owned(),
            arguments: arguments.iter().copied().map(OsString::from).collect(),
        });
    }

    /// Starts servers until there are `count`: A on 8000, B on 8001, and so on.
    ///
    /// Each of them gets the variables in `environment` and `PORT`.
    ///
    /// # Errors
    /// When a port is in use, or a server ends while it starts.
    pub async fn start(&mut self, count: u8, environment: &[(&str, &str)]) -> Result<()> {
        let mut new = Vec::new();
        for index in 0..count {
            let letter = char::from(b'A' + index);
            if self.all.iter().any(|server| server.letter == letter) {
                continue;
            }
            let article_port = FIRST_SERVER + u16::from(index);
            let address = self.ground.ports.instead_of(article_port)?;
            self.ground.journal.introduce(letter, address);
            lock(&self.ground.servers).push((article_port, address));
            self.all
                .push(Server::new(letter, article_port, address, environment));
            new.push(letter);
        }
        for letter in new {
            self.start_one(letter).await?;
        }
        Ok(())
    }

    /// Takes servers that run elsewhere in place of its own: configs name the first one as
    /// 127.0.0.1:8000, and so on.
    pub fn are_elsewhere(&mut self, addresses: &[SocketAddr]) {
        *lock(&self.ground.servers) = (FIRST_SERVER..).zip(addresses.iter().copied()).collect();
    }

    /// Starts a server that has ended, on the same port.
    ///
    /// # Errors
    /// When another program uses the port now, or when the server ends while it starts.
    pub async fn start_one(&mut self, letter: char) -> Result<()> {
        let (scratch, journal) = (
            self.ground.scratch.path().to_owned(),
            self.ground.journal.clone(),
        );
        let (command, roster) = (Arc::clone(&self.command), self.roster());
        let server = self.server_mut(letter)?;
        server.start(&command, &roster, &scratch, &journal).await?;
        let way_back = server.way_back(&command);
        let process = server.process.as_ref().context("the server just started")?;
        let watch = Watch::new(Part::Server(letter), process, &journal, way_back);
        server.watch = Some(watch);
        Ok(())
    }

    /// Kills a server, as `kill -9` does.
    ///
    /// # Errors
    /// When there is no such server.
    pub async fn kill(&mut self, letter: char) -> Result<()> {
        let server = self.server_mut(letter)?;
        server.watch = None;
        if let Some(process) = server.process.take() {
            let pid = process.pid();
            process.kill().await;
            self.ground.journal.record(Event::Down {
                part: Part::Server(letter),
                how: format!("kill -9 {pid}"),
            });
        }
        Ok(())
    }

    /// Asks a server to end, as `kill` does (SIGTERM), and waits. If the server takes longer than
    /// `patience`, it is killed. Returns the time that it took, or `None` if it was killed.
    ///
    /// # Errors
    /// When there is no such server, or it does not run.
    pub async fn end(&mut self, letter: char, patience: Duration) -> Result<Option<Duration>> {
        let server = self.server_mut(letter)?;
        server.watch = None;
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
        self.ground.journal.record(Event::Down {
            part: Part::Server(letter),
            how,
        });
        Ok(by_itself.then_some(took))
    }

    /// Ends all servers and forgets them, so that other servers can use their ports.
    pub async fn stop(&mut self) {
        lock(&self.ground.servers).clear();
        let processes = self.all.drain(..).filter_map(|server| server.process);
        join_all(processes.map(Process::stop)).await;
    }

    /// Ends all servers, and starts the same number on the same ports with another environment.
    ///
    /// # Errors
    /// When a server ends while it starts.
    pub async fn restart(&mut self, environment: &[(&str, &str)]) -> Result<()> {
        let places: Vec<_> = self
            .all
            .iter()
            .map(|server| (server.letter, server.article_port, server.address))
            .collect();
        self.stop().await;
        let addresses = places.iter().map(|(_, port, address)| (*port, *address));
        lock(&self.ground.servers).extend(addresses);
        self.all
            .extend(places.iter().map(|(letter, article_port, address)| {
                Server::new(*letter, *article_port, *address, environment)
            }));
        for (letter, ..) in places {
            self.start_one(letter).await?;
        }
        Ok(())
    }

    /// The servers' ports and letters, for their pages: `8000=A 8001=B 8002=C`.
    fn roster(&self) -> String {
        let servers = self.all.iter();
        let servers = servers.map(|server| format!("{}={}", server.address.port(), server.letter));
        servers.collect::<Vec<_>>().join(" ")
    }

    /// The URL of one server, without nginx in between.
    ///
    /// # Errors
    /// When there is no such server.
    pub fn url(&self, letter: char) -> Result<String> {
        let server = self.server(letter)?;
        Ok(format!("http://{}", server.address))
    }

    /// The addresses of all servers, in the order of their letters.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.all.iter().map(|server| server.address).collect()
    }

    /// A server's PID, while it runs.
    pub fn pid(&self, letter: char) -> Option<u32> {
        self.server(letter).ok().and_then(Server::pid)
    }

    /// Waits until a server has printed a line with `text` in it since its last start, and shows the
    /// line. Returns whether the line came within [`PATIENCE`].
    pub async fn await_line(&self, letter: char, text: &str) -> bool {
        let started = self.server(letter).map_or(0, |server| server.started);
        let said = self.ground.journal.find_after(started, |event| {
            matches!(event, Event::Said { part, line }
                if *part == Part::Server(letter) && line.contains(text))
        });
        match timeout(PATIENCE, said).await {
            Ok(event) => {
                self.ground.journal.show(&event);
                true
            }
            Err(_) => false,
        }
    }

    /// The letter of the server at an address.
    pub fn letter_of(&self, address: Option<SocketAddr>) -> Option<char> {
        self.all
            .iter()
            .find(|server| Some(server.address) == address)
            .map(|server| server.letter)
    }

    /// The name of the server at an address: `A (PID 4242)`.
    pub fn name_of(&self, address: Option<SocketAddr>) -> String {
        match (self.letter_of(address), address) {
            (Some(letter), _) => match self.pid(letter) {
                Some(pid) => format!("{letter} (PID {pid})"),
                None => letter.to_string(),
            },
            (None, Some(address)) => address.to_string(),
            (None, None) => "an unknown server".to_owned(),
        }
    }

    fn server(&self, letter: char) -> Result<&Server> {
        self.all
            .iter()
            .find(|server| server.letter == letter)
            .ok_or_else(|| anyhow!("there is no server {letter}"))
    }

    fn server_mut(&mut self, letter: char) -> Result<&mut Server> {
        self.all
            .iter_mut()
            .find(|server| server.letter == letter)
            .ok_or_else(|| anyhow!("there is no server {letter}"))
    }
}
