//! Drills: a part dies under steady traffic, and the losses are counted.
//!
//! [`Drills`] is a [`Lesson`] whose experiments return rows. They run once or several times. The
//! table at the end has one row for each event and config, with the worst counts of all rounds.

mod load;
mod loss_counter;
mod reconnecting_client;
mod row;
mod servers;
mod table;

use std::{
    cell::{Cell, RefCell},
    future::Future,
    process::ExitCode,
    rc::Rc,
};

use anyhow::{Context, Result};
use clap::Args;
use lab::{Lesson, Stage};

use self::table::{Format, Table};
pub use self::{
    load::{Load, Requests, Sent},
    loss_counter::LossCounter,
    reconnecting_client::{Heard, ReconnectingClient, Session, reconnection_delay},
    row::Row,
    servers::{
        Signal, fresh_servers, replace_one_by_one, replace_one_by_one_after, servers_memory,
    },
};

/// The options of drills, besides those of every lesson.
#[derive(Args)]
struct DrillOptions {
    /// Run each drill this many times; the table shows the worst counts.
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Write the table in Markdown.
    #[arg(long)]
    markdown: bool,
}

/// A lesson of drills.
pub struct Drills {
    lesson: Lesson,
    stays_up: bool,
    results: Rc<Results>,
}

/// The rows of all drills, and how to show them.
#[derive(Default)]
struct Results {
    rounds: Cell<u32>,
    markdown: Cell<bool>,
    table: RefCell<Table>,
}

impl Drills {
    /// Drills and their server. The server reads its port from `PORT`.
    pub fn new<F>(title: &'static str, server: impl FnOnce() -> F + 'static) -> Self
    where
        F: Future<Output = Result<()>> + 'static,
    {
        Self {
            lesson: Lesson::new(title, server),
            stays_up: false,
            results: Rc::default(),
        }
    }

    /// Another program, which [`Stage::start_program`] starts by its name.
    #[must_use]
    pub fn with_program<F>(
        mut self,
        name: &'static str,
        program: impl FnOnce() -> F + 'static,
    ) -> Self
    where
        F: Future<Output = Result<()>> + 'static,
    {
        self.lesson = self.lesson.with_program(name, program);
        self
    }

    /// One more drill. It starts what it needs, and returns one row for each thing that it counts.
    #[must_use]
    pub fn with(
        mut self,
        name: &'static str,
        about: &'static str,
        drill: impl AsyncFn(&mut Stage) -> Result<Vec<Row>> + 'static,
    ) -> Self {
        let (drill, results) = (Rc::new(drill), Rc::clone(&self.results));
        self.lesson = self.lesson.with(name, about, async move |stage| {
            results.collect(stage, &*drill).await
        });
        self
    }

    /// One more experiment, which counts nothing: it has claims, and no rows in the table. It runs
    /// once, whatever `--rounds` says.
    #[must_use]
    pub fn with_claims(
        mut self,
        name: &'static str,
        about: &'static str,
        experiment: impl AsyncFn(&mut Stage) -> Result<()> + 'static,
    ) -> Self {
        self.lesson = self.lesson.with(name, about, experiment);
        self
    }

    /// Text before the first experiment.
    #[must_use]
    pub fn intro(mut self, text: &'static str) -> Self {
        self.lesson = self.lesson.intro(text);
        self
    }

    /// Text for experiments by hand. With it, the stage stays up after the last drill, unless
    /// `--check` is given.
    #[must_use]
    pub fn by_hand(
        mut self,
        text: impl AsyncFnOnce(&mut Stage) -> Result<String> + 'static,
    ) -> Self {
        self.lesson = self.lesson.by_hand(text);
        self.stays_up = true;
        self
    }

    /// Runs the drills that the command line names, and shows the table.
    ///
    /// The exit code is 0 if every row keeps its promises, 1 if not, 2 for a wrong command line.
    pub fn run(self) -> ExitCode {
        let (shown, asked) = (Rc::clone(&self.results), self.results);
        let lesson = if self.stays_up {
            self.lesson
        } else {
            self.lesson.ends_by_itself()
        };
        let lesson = lesson.at_end(async move |stage: &mut Stage| {
            shown.show(stage);
            Ok(())
        });
        lesson.run_with(|options: DrillOptions| {
            asked.rounds.set(options.rounds);
            asked.markdown.set(options.markdown);
            None
        })
    }
}

impl Results {
    async fn collect(
        &self,
        stage: &mut Stage,
        drill: &impl AsyncFn(&mut Stage) -> Result<Vec<Row>>,
    ) -> Result<()> {
        let mut rows = Table::default();
        for round in 1..=self.rounds.get() {
            // Each round starts its own servers, nginx and Redis.
            stage.clear().await;
            // Only the first round is shown: the others show the same.
            stage.mute(round > 1);
            let seen = drill(stage).await;
            stage.mute(false);
            let seen = seen.with_context(|| format!("round {round}"))?;
            if self.rounds.get() > 1 {
                stage.note(format!("round {round} of {}", self.rounds.get()));
            }
            for row in &seen {
                stage.record(row.claim());
            }
            rows.add_round(seen)
                .with_context(|| format!("round {round}"))?;
        }
        self.table.borrow_mut().append(rows);
        Ok(())
    }

    fn show(&self, stage: &Stage) {
        if self.table.borrow().is_empty() {
            return;
        }
        stage.step(&match self.rounds.get() {
            1 => "What was lost, in one round".to_owned(),
            rounds => format!("What was lost, in the worst of {rounds} rounds"),
        });
        let table = self.table.borrow();
        stage.note(if self.markdown.get() {
            table.render(Format::Markdown)
        } else {
            format!("{}\n\n{LEGEND}", table.render(Format::of_this_terminal()))
        });
    }
}

/// The signs in front of the rows.
const LEGEND: &str = "✓ nothing is lost   ! some are lost, as predicted   ✗ not as predicted";
