//! The command line that all lessons share, and the exit code of a program.
//!
//! ```text
//! cargo run -p NAME                        all experiments, then it stays up until Ctrl-C
//! cargo run -p NAME -- --check             all experiments, then exit code 0 (every claim held) or 1
//! cargo run -p NAME -- list                prints the names of the experiments
//! cargo run -p NAME -- EXPERIMENT          one experiment alone
//! cargo run -p NAME -- --ports auto        free ports instead of the article's
//! PORT=8000 cargo run -p NAME              one server
//! ```

mod enter;

use std::{
    env,
    future::Future,
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::{
    Args, CommandFactory, FromArgMatches, Parser, ValueEnum,
    builder::{PossibleValue, PossibleValuesParser},
    error::ErrorKind,
};
use tokio::signal::unix::{SignalKind, signal};

pub use enter::{Enter, enter_pressed};

/// This word in place of an experiment's name prints the names of all experiments.
const LIST: &str = "list";

/// The last line of every lesson's help.
const AFTER_HELP: &str =
    "With PORT=8000 in the environment, this program is one server of the lesson.";

/// What a lesson's command line may contain.
pub struct CommandLine {
    /// The lesson's title.
    pub title: &'static str,
    /// Its experiments, in order: the name and the title of each.
    pub experiments: Vec<(&'static str, &'static str)>,
}

/// What a command line asks for.
pub struct Asked<O> {
    /// The names of the experiments to run; empty for all.
    pub experiments: Vec<String>,
    /// Whether to end after the last experiment. The exit code then tells whether every claim held.
    pub check: bool,
    /// Whether to wait for Enter between two experiments.
    pub pauses: bool,
    /// Which ports to use.
    pub ports: Which,
    /// The lesson's own options.
    pub own: O,
}

/// Which ports a lesson uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Which {
    /// The article's: 8000, 8001, … for servers, 3000 for nginx, 6379 for Redis.
    Article,
    /// Any free ports.
    Auto,
}

/// A lesson without options of its own.
#[derive(Args)]
pub struct NoOptions {}

#[derive(Parser)]
struct Options<O: Args> {
    /// Which experiments to run [default: all].
    #[arg(value_name = "EXPERIMENT")]
    experiments: Vec<String>,
    /// Run without pauses, then exit: 0 if every claim held, 1 if not.
    #[arg(long)]
    check: bool,
    /// Do not pause between experiments.
    #[arg(long)]
    no_pause: bool,
    /// Which ports to use.
    #[arg(long, value_enum, value_name = "WHICH", default_value = "article")]
    ports: Which,
    #[command(flatten)]
    own: O,
}

impl CommandLine {
    /// Reads this process's command line.
    ///
    /// If there is nothing to run, the text has been printed and the error is the exit code:
    /// 0 after `list` and `--help`, 2 after an invalid command line.
    pub fn read<O: Args>(&self) -> Result<Asked<O>, ExitCode> {
        let options = self
            .command::<O>()
            .try_get_matches()
            .and_then(|matches| Options::<O>::from_arg_matches(&matches))
            .map_err(|usage| usage_error(&usage))?;
        if options.experiments.iter().any(|name| name == LIST) {
            return Err(self.list());
        }
        Ok(Asked {
            experiments: options.experiments,
            check: options.check,
            pauses: !options.check
                && !options.no_pause
                && io::stdin().is_terminal()
                && io::stdout().is_terminal(),
            ports: options.ports,
            own: options.own,
        })
    }

    /// Runs `server` if the environment variable `PORT` is set.
    ///
    /// A server takes no options: with any, the exit code is 2.
    pub fn run_server<O: Args, F>(&self, server: impl FnOnce() -> F) -> Option<ExitCode>
    where
        F: Future<Output = Result<()>>,
    {
        env::var_os("PORT")?;
        if env::args_os().len() > 1 {
            let usage = self.command::<O>().error(
                ErrorKind::ArgumentConflict,
                "PORT is set, so this is one server, and a server takes no options: unset PORT, or remove the options",
            );
            return Some(usage_error(&usage));
        }
        Some(block_on(async {
            server().await.map(|()| ExitCode::SUCCESS)
        }))
    }

    fn command<O: Args>(&self) -> clap::Command {
        let experiments = self.experiments.iter();
        let names = experiments
            .map(|(name, about)| PossibleValue::new(*name).help(*about))
            .chain([PossibleValue::new(LIST).help("Prints the names of the experiments")]);
        let names = PossibleValuesParser::new(names.collect::<Vec<_>>());
        let own = env::current_exe().unwrap_or_default();
        let own = own.file_name().unwrap_or_default().to_string_lossy();
        Options::<O>::command()
            .bin_name(own.into_owned())
            .about(self.title)
            .after_help(AFTER_HELP)
            .mut_arg("experiments", |argument| argument.value_parser(names))
    }

    fn list(&self) -> ExitCode {
        let width = self.experiments.iter().map(|(name, _)| name.len()).max();
        let mut stdout = io::stdout().lock();
        for (name, about) in &self.experiments {
            // If nobody reads the output, there is nobody to tell.
            let _unread = writeln!(stdout, "{name:0$}  {about}", width.unwrap_or_default());
        }
        ExitCode::SUCCESS
    }
}

/// Prints what is wrong with a command line: exit code 2. Help is printed to stdout: exit code 0.
fn usage_error(usage: &clap::Error) -> ExitCode {
    // If nobody reads the output, there is nobody to tell.
    let _unread = usage.print();
    ExitCode::from(u8::from(usage.use_stderr()) * 2)
}

/// Runs a `main` to its end. An error is printed as one sentence.
pub fn block_on(main: impl Future<Output = Result<ExitCode>>) -> ExitCode {
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

/// The exit code of a program: 0, or 1 after its error was printed to stderr as one sentence.
pub fn exit_code(outcome: Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", sentence(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes, without causes that repeat what was printed.
fn sentence(error: &anyhow::Error) -> String {
    let mut sentence = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !sentence.contains(&cause) {
            sentence = format!("{sentence}: {cause}");
        }
    }
    sentence
}

/// Ready once Ctrl-C, SIGTERM or SIGHUP (the terminal has closed) arrives. It listens from this
/// call on, even before it is awaited.
pub fn interrupted() -> Result<impl Future<Output = ()>> {
    let listen = |kind| signal(kind).context("signals cannot be listened for");
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hangup = listen(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}
