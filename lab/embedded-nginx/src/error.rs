//! The errors on a learner's machine. Each is one sentence that also says how to fix it.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Why there is no nginx.
///
/// `Display` is the whole message: there is no `source` below it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The compiler in `CC`, or `cc`, is missing or cannot make a program. In the second case, the C
    /// library's headers or the linker are often missing.
    #[error(
        "no working C compiler: {reason}; install gcc or clang (Debian: `apt install gcc \
         libc6-dev`, macOS: `xcode-select --install`), or install nginx, so that it need not be built"
    )]
    NoCompiler {
        /// What was not found, or what the compiler reported.
        reason: String,
    },

    /// There is no cargo, which downloads the sources.
    #[error(
        "cargo was not found, but it downloads nginx's C sources; start this with `cargo run`, \
         or install nginx, so that it need not be built"
    )]
    NoCargo,

    /// Cargo could not download the sources. Mostly, there is no network.
    #[error(
        "cargo could not download nginx's C sources ({reason}); the first build needs crates.io: \
         run `cargo fetch` once while online, or install nginx, so that it need not be built"
    )]
    NoSources {
        /// What cargo reported: its error and the first cause.
        reason: String,
    },

    /// nginx's `configure` failed.
    #[error("nginx's configure failed; its log ends with:\n{log}")]
    Configure {
        /// The last lines of its log.
        log: String,
    },

    /// The compiler refused a C file, or could not link.
    #[error("the C compiler failed on {what}:\n{log}")]
    Compile {
        /// The C file, or the program to be linked.
        what: String,
        /// The last lines that the compiler printed.
        log: String,
    },

    /// The folder for nginx cannot be written.
    #[error(
        "cannot write {} ({reason}); make it writable, or set CARGO_TARGET_DIR to a writable folder",
        path.display()
    )]
    NotWritable {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        reason: io::Error,
    },

    /// The disk filled up during the build.
    #[error(
        "the disk is full, and building nginx takes 5 MB under `target/`; free some space, or \
         set CARGO_TARGET_DIR to a folder on another disk"
    )]
    DiskFull,
}

impl Error {
    /// Makes the error for a failure to write `path`.
    pub(crate) fn write(path: &Path) -> impl Fn(io::Error) -> Self {
        move |reason| match reason.kind() {
            io::ErrorKind::StorageFull => Self::DiskFull,
            _ => Self::NotWritable {
                path: path.to_owned(),
                reason,
            },
        }
    }
}
