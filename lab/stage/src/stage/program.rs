//! A chapter's other programs.

use std::process::ExitStatus;

use anyhow::{Result, ensure};
use tokio::sync::mpsc;

use super::Stage;
use crate::{
    parts::process::{PROGRAM, Process, Spec, ended},
    seen::event::{Event, Part},
};

impl Stage {
    /// Starts one of the chapter's other programs as a process.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_program(
        &self,
        name: &'static str,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Program> {
        let mut spec = Spec::new(&self.ground.binary)
            .arguments(arguments)
            .environment(PROGRAM, name);
        for (name, value) in self.ground.environment(environment) {
            spec = spec.environment(name, value);
        }
        let (said, lines) = mpsc::unbounded_channel();
        let journal = self.ground.journal.clone();
        let process = Process::spawn(&spec, self.ground.scratch.path(), move |line| {
            journal.record(Event::Said {
                part: Part::Program(name),
                line: line.clone(),
            });
            // There is no receiver after the lesson has dropped the program.
            let _unheard = said.send(line);
        })?;
        Ok(Program {
            name,
            process,
            lines,
        })
    }
}

/// One of a chapter's other programs, running. Dropping it kills it.
pub struct Program {
    name: &'static str,
    process: Process,
    lines: mpsc::UnboundedReceiver<String>,
}

impl Program {
    /// Waits for the next line of its output. Returns `None` when the output is closed.
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
    /// When it ends with a failure. The error holds the last line that it printed.
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
