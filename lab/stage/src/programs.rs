//! The other programs of a lesson's binary.

use std::{collections::HashMap, env, future::Future, pin::Pin, process::ExitCode};

use anyhow::Result;
use front_end::block_on;

use crate::parts::{nginx, process::PROGRAM};

/// The programs of a lesson besides its server. An environment variable says which one runs.
#[derive(Default)]
pub(crate) struct Programs(HashMap<&'static str, Program>);

type Program = Box<dyn FnOnce() -> Running>;
type Running = Pin<Box<dyn Future<Output = Result<()>>>>;

impl Programs {
    pub(crate) fn add<F>(&mut self, name: &'static str, program: impl FnOnce() -> F + 'static)
    where
        F: Future<Output = Result<()>> + 'static,
    {
        self.0.insert(name, Box::new(|| Box::pin(program())));
    }

    /// Runs the program that the environment names, if a stage has started this binary as one.
    pub(crate) fn run_started_by_a_stage(&mut self) -> Option<ExitCode> {
        let name = env::var(PROGRAM).ok()?;
        if name == nginx::BUILDER {
            nginx::build();
            return Some(ExitCode::SUCCESS);
        }
        let program = self.0.remove(name.as_str())?;
        Some(block_on(async {
            program().await.map(|()| ExitCode::SUCCESS)
        }))
    }
}
