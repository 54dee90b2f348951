//! A lesson: a server, and experiments on a stage of it.

use std::{env, future::Future, pin::Pin, process::ExitCode, rc::Rc};

use anyhow::{Context, Result};
use clap::Args;
use front_end::{CommandLine, NoOptions, Which, block_on, enter_pressed, interrupted};

use crate::{
    client,
    programs::Programs,
    seen::{event::Event, journal::Journal},
    stage::Stage,
};

/// A lesson: a server, and experiments on a stage of it.
///
/// Its binary has three roles. With `PORT` set, it is one server. If a stage has started it under a
/// program's name, it is that program. Otherwise it is the stage.
pub struct Lesson {
    title: &'static str,
    intro: &'static str,
    server: Box<dyn FnOnce() -> Running<'static, ()>>,
    programs: Programs,
    experiments: Vec<Experiment>,
    by_hand: Option<Act<String>>,
    page: Option<Act<()>>,
    at_end: Option<Act<()>>,
    stays_up: bool,
}

struct Experiment {
    name: &'static str,
    about: &'static str,
    run: Run,
}

type Run = Box<dyn for<'a> Fn(&'a mut Stage) -> Running<'a, ()>>;
type Act<T> = Box<dyn for<'a> FnOnce(&'a mut Stage) -> Running<'a, T>>;
type Running<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + 'a>>;

impl Lesson {
    /// A lesson and its server. The server reads its port from `PORT`.
    pub fn new<F>(title: &'static str, server: impl FnOnce() -> F + 'static) -> Self
    where
        F: Future<Output = Result<()>> + 'static,
    {
        Self {
            title,
            intro: "",
            server: Box::new(|| Box::pin(server())),
            programs: Programs::default(),
            experiments: Vec::new(),
            by_hand: None,
            page: None,
            at_end: None,
            stays_up: true,
        }
    }

    /// The subject of the lesson, and what to watch: a few lines before the first experiment.
    #[must_use]
    pub fn intro(mut self, text: &'static str) -> Self {
        self.intro = text;
        self
    }

    /// Another program of the lesson. [`Stage::start_program`] starts it by its name.
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

    /// One more experiment; `about` is its title. It starts the parts that it needs, because a
    /// learner may run it without the others.
    #[must_use]
    pub fn with(
        mut self,
        name: &'static str,
        about: &'static str,
        experiment: impl AsyncFn(&mut Stage) -> Result<()> + 'static,
    ) -> Self {
        let experiment = Rc::new(experiment);
        self.experiments.push(Experiment {
            name,
            about,
            run: Box::new(move |stage| {
                let experiment = Rc::clone(&experiment);
                Box::pin(async move { experiment(stage).await })
            }),
        });
        self
    }

    /// The text that says what to try by hand after the experiments, while the stage stays up. The
    /// function also brings the stage into the right state for it.
    #[must_use]
    pub fn by_hand(
        mut self,
        text: impl AsyncFnOnce(&mut Stage) -> Result<String> + 'static,
    ) -> Self {
        self.by_hand = Some(Box::new(move |stage| Box::pin(text(stage))));
        self
    }

    /// A page that shows and controls the stage after the experiments. It calls
    /// [`Stage::show_all`] after it has printed its address.
    #[must_use]
    pub fn with_page(mut self, page: impl AsyncFnOnce(&mut Stage) -> Result<()> + 'static) -> Self {
        self.page = Some(Box::new(move |stage| Box::pin(page(stage))));
        self
    }

    /// Runs after the last experiment, for example to print a table of all results.
    #[must_use]
    pub fn at_end(mut self, act: impl AsyncFnOnce(&mut Stage) -> Result<()> + 'static) -> Self {
        self.at_end = Some(Box::new(move |stage| Box::pin(act(stage))));
        self
    }

    /// The lesson ends after the last experiment, as with `--check`.
    #[must_use]
    pub fn ends_by_itself(mut self) -> Self {
        self.stays_up = false;
        self
    }

