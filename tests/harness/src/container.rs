//! A container of a test, run by the program `containers` with testcontainers.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::OnceLock,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

/// A running container. It is removed when this is dropped.
pub(crate) struct Container {
    // Its container is removed when its stdin is closed.
    program: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Container {
    /// Starts what `spec` says: `image`, `tag`, `command`, `copy`, `ready_on_stdout`, `ready_on_stderr`.
    ///
    /// # Errors
    /// Why there is no container, as one sentence.
    pub(crate) async fn start(spec: &Value) -> Result<Self, String> {
        let mut program = Command::new(program())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C goes to the tests alone: this ends with them, and removes its container.
            .process_group(0)
            .spawn()
            .map_err(|error| error.to_string())?;
        let orders = program.stdin.take().expect("stdin is piped");
        let answers = program.stdout.take().expect("stdout is piped");
        let mut container = Self {
            program,
            orders,
            answers: BufReader::new(answers).lines(),
        };
        container.ask(spec).await?;
        Ok(container)
    }

    /// Ends it at once.
    pub(crate) async fn stop(&mut self) {
        self.obey(json!("stop")).await;
    }

    /// Starts it again.
    pub(crate) async fn start_again(&mut self) {
        self.obey(json!("start")).await;
    }

    /// Runs a command in it.
    pub(crate) async fn run(&mut self, command: &[&str]) {
        self.obey(json!({ "run": command })).await;
    }

    /// Waits until it has written that text to stderr.
    pub(crate) async fn wait_for_stderr(&mut self, text: &str) {
        self.obey(json!({ "wait-for-stderr": text })).await;
    }

    /// Removes it; its ports are free then.
    pub(crate) async fn remove(mut self) {
        self.obey(json!("remove")).await;
        self.program.wait().await.expect("the program ends");
    }

    async fn obey(&mut self, order: Value) {
        if let Err(reason) = self.ask(&order).await {
            panic!("the container does not obey {order}: {reason}");
        }
    }

    async fn ask(&mut self, line: &Value) -> Result<(), String> {
        let gone = |error: std::io::Error| error.to_string();
        let line = format!("{line}\n");
        self.orders.write_all(line.as_bytes()).await.map_err(gone)?;
        let answer = self.answers.next_line().await.map_err(gone)?;
        match answer.as_deref() {
            Some("ok") => Ok(()),
            Some(answer) => Err(answer.trim_start_matches("error: ").to_owned()),
            None => Err("the program `containers` has ended".to_owned()),
        }
    }
}

/// The program, built when it is first needed.
///
/// In a folder of its own: `cargo test` may still hold the other one.
fn program() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let folder = repository.join("target/containers");
        let built = std::process::Command::new(env!("CARGO"))
            .args([
                "build",
                "--package=containers",
                "--features=docker",
                "--locked",
                "--quiet",
            ])
            .arg("--target-dir")
            .arg(&folder)
            .current_dir(&repository)
            .status();
        assert!(
            built.is_ok_and(|status| status.success()),
            "the program that runs containers was not built; do without containers: LAB_PARTS=local"
        );
        folder.join("debug/containers")
    })
}
