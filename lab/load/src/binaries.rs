//! The servers that are measured, built as this program was.

use std::{
    env,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

/// The programs that are the Rust stack's servers.
pub(crate) struct Binaries {
    /// It answers with its PID. A lesson's binary, because the stage has it build nginx.
    pub(crate) pid: PathBuf,
    /// It takes orders as well.
    pub(crate) orders: PathBuf,
    /// The hardened chat.
    pub(crate) chat: PathBuf,
}

const PACKAGES: [&str; 3] = ["ch02-nginx-rr", "failures", "hardened-chat"];

impl Binaries {
    /// Brings them up to date, where cargo started this program; else takes those that
    /// are beside it.
    pub(crate) async fn find() -> Result<Self> {
        let own = env::current_exe().context("this program's own path is unknown")?;
        let folder = own.parent().context("this program is in no folder")?;
        if let Some(cargo) = env::var_os("CARGO") {
            build(Path::new(&cargo), folder).await?;
        }
        let [pid, orders, chat] = PACKAGES.map(|name| folder.join(name));
        for program in [&pid, &orders, &chat] {
            ensure!(
                program.is_file(),
                "{} is missing: start this with `cargo run --release -p load`, which builds it",
                program.display()
            );
        }
        Ok(Self { pid, orders, chat })
    }
}

/// Builds them into the folder of this program, with its profile. Cargo says how far it is.
async fn build(cargo: &Path, folder: &Path) -> Result<()> {
    let target = folder
        .parent()
        .context("this program is in no target folder")?;
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(profile) => profile,
        None => "release",
    };
    let built = Command::new(cargo)
        .args(["build", "--bins", "--profile", profile])
        .args(PACKAGES.map(|name| format!("--package={name}")))
        .arg("--target-dir")
        .arg(target)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await
        .context("cargo does not start")?;
    ensure!(
        built.success(),
        "the servers were not built; cargo has said why"
    );
    Ok(())
}