    /// Runs the role that the environment and the command line name.
    ///
    /// The exit code is 0 for success (with `--check`: if all claims held), 1 for a failure, and 2
    /// for a wrong command line. An error is one sentence.
    pub fn run(self) -> ExitCode {
        self.run_with(|_: NoOptions| None)
    }

    /// The same, with options of this lesson only. `take` gets them before anything starts. If it
    /// returns an exit code, the lesson ends.
    pub fn run_with<O: Args>(mut self, take: impl FnOnce(O) -> Option<ExitCode>) -> ExitCode {
        if let Some(code) = self.programs.run_started_by_a_stage() {
            return code;
        }
        let experiments = self.experiments.iter();
        let command_line = CommandLine {
            title: self.title,
            experiments: experiments.map(|one| (one.name, one.about)).collect(),
        };
        let server = std::mem::replace(&mut self.server, Box::new(|| Box::pin(async { Ok(()) })));
        if let Some(code) = command_line.run_server::<O, _>(server) {
            return code;
        }
        let asked = match command_line.read::<O>() {
            Ok(asked) => asked,
            Err(code) => return code,
        };
        if let Some(code) = take(asked.own) {
            return code;
        }
        if !asked.experiments.is_empty() {
            let is_asked = |one: &Experiment| asked.experiments.iter().any(|name| name == one.name);
            self.experiments.retain(is_asked);
        }
        self.stays_up &= !asked.check;
        block_on(self.play(asked.ports, asked.pauses))
    }

    /// Starts the stage, runs the experiments on it, and stops it again.
    async fn play(self, ports: Which, pauses: bool) -> Result<ExitCode> {
        // Listened for before anything is started.
        let interrupted = interrupted()?;
        tokio::pin!(interrupted);
        let journal = Journal::default();
        let own =
            env::current_exe().context("the system does not know the path of this program")?;
        let mut stage = Stage::new(own, self.title, ports.try_into()?, journal.clone())?;
        let ends = !self.stays_up;
        let outcome = tokio::select! {
            outcome = self.play_on(&mut stage, pauses) => outcome,
            // Ctrl-C is the right way to end a stage that stays up. But it ends a check too early.
            () = &mut interrupted => Ok(ExitCode::from(u8::from(ends))),
            () = journal.reader_gone() => Ok(ExitCode::FAILURE),
        };
        stage.stop().await;
        outcome
    }

    async fn play_on(self, stage: &mut Stage, pauses: bool) -> Result<ExitCode> {
        stage.record(Event::Chapter {
            title: self.title.to_owned(),
        });
        if !self.intro.is_empty() {
            stage.note(self.intro.trim_end());
        }
        let stays_up = self.stays_up;
        let recorder = stage.recorder();
        let experiments = async {
            run_each(stage, &self.experiments, pauses).await?;
            if let Some(at_end) = self.at_end {
                at_end(stage).await?;
            }
            let all_held = stage.conclude();
            if let Some(by_hand) = self.by_hand.filter(|_| stays_up) {
                let text = by_hand(stage).await?;
                stage.step("The stage stays up until Ctrl-C. Try by hand, in a second terminal:");
                stage.note(text);
            }
            anyhow::Ok(all_held)
        };
        let all_held = client::overheard(move |event| recorder.record(event), experiments).await?;
        if !stays_up {
            return Ok(ExitCode::from(u8::from(!all_held)));
        }
        match self.page {
            Some(page) => page(stage).await?,
            None => stage.show_all(),
        }
        std::future::pending().await
    }
}

async fn run_each(stage: &mut Stage, experiments: &[Experiment], pauses: bool) -> Result<()> {
    let mut enter = pauses.then(enter_pressed);
    for (number, Experiment { about, run, .. }) in experiments.iter().enumerate() {
        if let Some(enter) = enter.as_mut().filter(|_| number > 0) {
            stage.note(format!("\nNext: {about}\nPress Enter to go on."));
            // At the end of the input, no Enter comes any more.
            let _pressed = enter.recv().await;
        }
        stage.step(about);
        run(stage).await?;
    }
    Ok(())
}
