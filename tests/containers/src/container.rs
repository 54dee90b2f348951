//! The container, and the orders that it takes.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use testcontainers::{
    ContainerAsync, GenericImage, ImageExt,
    core::{CmdWaitFor, ExecCommand, WaitFor},
    runners::AsyncRunner,
};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

/// How long a container may take to say that it is ready.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at what a container has written.
const PAUSE: Duration = Duration::from_millis(20);

/// What to start, on this machine's network.
#[derive(Deserialize)]
struct Spec {
    image: String,
    tag: String,
    command: Vec<String>,
    /// A folder or file of this machine, and where it is copied to.
    copy: Option<(PathBuf, String)>,
    /// The text on stdout after which it is ready; `ready_on_stderr` is the same for stderr.
    ready_on_stdout: Option<String>,
    ready_on_stderr: Option<String>,
}

/// What a test may ask for once the container runs.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Order {
    /// End it at once; it may be started again.
    Stop,
    /// Start it again.
    Start,
    /// Run a command in it.
    Run(Vec<String>),
    /// Wait until it has written this text to stderr.
    WaitForStderr(String),
    /// Remove it.
    Remove,
}

pub(crate) fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let served = runtime
        .context("no runtime")
        .and_then(|runtime| runtime.block_on(serve()));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Answers the test. One that has ended does not listen any more.
fn say(answer: &str) {
    let _unheard = writeln!(io::stdout(), "{answer}");
}

async fn serve() -> Result<()> {
    let mut lines = BufReader::new(stdin()).lines();
    let Some(first) = lines.next_line().await? else {
        return Ok(());
    };
    let container = start(serde_json::from_str(&first)?).await?;
    say("ok");
    while let Some(line) = lines.next_line().await? {
        let order = serde_json::from_str(&line)?;
        if matches!(order, Order::Remove) {
            break;
        }
        match obey(&container, order).await {
            Ok(()) => say("ok"),
            Err(error) => say(&format!("error: {error:#}")),
        }
    }
    container.rm().await?;
    say("ok");
    Ok(())
}

async fn start(spec: Spec) -> Result<ContainerAsync<GenericImage>> {
    let ready = match (spec.ready_on_stdout, spec.ready_on_stderr) {
        (Some(text), _) => WaitFor::message_on_stdout(text),
        (_, Some(text)) => WaitFor::message_on_stderr(text),
        _ => WaitFor::Nothing,
    };
    let mut request = GenericImage::new(spec.image, spec.tag)
        .with_wait_for(ready)
        .with_cmd(spec.command)
        .with_network("host")
        .with_startup_timeout(PATIENCE);
    if let Some((from, to)) = spec.copy {
        request = request.with_copy_to(to, from.as_path());
    }
    Ok(request.start().await?)
}

async fn obey(container: &ContainerAsync<GenericImage>, order: Order) -> Result<()> {
    match order {
        Order::Stop => container.stop_with_timeout(Some(0)).await?,
        Order::Start => container.start().await?,
        Order::Run(command) => {
            let command =
                ExecCommand::new(command).with_cmd_ready_condition(CmdWaitFor::exit_code(0));
            container.exec(command).await?;
        }
        Order::WaitForStderr(text) => {
            let said = async {
                while !String::from_utf8_lossy(&container.stderr_to_vec().await?).contains(&text) {
                    tokio::time::sleep(PAUSE).await;
                }
                anyhow::Ok(())
            };
            match tokio::time::timeout(PATIENCE, said).await {
                Ok(said) => said?,
                Err(_) => bail!(
                    "it has not written {text:?} within {} s",
                    PATIENCE.as_secs()
                ),
            }
        }
        // Done by the caller: the container ends with that.
        Order::Remove => {}
    }
    Ok(())
}
