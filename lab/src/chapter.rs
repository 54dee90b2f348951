//! A chapter's `main`: server, stage, or other program.

use std::{env, future::Future, pin::Pin, process::ExitCode};

use anyhow::{Context, Result};
use clap::{Args, CommandFactory, FromArgMatches, Parser};

use crate::{
    event::Event,
    journal::Journal,
    ports::Which,
    programs::{AFTER_HELP, Programs, block_on, interrupted, named, usage_error},
    stage::Stage,
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

/// One chapter, ready to run.
pub struct Chapter {
    title: &'static str,
    programs: Programs,
    page: Option<Page>,
}

/// What a stage that stays up does until Ctrl-C.
type Page = Box<dyn for<'a> FnOnce(&'a mut Stage) -> RunningOn<'a>>;
type RunningOn<'a> = Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

impl Chapter {
    /// A chapter and its server, which reads its port from `PORT`.
    pub fn new<F>(title: &'static str, server: impl FnOnce() -> F + 'static) -> Self
    where
        F: Future<Output = Result<()>> + 'static,
    {
        Self {
            title,
            programs: Programs::new(server),
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
        self.programs.add(name, program);
        self
    }

    /// A page that shows the stage and acts on it, once the lesson is over.
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
        if let Some(code) = self.programs.run_started_by_a_stage() {
            return code;
        }
        let options = match named(Options::command())
            .about(self.title)
            .after_help(AFTER_HELP)
            .try_get_matches()
            .and_then(|matches| Options::from_arg_matches(&matches))
        {
            Ok(options) => options,
            Err(usage) => return usage_error(&usage),
        };
        let (title, page) = (self.title, self.page);
        self.programs
            .run_on_port(Options::command(), options.is_given())
            .unwrap_or_else(|| block_on(play(title, page, &options, lesson)))
    }
}

/// Brings the stage up, runs the lesson on it, and takes it down again.
async fn play(
    title: &'static str,
    page: Option<Page>,
    options: &Options,
    lesson: impl AsyncFnOnce(&mut Stage) -> Result<()>,
) -> Result<ExitCode> {
    // Listened for before anything is started.
    let interrupted = interrupted()?;
    tokio::pin!(interrupted);
    let journal = Journal::default();
    let own = env::current_exe().context("this program's own path is unknown")?;
    let mut stage = Stage::new(own, title, options.ports.take()?, journal.clone())?;
    journal.record(Event::Chapter {
        title: title.to_owned(),
    });

    let played = async {
        lesson(&mut stage).await?;
        let all_held = stage.conclude(!options.check);
        if options.check {
            return Ok(if all_held {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
        if let Some(page) = page {
            page(&mut stage).await?;
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

/// Runs a program of a chapter that has a stage and a command line of its own.
///
/// The exit code is 0 if all that `run` claims held, 1 if not, 2 for a command line that
/// makes no sense. An error is one sentence. With `PORT` set, it is a server of the stage.
pub fn on_stage<O: Args, F>(
    title: &'static str,
    server: impl FnOnce() -> F + 'static,
    run: impl AsyncFnOnce(&mut Stage, O) -> Result<()>,
) -> ExitCode
where
    F: Future<Output = Result<()>> + 'static,
{
    #[derive(Parser)]
    struct Line<O: Args> {
        #[command(flatten)]
        own: O,
        /// The article's ports (8000, 8001, … for servers, 3000 for nginx), or free ones.
        #[arg(long, value_enum, value_name = "WHICH", default_value = "article")]
        ports: Which,
    }
    let mut programs = Programs::new(server);
    if let Some(code) = programs.run_started_by_a_stage() {
        return code;
    }
    let line = named(Line::<O>::command())
        .about(title)
        .after_help(AFTER_HELP)
        .try_get_matches()
        .and_then(|matches| Line::<O>::from_arg_matches(&matches));
    let line = match line {
        Ok(line) => line,
        Err(usage) => return usage_error(&usage),
    };
    let is_given = env::args_os().len() > 1;
    programs
        .run_on_port(Line::<O>::command(), is_given)
        .unwrap_or_else(|| {
            let options = Options {
                check: true,
                ports: line.ports,
            };
            block_on(play(title, None, &options, async |stage: &mut Stage| {
                run(stage, line.own).await
            }))
        })
}

impl Options {
    fn is_given(&self) -> bool {
        self.check || matches!(self.ports, Which::Auto)
    }
}
