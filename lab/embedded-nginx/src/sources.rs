//! Finds the C sources in cargo's registry. Their packages are optional dependencies: cargo downloads
//! and checks them like any other, but never compiles them.

use std::{io, path::PathBuf};

use cargo_metadata::{CargoOpt, Metadata, MetadataCommand};

use crate::error::Error;

/// The version of nginx that this crate builds.
pub const VERSION: &str = "1.28.3";

/// The packages and their versions in Cargo.lock, known without cargo.
pub(crate) const VERSIONS: [(&str, &str); 2] =
    [("nginx-src", "1.28.5+1.28.3"), ("pcre2-sys", "0.2.10")];

/// The unpacked C sources. They belong to cargo, so nothing is written there.
pub(crate) struct Sources {
    /// nginx's release: `auto/configure`, `src/`.
    pub(crate) nginx: PathBuf,
    /// PCRE2, which nginx needs for regular expressions: `src/`, `include/`.
    pub(crate) pcre2: PathBuf,
}

impl Sources {
    /// Asks cargo for the sources. Cargo downloads them if it has not done so yet.
    pub(crate) fn locate() -> Result<Self, Error> {
        let metadata = MetadataCommand::new()
            .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
            .features(CargoOpt::SomeFeatures(vec!["c-sources".into()]))
            // Without the filter cargo would download the workspace's Windows libraries too.
            .other_options(["--locked", "--filter-platform=host-tuple"].map(String::from))
            .exec()
            .map_err(explain)?;
        Ok(Self {
            nginx: package(&metadata, "nginx-src")?.join("nginx"),
            pcre2: package(&metadata, "pcre2-sys")?.join("upstream"),
        })
    }
}

fn package(metadata: &Metadata, name: &str) -> Result<PathBuf, Error> {
    let mut packages = metadata.packages.iter();
    packages
        .find(|package| package.name == name)
        .and_then(|package| package.manifest_path.parent())
        .map(|folder| folder.as_std_path().to_owned())
        .ok_or_else(|| Error::NoSources {
            reason: format!("it knows no package {name}"),
        })
}

fn explain(error: cargo_metadata::Error) -> Error {
    let reason = match error {
        cargo_metadata::Error::Io(error) if error.kind() == io::ErrorKind::NotFound => {
            return Error::NoCargo;
        }
        cargo_metadata::Error::CargoMetadata { stderr } => summary(&stderr),
        other => other.to_string(),
    };
    Error::NoSources { reason }
}

/// Cargo's error and its root cause. Warnings and the causes in between are left out.
fn summary(stderr: &str) -> String {
    let error = stderr.lines().find_map(|line| line.strip_prefix("error: "));
    let error = error.unwrap_or(stderr.trim());
    match stderr.rsplit_once("Caused by:\n") {
        Some((_, cause)) => format!("{error}: {}", cause.lines().next().unwrap_or("").trim()),
        None => error.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::VERSIONS;

    #[test]
    fn the_versions_named_here_are_those_in_cargo_lock() {
        let lock = include_str!("../../../Cargo.lock");
        for (name, version) in VERSIONS {
            assert!(
                lock.contains(&format!("name = \"{name}\"\nversion = \"{version}\"\n")),
                "{name}"
            );
        }
        assert!(VERSIONS[0].1.ends_with(&format!("+{}", super::VERSION)));
    }
}
