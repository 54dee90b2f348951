//! Finds programs on this machine.

use std::{env, path::PathBuf};

/// Folders that are searched after `PATH`. `PATH` often lacks the folders for root.
const ELSEWHERE: [&str; 4] = [
    "/usr/sbin",
    "/usr/local/sbin",
    "/usr/local/nginx/sbin",
    "/opt/homebrew/bin",
];

/// The first program of that name on `PATH` or in the folders above.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(ELSEWHERE.iter().map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}
