//! The servers: copies of the chapter's binary, or of another program, each with a `PORT`.

use std::{env, ffi::OsString, net::SocketAddr, path::Path};

use anyhow::{Result, bail};
use tokio::sync::mpsc;

use crate::{
    parts::process::{Process, Spec, ended, how},
    parts::redis::without_password,
    parts::watch::Watch,
    seen::event::{Event, Part},
    seen::journal::Journal,
};

/// The program of the servers, and its arguments.
pub(crate) struct Command {
    pub(crate) program: OsString,
    pub(crate) arguments: Vec<OsString>,
}

impl Command {
    /// The command that a learner types to start it.
    fn typed(&self) -> String {
        if self.arguments.is_empty() {
            // Cargo sets the package's name. Without cargo, the binary has the same name.
            let package = env::var("CARGO_PKG_NAME").unwrap_or_else(|_| {
                let program = Path::new(&self.program).file_name().unwrap_or_default();
                program.to_string_lossy().into_owned()
            });
            return format!("cargo run -p {package}");
        }
        let words = std::iter::once(&self.program).chain(&self.arguments);
        let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
        words.join(" ")
    }
}

/// One server of the stage, running or not.
pub(crate) struct Server {
    pub(crate) letter: char,
    /// Its port in the article and in the configs.
    pub(crate) article_port: u16,
    pub(crate) address: SocketAddr,
    environment: Vec<(String, String)>,
    // The watch is dropped first, so that it does not report the end of the server.
    pub(crate) watch: Option<Watch>,
    pub(crate) process: Option<Process>,
    /// The number of the last event before its last start.
    pub(crate) started: usize,
}

impl Server {
    /// A server that does not run yet.
    pub(crate) fn new(
        letter: char,
        article_port: u16,
        address: SocketAddr,
        environment: &[(&str, &str)],
    ) -> Self {
        Self {
            letter,
            article_port,
            address,
            environment: environment
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            watch: None,
            process: None,
            started: 0,
        }
    }

    /// Starts it. Returns when the server has printed that it runs.
    ///
    /// # Errors
    /// When the server ends instead. The error holds the last line that it printed.
    pub(crate) async fn start(
        &mut self,
        command: &Command,
        roster: &str,
        scratch: &Path,
        journal: &Journal,
    ) -> Result<()> {
        let mut spec = Spec::new(&command.program)
            .arguments(&command.arguments)
            .environment("PORT", &self.address.port().to_string())
            .environment("SERVERS", roster);
        for (name, value) in &self.environment {
            spec = spec.environment(name, value);
        }
        self.started = journal.last();
        let runs = format!("running on {} port", self.address.port());
        let (said, mut lines) = mpsc::unbounded_channel();
        let process = {
            let (journal, part, runs) = (journal.clone(), Part::Server(self.letter), runs.clone());
            Process::spawn(&spec, scratch, move |line| {
                // There is no receiver after the server is ready.
                let _ready_already = said.send(line.clone());
                // The line `running on …` becomes the event `Up`.
                if !line.contains(&runs) {
                    journal.record(Event::Said { part, line });
                }
            })?
        };
        let mut last_words = String::new();
        loop {
            tokio::select! {
                biased;
                Some(line) = lines.recv() => {
                    if line.contains(&runs) {
                        journal.record(Event::Up {
                            part: Part::Server(self.letter),
                            pid: Some(process.pid()),
                            detail: line,
                        });
                        break;
                    }
                    last_words = line;
                }
                status = ended(process.watch_exit()) => {
                    let last_words = lines.recv().await.unwrap_or(last_words);
                    let last_words = match (status.filter(|status| status.code().is_none()), last_words) {
                        (Some(killed), _) => format!("it {}; start the chapter again", how(killed)),
                        (None, said) => said.trim_start_matches("error: ").to_owned(),
                    };
                    bail!("server {} ended while it started: {last_words}", self.letter);
                }
            }
        }
        self.process = Some(process);
        Ok(())
    }

    /// The note for the learner about its end, with the command that starts it again.
    pub(crate) fn way_back(&self, command: &Command) -> String {
        let environment: String = self
            .environment
            .iter()
            .map(|(name, value)| match name.as_str() {
                "REDIS_URL" => format!("{name}={} ", without_password(value)),
                _ => format!("{name}={value} "),
            })
            .collect();
        let typed = command.typed();
        let (letter, port) = (self.letter, self.address.port());
        format!(
            "No server listens on port {port} now. The sessions in {letter}'s memory are lost, and so\n\
             are messages on their way. To start {letter} again, run this in a second terminal:\n\n  \
             {environment}PORT={port} {typed}\n\n"
        )
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.process
            .as_ref()
            .filter(|process| process.is_running())
            .map(Process::pid)
    }
}
