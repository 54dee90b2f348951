//! A config of nginx with the addresses of a stage.

use std::{
    ffi::OsString,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::parts::rewrite::{Swap, rewrite};

/// The folder of the configs, as it stands in the repository.
pub(crate) const CONFIGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../nginx");

/// One of the repository's configs, as it stands.
///
/// # Errors
/// When it is not there: a chapter runs where its repository was checked out.
pub fn config(name: &str) -> Result<String> {
    let folder = Path::new(CONFIGS);
    fs::read_to_string(folder.join(name)).with_context(|| {
        format!(
            "nginx/{name} cannot be read; a chapter runs where its repository was checked out and built, {}",
            folder.parent().unwrap_or(folder).display()
        )
    })
}

/// A copy of the repository's `nginx/` in which one config names the stage's addresses.
#[derive(Clone, Debug)]
pub struct Site {
    /// The folder that holds the copy, for nginx's `-p`.
    pub prefix: PathBuf,
    /// The config's name, such as `02-round-robin.conf`.
    pub config: String,
    /// Where nginx listens with it.
    pub address: SocketAddr,
    /// How many workers it has nginx start.
    pub(crate) workers: usize,
}

impl Site {
    /// Makes the copy below `scratch`. `edit` may change the config's text before the
    /// addresses in it are swapped.
    pub(crate) fn copy(
        scratch: &Path,
        config: &str,
        address: SocketAddr,
        swaps: &[Swap],
        edit: impl FnOnce(&str) -> String,
    ) -> Result<Self> {
        let prefix = scratch.join("nginx-stage");
        let (from, to) = (Path::new(CONFIGS), prefix.join("nginx"));
        let text = self::config(config)?;
        for folder in ["include", "run"] {
            fs::create_dir_all(to.join(folder))?;
            for file in fs::read_dir(from.join(folder))? {
                let file = file?;
                if file.file_type()?.is_file() {
                    fs::copy(file.path(), to.join(folder).join(file.file_name()))?;
                }
            }
        }
        if let Some(folder) = to.join(config).parent() {
            fs::create_dir_all(folder)?;
        }
        let text = rewrite(&edit(&text), swaps).with_context(|| format!("nginx/{config}"))?;
        let workers = workers_of(&text);
        fs::write(to.join(config), text)?;
        Ok(Self {
            workers,
            prefix,
            config: config.to_owned(),
            address,
        })
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.prefix.join("nginx").join(&self.config)
    }

    /// The command line that starts nginx with it.
    pub(crate) fn arguments(&self) -> Vec<OsString> {
        vec![
            // Without it, nginx first tries a log file that only root may write.
            "-e".into(),
            "stderr".into(),
            "-p".into(),
            self.prefix.clone().into(),
            "-c".into(),
            format!("nginx/{}", self.config).into(),
        ]
    }
}

/// The number after `worker_processes` in one of the repository's configs; nginx's default is 1.
fn workers_of(config: &str) -> usize {
    config
        .lines()
        .find_map(|line| {
            line.trim()
                .strip_prefix("worker_processes")?
                .split(';')
                .next()
        })
        .and_then(|number| number.trim().parse().ok())
        .unwrap_or(1)
}
