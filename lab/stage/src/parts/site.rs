//! A config of nginx with the addresses of a stage.

use std::{
    ffi::OsString,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::parts::rewrite::{Nginx, Swap};

/// The repository's folder of configs.
pub(crate) const CONFIGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../nginx");

/// The text of one of the repository's configs.
///
/// # Errors
/// When the file cannot be read. A chapter only runs where its repository was checked out.
pub fn config(name: &str) -> Result<String> {
    let folder = Path::new(CONFIGS);
    fs::read_to_string(folder.join(name)).with_context(|| {
        format!(
            "nginx/{name} cannot be read: the chapter needs its repository, which was built in {}",
            folder.parent().unwrap_or(folder).display()
        )
    })
}

/// A copy of the repository's `nginx/`, with one config that names the stage's addresses.
#[derive(Clone, Debug)]
pub struct Site {
    /// The folder that holds the copy, for nginx's `-p`.
    pub prefix: PathBuf,
    /// The config's name, such as `02-round-robin.conf`.
    pub config: String,
    /// The address on which nginx listens with it.
    pub address: SocketAddr,
    /// How many workers nginx starts with it.
    pub(crate) workers: usize,
}

impl Site {
    /// Makes the copy below `scratch`. `edit` may change the config's text before the addresses
    /// in it are replaced.
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
        }
        if let Some(folder) = to.join(config).parent() {
            fs::create_dir_all(folder)?;
        }
        let mut nginx = Nginx::new(swaps);
        let in_file = || format!("nginx/{config}");
        let text = nginx.file(&edit(&text)).with_context(in_file)?;
        while let Some(name) = nginx.next_included() {
            let included = format!("include/{name}");
            // nginx itself names a file that is missing.
            if let Ok(text) = fs::read_to_string(from.join(&included)) {
                let text = nginx.file(&text);
                fs::write(
                    to.join(&included),
                    text.with_context(|| format!("nginx/{included}"))?,
                )?;
            }
        }
        nginx.finish().with_context(in_file)?;
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
            // Without this option, nginx first opens a log file that only root can write.
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
