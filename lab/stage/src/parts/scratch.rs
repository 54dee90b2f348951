//! The stage's folder of temporary files. It is removed when the stage ends.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};

/// Makes the folder, prints its path, and removes it when the pipe on its stdin is closed.
///
/// The pipe's only writer is the stage, so it closes when the stage ends, also by `kill -9`. The
/// guard runs before the folder exists, so the folder is always removed. The guard ignores SIGPIPE:
/// the stage may end before it has read the folder's path.
const GUARD: &str = r#"
exec 2>/dev/null
trap '' INT TERM HUP PIPE
folder=$(mktemp -d "${TMPDIR:-/tmp}/socket-lab-XXXXXX") || exit
echo "$folder"
while read -r _; do :; done
rm -rf -- "$folder"
"#;

/// A folder below `TMPDIR`. Dropping it removes it.
pub(crate) struct Scratch {
    path: PathBuf,
    guard: Child,
}

impl Scratch {
    pub(crate) fn new() -> Result<Self> {
        let mut guard = Command::new("sh")
            .args(["-c", GUARD])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C goes to the terminal's foreground group. Only the stage must be in it.
            .process_group(0)
            .spawn()
            .context("there is no `sh`, and the stage needs it to make a temporary folder")?;
        let mut path = String::new();
        if let Some(stdout) = guard.stdout.take() {
            BufReader::new(stdout).read_line(&mut path)?;
        }
        let scratch = Self {
            path: PathBuf::from(path.trim_end()),
            guard,
        };
        ensure!(
            scratch.path.is_dir(),
            "the stage cannot make a temporary folder in {}: set TMPDIR to another folder",
            env::temp_dir().display()
        );
        // If root starts nginx, its workers run as the user `nobody`. They must read the folder.
        fs::set_permissions(&scratch.path, fs::Permissions::from_mode(0o755))?;
        Ok(scratch)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        // This fails only if other code has waited for it already.
        let _gone = self.guard.wait();
        // The guard has removed the folder, unless the guard was killed.
        let _removed_already = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_removed_with_its_owner() {
        let scratch = Scratch::new().unwrap();
        let path = scratch.path().to_owned();
        fs::write(path.join("something"), "in it").unwrap();
        drop(scratch);
        assert!(!path.exists());
    }
}
