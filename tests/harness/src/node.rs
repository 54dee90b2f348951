//! The official JavaScript client, `socket.io-client` from npm, in a process of its own.

use std::{
    env,
    fs::File,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::untested::untested;

/// The official client, fetched by `npm ci` on first need.
pub struct OfficialClient {
    script: PathBuf,
}

impl OfficialClient {
    /// `None` where Node.js or the client is missing: said in a line, and a failure in CI.
    pub fn find() -> Option<Self> {
        Self::with_script("client.mjs", "with the official client")
    }

    /// Pusher's library for servers, in the same way.
    pub fn find_pusher() -> Option<Self> {
        Self::with_script("pusher.mjs", "with Pusher's library")
    }

    /// Another application with Socket.IO's own adapter, in Node.
    pub fn find_neighbour() -> Option<Self> {
        Self::with_script("neighbour.mjs", "beside Socket.IO's own adapter")
    }

    fn with_script(script: &str, how: &str) -> Option<Self> {
        match fetch() {
            Ok(()) => Some(Self {
                script: folder().join(script),
            }),
            Err(reason) => {
                untested(how, &reason);
                None
            }
        }
    }

    /// Runs a command of the script; what it says is one line of JSON.
    pub async fn run(&self, arguments: &[&str]) -> Value {
        let output = tokio::process::Command::new("node")
            .arg(&self.script)
            .args(arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .expect("node runs");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| {
            panic!(
                "the script said no JSON:\n{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            )
        })
    }
}

/// Where the npm packages of the tests are.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/client")
}

/// Makes sure that the npm packages are there; one process at a time.
pub fn fetch() -> Result<(), String> {
    let version = Command::new("node").arg("--version").output();
    if !version.is_ok_and(|version| version.status.success()) {
        return Err("Node.js is not installed".to_owned());
    }
    let folder = folder();
    let lock = File::open(folder.join("package-lock.json")).expect("the lockfile is there");
    lock.lock().expect("the lockfile can be locked");
    let is_there = |package| {
        let package = folder.join("node_modules").join(package);
        package.join("package.json").is_file()
    };
    if [
        "socket.io-client",
        "socket.io-client-2",
        "axe-core",
        "pusher",
        "@socket.io/redis-adapter",
        "redis",
        "socket.io",
    ]
    .into_iter()
    .all(is_there)
    {
        return Ok(());
    }
    let installed = Command::new("npm")
        .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"])
        .current_dir(&folder)
        .stdin(Stdio::null())
        .output()
        .map_err(|_| "npm is not installed".to_owned())?;
    if installed.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&installed.stderr);
    let why = said.lines().find(|line| line.contains("error"));
    Err(format!(
        "`npm ci` in tests/client failed, and needs the network once: {}",
        why.unwrap_or("no reason given")
    ))
}
