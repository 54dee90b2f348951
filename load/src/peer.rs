//! The article's stack in Node: `load/node`, whose packages npm fetches on first need.

use std::{
    fs::File,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, bail, ensure};
use tokio::{process::Command, task::spawn_blocking};

use crate::stack::Server;

/// Where the peer is.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/node");

/// The script of a server.
pub(crate) fn script(server: Server) -> PathBuf {
    Path::new(FOLDER).join(match server {
        Server::Pid => "pid.js",
        Server::Chat => "server.js",
    })
}

/// The folder of its packages.
pub(crate) fn modules() -> PathBuf {
    Path::new(FOLDER).join("node_modules")
}

/// Makes sure that the peer can run. Returns what it is: Node's version and the packages'.
///
/// # Errors
/// One sentence: Node or npm is missing, or npm cannot reach its registry.
pub(crate) async fn ready() -> Result<String> {
    let node = match said(Command::new("node").arg("--version")).await {
        Ok(version) => version,
        Err(error) if is_missing(&error) => bail!(
            "Node.js is not installed, so there is nothing to measure beside: install it, or say --stack rust"
        ),
        Err(error) => return Err(error),
    };
    fetch().await?;
    let mut about = format!("Node {node}");
    for package in ["express", "socket.io"] {
        let file = modules().join(package).join("package.json");
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("{} cannot be read", file.display()))?;
        let package_json: serde_json::Value = serde_json::from_str(&text)?;
        let version = package_json["version"].as_str().unwrap_or("?");
        about.push_str(&format!(", {package} {version}"));
    }
    Ok(about)
}

/// The program itself, for its size.
pub(crate) async fn executable() -> Result<PathBuf> {
    let path = said(Command::new("node").args(["-p", "process.execPath"])).await?;
    Ok(path.into())
}

/// Fetches the packages that the lockfile names, once.
async fn fetch() -> Result<()> {
    // Two measurements may begin at once; npm is run by one.
    let lock = spawn_blocking(|| {
        let lock = File::open(Path::new(FOLDER).join("package-lock.json"))?;
        lock.lock()?;
        Ok::<_, std::io::Error>(lock)
    });
    let _lock = lock
        .await?
        .context("load/node/package-lock.json cannot be read")?;
    // npm writes this file last.
    if modules().join(".package-lock.json").is_file() {
        return Ok(());
    }
    let npm = Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .args(["--fetch-retries=0", "--fetch-timeout=20000"])
        .current_dir(FOLDER)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("npm is not installed: install it, or say --stack rust")?;
    ensure!(
        npm.status.success(),
        "`npm ci` in load/node failed, and needs the network once: with it try again, or say --stack rust"
    );
    Ok(())
}

/// The first line that a program says.
async fn said(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().await?;
    let said = String::from_utf8_lossy(&output.stdout);
    Ok(said.lines().next().unwrap_or_default().to_owned())
}

fn is_missing(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<std::io::Error>();
    error.is_some_and(|error| error.kind() == ErrorKind::NotFound)
}
