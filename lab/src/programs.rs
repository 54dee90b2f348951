//! What a chapter's binary is besides a stage: a server, or another of its programs.

use std::{collections::HashMap, env, future::Future, pin::Pin, process::ExitCode};

use anyhow::{Context, Result};
use clap::error::ErrorKind;
use tokio::signal::unix::{SignalKind, signal};

use crate::{nginx, stage::PROGRAM};

/// The server and the other programs of a chapter, each started by what the environment says.
pub(crate) struct Programs {
    server: Box<dyn FnOnce() -> Running>,
    others: HashMap<&'static str, Box<dyn FnOnce() -> Running>>,
}

type Running = Pin<Box<dyn Future<Output = Result<()>>>>;

impl Programs {
    pub(crate) fn new<F>(server: impl FnOnce() -> F + 'static) -> Self
    where
        F: Future<Output = Result<()>> + 'static,
    {
        Self {
            server: Box::new(|| Box::pin(server())),
            others: HashMap::new(),
        }
    }

    pub(crate) fn add<F>(&mut self, name: &'static str, program: impl FnOnce() -> F + 'static)
    where
        F: Future<Output = Result<()>> + 'static,
    {
        self.others.insert(name, Box::new(|| Box::pin(program())));
    }

    /// Runs the program as which a stage has started this binary, if one has.
    pub(crate) fn run_started_by_a_stage(&mut self) -> Option<ExitCode> {
        let name = env::var(PROGRAM).ok()?;
        if name == nginx::BUILDER {
            nginx::build();
            return Some(ExitCode::SUCCESS);
        }
        let program = self.others.remove(name.as_str())?;
        Some(block_on(async {
            program().await.map(|()| ExitCode::SUCCESS)
        }))
    }

    /// Runs the server if `PORT` is set.
    ///
    /// `command` is that of the stage; with options of its own (`is_given`) it makes no
    /// sense for a server.
    pub(crate) fn run_on_port(self, command: clap::Command, is_given: bool) -> Option<ExitCode> {
        env::var_os("PORT")?;
        if is_given {
            let mut command = named(command);
            let usage = command.error(
                ErrorKind::ArgumentConflict,
                "PORT makes this one server, and the command line is the stage's: unset PORT, or leave the options out",
            );
            return Some(usage_error(&usage));
        }
        Some(block_on(async {
            (self.server)().await.map(|()| ExitCode::SUCCESS)
        }))
    }
}

/// What stands below the options of everything that can be a server, too.
pub(crate) const AFTER_HELP: &str =
    "PORT=8000 in the environment makes this one server of the stage.";

/// A command line, under the name that the binary was started by.
pub(crate) fn named(command: clap::Command) -> clap::Command {
    let own = env::current_exe().unwrap_or_default();
    let name = own.file_name().unwrap_or_default().to_string_lossy();
    command.bin_name(name.into_owned())
}

/// Says what is wrong with a command line: exit code 2. Help goes to stdout and is no error.
pub(crate) fn usage_error(usage: &clap::Error) -> ExitCode {
    // Nobody may be there to read it.
    let _unread = usage.print();
    ExitCode::from(u8::from(usage.use_stderr()) * 2)
}

/// Runs a `main` to its end; an error is said in one sentence.
pub(crate) fn block_on(main: impl Future<Output = Result<ExitCode>>) -> ExitCode {
    // One Node process is one thread, and that is the article's premise.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(main),
        Err(error) => Err(error.into()),
    };
    outcome.unwrap_or_else(|error| exit_code(Err(error)))
}

/// The exit code of a program: 0, or 1 with its error as one sentence on stderr.
pub fn exit_code(outcome: Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", sentence(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes, less those that say again what was said.
fn sentence(error: &anyhow::Error) -> String {
    let mut sentence = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !sentence.contains(&cause) {
            sentence = format!("{sentence}: {cause}");
        }
    }
    sentence
}

/// Ready once Ctrl-C, SIGTERM or the end of the terminal has arrived.
pub(crate) fn interrupted() -> Result<impl Future<Output = ()>> {
    let mut signals = Vec::new();
    for kind in [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ] {
        signals.push(signal(kind).context("signals cannot be listened for")?);
    }
    Ok(async move {
        let arrivals = signals.iter_mut().map(|signal| Box::pin(signal.recv()));
        futures_util::future::select_all(arrivals).await;
    })
}
