//! A chapter's `main`: server, stage, or other program.

use std::{collections::HashMap, env, future::Future, pin::Pin, process::ExitCode};

use anyhow::{Context, Result};
use clap::{CommandFactory, FromArgMatches, Parser, ValueEnum, error::ErrorKind};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    client,
    event::Event,
    journal::Journal,
    nginx,
    ports::Ports,
    stage::{PROGRAM, Stage},
};

/// The command line of every chapter's stage.
#[derive(Parser)]
struct Options {
    /// Say claim by claim what held and exit, 0 if all did and 1 if not.
    #[arg(long)]
    check: bool,
    /// The article's ports (8000, 8001, … for servers, 3000 for nginx), or free ones.
    #[arg(long, value_enum, value_name = "WHICH", default_value = "article")]
    ports: Which,
}

#[derive(Clone, Copy, ValueEnum)]
enum Which {
    Article,
    Auto,
}

/// One chapter, ready to run.
pub struct Chapter {
    title: &'static str,
    server: Box<dyn FnOnce() -> Running>,
    programs: HashMap<&'static str, Box<dyn FnOnce() -> Running>>,
    page: Option<Page>,
}

/// What a stage that stays up does until Ctrl-C.
type Page = Box<dyn for<'a> FnOnce(&'a mut Stage) -> RunningOn<'a>>;
type RunningOn<'a> = Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

type Running = Pin<Box<dyn Future<Output = Result<()>>>>;

impl Chapter {
    /// A chapter and its server, which reads its port from `PORT`.
    pub fn new<F>(title: &'static str, server: impl FnOnce() -> F + 'static) -> Self
    where
        F: Future<Output = Result<()>> + 'static,
    {
        Self {
            title,
            server: Box::new(|| Box::pin(server())),
            programs: HashMap::new(),
            page: None,
        }
    }

    /// Another program of the chapter, which [`Stage::start_program`] starts by its name.
    #[must_use]
    pub fn with_program<F>(
        mut self,
        name: &'static str,
        program: impl FnOnce() -> F + 'static,
    ) -> Self
    where
        F: Future<Output = Result<()>> + 'static,
    {
        self.programs.insert(name, Box::new(|| Box::pin(program())));
        self
    }

    /// A page that shows the stage and acts on it, once the lesson is over. It calls
    /// [`Stage::show_all`] when it has said where it is.
    #[must_use]
    pub fn with_page(mut self, page: impl AsyncFnOnce(&mut Stage) -> Result<()> + 'static) -> Self {
        self.page = Some(Box::new(move |stage| Box::pin(page(stage))));
        self
    }

    /// Runs what the environment and the command line ask for.
    ///
    /// The exit code is 0 if all went well (with `--check`: if all claims held), 1 if
    /// not, 2 for a command line that makes no sense. An error is one sentence.
    pub fn run(mut self, lesson: impl AsyncFnOnce(&mut Stage) -> Result<()>) -> ExitCode {
        if let Ok(name) = env::var(PROGRAM) {
            if name == nginx::BUILDER {
                nginx::build();
                return ExitCode::SUCCESS;
            }
            if let Some(program) = self.programs.remove(name.as_str()) {
                return block_on(async { program().await.map(|()| ExitCode::SUCCESS) });
            }
        }
        let options = match command()
            .about(self.title)
            .after_help("PORT=8000 in the environment makes this one server of the stage.")
            .try_get_matches()
            .and_then(|matches| Options::from_arg_matches(&matches))
        {
            Ok(options) => options,
            Err(usage) => {
                // Help goes to stdout and is no error; nobody may be there to read either.
                let _unread = usage.print();
                return ExitCode::from(u8::from(usage.use_stderr()) * 2);
            }
        };
        if options.is_given() && env::var_os("PORT").is_some() {
            return usage_error(
                "PORT makes this one server, and the command line is the stage's: unset PORT, or leave the options out",
            );
        }
        block_on(self.choose(&options, lesson))
    }

    async fn choose(
        self,
        options: &Options,
        lesson: impl AsyncFnOnce(&mut Stage) -> Result<()>,
    ) -> Result<ExitCode> {
        if env::var_os("PORT").is_some() {
            (self.server)().await?;
            return Ok(ExitCode::SUCCESS);
        }
        self.play(options, lesson).await
    }

    /// Brings the stage up, runs the lesson on it, and takes it down again.
    async fn play(
        mut self,
        options: &Options,
        lesson: impl AsyncFnOnce(&mut Stage) -> Result<()>,
    ) -> Result<ExitCode> {
        // Listened for before anything is started.
        let interrupted = interrupted()?;
        tokio::pin!(interrupted);
        let journal = Journal::default();
        let ports = match options.ports {
            Which::Article => Ports::Article,
            Which::Auto => Ports::auto()?,
        };
        let own = env::current_exe().context("this program's own path is unknown")?;
        let mut stage = Stage::new(own, self.title, ports, journal.clone())?;
        journal.record(Event::Chapter {
            title: self.title.to_owned(),
        });

        let played = async {
            let recorder = stage.recorder();
            client::overheard(move |event| recorder.record(event), lesson(&mut stage)).await?;
            let all_held = stage.conclude(!options.check);
            if options.check {
                return Ok(if all_held {
                    ExitCode::SUCCESS
                } else {
                    ExitCode::FAILURE
                });
            }
            match self.page.take() {
                Some(page) => page(&mut stage).await?,
                None => stage.show_all(),
            }
            std::future::pending().await
        };
        let outcome = tokio::select! {
            outcome = played => outcome,
            // Ctrl-C is how a stage that stays up is meant to end; a check was not done.
            () = &mut interrupted => Ok(ExitCode::from(u8::from(options.check))),
            () = journal.reader_gone() => Ok(ExitCode::FAILURE),
        };
        stage.stop().await;
        outcome
    }
}

impl Options {
    fn is_given(&self) -> bool {
        self.check || matches!(self.ports, Which::Auto)
    }
}

/// Runs a chapter's `main` to its end; an error is said in one sentence.
fn block_on(main: impl Future<Output = Result<ExitCode>>) -> ExitCode {
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

/// The command line, under the name that the binary was started by.
fn command() -> clap::Command {
    let own = env::current_exe().unwrap_or_default();
    let name = own.file_name().unwrap_or_default().to_string_lossy();
    Options::command().bin_name(name.into_owned())
}

fn usage_error(sentence: &str) -> ExitCode {
    // Nobody may be there to read it.
    let _unread = command()
        .error(ErrorKind::ArgumentConflict, sentence)
        .print();
    ExitCode::from(2)
}

/// Ready once Ctrl-C, SIGTERM or the end of the terminal has arrived.
fn interrupted() -> Result<impl Future<Output = ()>> {
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
