//! What can go wrong on a learner's machine, each as one sentence that also says the way out.

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
    /// What `CC` names, or `cc`, is not there, or cannot make a program: then usually the C
    /// library's headers or the linker are missing.
    #[error(
        "no working C compiler: {reason}; install gcc or clang (Debian: `apt install gcc \
         libc6-dev`, macOS: `xcode-select --install`), or install nginx, and none has to be built"
    )]
    NoCompiler {
        /// What was not found, or what the compiler reported.
        reason: String,
    },

    /// There is no cargo to ask for the sources.
    #[error(
        "cargo was not found, and it brings nginx's C sources; start this with `cargo run`, \
         or install nginx, and none has to be built"
    )]
    NoCargo,

    /// Cargo could not bring the sources: usually there is no network.
    #[error(
        "cargo could not bring nginx's C sources ({reason}); the first build needs crates.io: \
         run `cargo fetch` once while online, or install nginx, and none has to be built"
    )]
    NoSources {
        /// What cargo reported: its error and the first cause.
        reason: String,
    },

    /// nginx's `configure` gave up.
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
        "cannot write {} ({reason}); make it writable, or set CARGO_TARGET_DIR to a folder that is",
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
    /// Turns a failure to write `path` into the sentence for it.
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
