//! The stage's folder of temporary files, which goes when the stage goes.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};

/// Makes the folder, says where it is, and removes it once the pipe on its stdin is closed.
///
/// The pipe's only writer is the stage, so that it closes with it, `kill -9` included. The
/// folder has its guard before it exists: there is no moment at which it could be left behind,
/// not even that in which the stage dies and nobody reads where the folder is (SIGPIPE).
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
            // Ctrl-C goes to the terminal's foreground group: the stage alone.
            .process_group(0)
            .spawn()
            .context("no `sh` to make a temporary folder with")?;
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
            "no temporary folder can be made in {}: name another place with TMPDIR",
            env::temp_dir().display()
        );
        // Started by root, nginx lets its workers be `nobody`, who must get in too.
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
        // It cannot be waited for only if somebody else has done so.
        let _gone = self.guard.wait();
        // There is a folder to be removed only if somebody has killed its guard.
        let _removed_already = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_goes_with_its_owner() {
        let scratch = Scratch::new().unwrap();
        let path = scratch.path().to_owned();
        fs::write(path.join("something"), "in it").unwrap();
        drop(scratch);
        assert!(!path.exists());
    }
}
