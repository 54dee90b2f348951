//! Drills: something dies under steady traffic, and what was lost is counted.
//!
//! A chapter's second binary runs them: all of them or some, once or many times. At its
//! end stands a table with a row for each event and config: the worst of all rounds.

mod row;
mod table;

use std::{env, future::Future, pin::Pin, process::ExitCode, rc::Rc};

use anyhow::{Context, Result};
use clap::{
    CommandFactory, FromArgMatches, Parser,
    builder::{PossibleValue, PossibleValuesParser},
};

pub use self::row::Row;
use self::table::{Format, Table};
use crate::{
    event::Event,
    journal::Journal,
    ports::Which,
    programs::{AFTER_HELP, Programs, block_on, interrupted, named, usage_error},
    stage::Stage,
};

/// How a server goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It is asked to end.
    Term,
    /// It is killed.
    Kill,
}

impl Way {
    /// The signal's name.
    pub fn signal(self) -> &'static str {
        match self {
            Self::Term => "SIGTERM",
            Self::Kill => "SIGKILL",
        }
    }
}

/// The command line of a chapter's drills.
#[derive(Parser)]
struct Options {
    /// Which drills; all of them if none is named. `list` says what each is.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// How often each drill is run. The table says the worst of all rounds.
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Print the table as a README has it.
    #[arg(long)]
    markdown: bool,
    /// The article's ports (8000, 8001, … for servers, 3000 for nginx), or free ones.
    #[arg(long, value_enum, value_name = "WHICH", default_value = "article")]
    ports: Which,
}

/// The drills of a chapter, ready to run.
pub struct Drills {
    title: &'static str,
    programs: Programs,
    all: Vec<Drill>,
}

struct Drill {
    name: &'static str,
    about: &'static str,
    run: Box<dyn for<'a> Fn(&'a mut Stage) -> RunningOn<'a>>,
}

type RunningOn<'a> = Pin<Box<dyn Future<Output = Result<Vec<Row>>> + 'a>>;

/// In place of a drill's name.
const LIST: &str = "list";

impl Drills {
    /// No drills yet, and the server that they are about. It reads its port from `PORT`.
    pub fn new<F>(title: &'static str, server: impl FnOnce() -> F + 'static) -> Self
    where
        F: Future<Output = Result<()>> + 'static,
    {
        Self {
            title,
            programs: Programs::new(server),
            all: Vec::new(),
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

    /// A drill, and what it is in one line. Each round of it has a stage of its own, on
    /// which nothing runs yet.
    #[must_use]
    pub fn with(
        mut self,
        name: &'static str,
        about: &'static str,
        drill: impl AsyncFn(&mut Stage) -> Result<Vec<Row>> + 'static,
    ) -> Self {
        let drill = Rc::new(drill);
        self.all.push(Drill {
            name,
            about,
            run: Box::new(move |stage| {
                let drill = Rc::clone(&drill);
                Box::pin(async move { drill(stage).await })
            }),
        });
        self
    }

    /// Runs what the environment and the command line ask for.
    ///
    /// The exit code is 0 if every row of every round kept what it promises, 1 if not, 2
    /// for a command line that makes no sense. An error is one sentence.
    pub fn run(mut self) -> ExitCode {
        if let Some(code) = self.programs.run_started_by_a_stage() {
            return code;
        }
        let options = match self
            .command()
            .try_get_matches()
            .and_then(|matches| Options::from_arg_matches(&matches))
        {
            Ok(options) => options,
            Err(usage) => return usage_error(&usage),
        };
        if options.names.iter().any(|name| name == LIST) {
            return list(&self.all);
        }
        let command = self.command();
        let (title, mut drills) = (self.title, self.all);
        if !options.names.is_empty() {
            drills.retain(|drill| options.names.iter().any(|name| name == drill.name));
        }
        self.programs
            .run_on_port(command, options.is_given())
            .unwrap_or_else(|| block_on(run_all(title, &drills, &options)))
    }

    fn command(&self) -> clap::Command {
        let names = self
            .all
            .iter()
            .map(|drill| PossibleValue::new(drill.name).help(drill.about))
            .chain([PossibleValue::new(LIST).help("says what there is, and ends")]);
        let names = PossibleValuesParser::new(names.collect::<Vec<_>>());
        named(Options::command())
            .about(self.title)
            .after_help(AFTER_HELP)
            .mut_arg("names", |argument| argument.value_parser(names))
    }
}

impl Options {
    fn is_given(&self) -> bool {
        !self.names.is_empty()
            || self.rounds > 1
            || self.markdown
            || matches!(self.ports, Which::Auto)
    }
}

fn list(drills: &[Drill]) -> ExitCode {
    let width = drills.iter().map(|drill| drill.name.len()).max();
    let journal = Journal::default();
    for Drill { name, about, .. } in drills {
        journal.record(Event::Note {
            text: format!("{name:0$}  {about}", width.unwrap_or_default()),
        });
    }
    ExitCode::SUCCESS
}

impl Stage {
    /// Claims what each row of a drill promises, and shows the table.
    ///
    /// # Errors
    /// When nothing was counted.
    pub fn show_rows(&self, rows: Vec<Row>) -> Result<()> {
        self.show(rows.iter().map(Row::claim).collect());
        let mut table = Table::default();
        table.add_round(rows)?;
        self.note(format!("\n{}", table.render(Format::of_this_terminal())));
        Ok(())
    }
}

async fn run_all(title: &'static str, drills: &[Drill], options: &Options) -> Result<ExitCode> {
    // Listened for before anything is started.
    let interrupted = interrupted()?;
    tokio::pin!(interrupted);
    let journal = Journal::default();
    journal.record(Event::Chapter {
        title: title.to_owned(),
    });
    let mut table = Table::default();
    for drill in drills {
        journal.record(Event::Step {
            title: format!("{}: {}", drill.name, drill.about),
        });
        let mut rows = Table::default();
        for round in 1..=options.rounds {
            // The first round is told; the others would tell the same.
            let its_journal = if round == 1 {
                journal.clone()
            } else {
                Journal::silent()
            };
            let own = env::current_exe().context("this program's own path is unknown")?;
            let mut stage = Stage::new(own, title, options.ports.take()?, its_journal)?;
            let outcome = tokio::select! {
                outcome = (drill.run)(&mut stage) => Some(outcome),
                () = &mut interrupted => None,
                () = journal.reader_gone() => None,
            };
            stage.stop().await;
            let Some(outcome) = outcome else {
                return Ok(ExitCode::FAILURE);
            };
            let seen = outcome.with_context(|| format!("{}, round {round}", drill.name))?;
            if options.rounds > 1 {
                journal.record(Event::Note {
                    text: format!("round {round} of {}", options.rounds),
                });
            }
            for row in &seen {
                journal.record(row.claim());
            }
            rows.add_round(seen)
                .with_context(|| format!("{}, round {round}", drill.name))?;
        }
        table.append(rows);
    }
    let rounds = match options.rounds {
        1 => "What was lost, in one round".to_owned(),
        rounds => format!("What was lost, in the worst of {rounds} rounds"),
    };
    journal.record(Event::Step { title: rounds });
    journal.record(Event::Note {
        text: table.render(if options.markdown {
            Format::Markdown
        } else {
            Format::of_this_terminal()
        }),
    });
    Ok(if table.all_held() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
