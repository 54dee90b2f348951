//! The article's servers in Node: `lab/load/node`, whose packages npm fetches at the first run.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, anyhow, bail};
use pages::npm;
use tokio::process::Command;

/// Where the peer is.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/node");

/// The script of a server.
pub(crate) fn script(name: &str) -> PathBuf {
    Path::new(FOLDER).join(name)
}

/// The folder of its packages.
pub(crate) fn modules() -> PathBuf {
    Path::new(FOLDER).join("node_modules")
}

/// Makes sure that the peer can run. Returns what it is: Node's version and the packages'.
pub(crate) async fn ready() -> Result<String> {
    let node = match said(Command::new("node").arg("--version")).await {
        Ok(version) => version,
        Err(error) if is_missing(&error) => bail!(
            "Node.js is not installed, so only the Rust servers can be measured: install it, or add --stack rust"
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
    npm::ci(Path::new(FOLDER))
        .await
        .map_err(|error| match error {
            npm::Error::NoLockfile => anyhow!("lab/load/node/package-lock.json cannot be read"),
            npm::Error::NoNpm => anyhow!("npm is not installed: install it, or add --stack rust"),
            npm::Error::Failed(_) => anyhow!(
                "`npm ci` in lab/load/node failed: it needs the network once. Try again, or add --stack rust"
            ),
        })
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
