//! Fetches the packages in a lockfile, when they are needed for the first time.

use std::{
    fs::File,
    path::Path,
    process::{ExitStatus, Stdio},
};

use tokio::{process::Command, task::spawn_blocking};

/// Why the packages cannot be fetched.
#[derive(Debug)]
pub enum Error {
    /// `package-lock.json` is missing or cannot be read.
    NoLockfile,
    /// There is no npm.
    NoNpm,
    /// npm failed. Mostly, it cannot reach its registry.
    Failed(ExitStatus),
}

/// Makes sure that the packages in the lockfile of `folder` are in its `node_modules`.
///
/// # Errors
/// When they are not there and npm cannot fetch them.
pub async fn ci(folder: &Path) -> Result<(), Error> {
    // Two programs may do this at the same time. Only one of them runs npm.
    let lockfile = folder.join("package-lock.json");
    let lock = spawn_blocking(|| {
        let lock = File::open(lockfile)?;
        lock.lock()?;
        Ok::<_, std::io::Error>(lock)
    })
    .await;
    let Ok(Ok(_lock)) = lock else {
        return Err(Error::NoLockfile);
    };
    // npm writes this file last.
    if folder.join("node_modules/.package-lock.json").is_file() {
        return Ok(());
    }
    let npm = Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .args(["--fetch-retries=0", "--fetch-timeout=20000"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await;
    match npm {
        Ok(npm) if npm.status.success() => Ok(()),
        Ok(npm) => Err(Error::Failed(npm.status)),
        Err(_) => Err(Error::NoNpm),
    }
}
