//! Builds nginx on a machine without nginx. Two packages on crates.io contain its C sources. The
//! machine's C compiler builds them once, and nginx is kept under `target/`.
//!
//! ```text
//! cargo run -p embedded-nginx
//! ```
//!
//! builds nginx, or finds it, and prints its path. It is the real nginx with its default modules and
//! with `realip` and `stub_status`. It has no TLS and no gzip, because they need OpenSSL and zlib.
//! It needs Linux or macOS, a C compiler and `sh`, but not `make`.

mod compile;
mod error;
mod makefile;
mod progress;
mod sources;

use std::{
    env::{self, consts},
    fs::{self, File, TryLockError},
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

use compile::Build;
pub use error::Error;
use progress::Progress;
use sources::Sources;
pub use sources::VERSION;

/// Returns the path of an nginx built from source, and builds it if none has been built yet.
///
/// Finding nginx takes less than a millisecond and needs no cargo and no compiler. Building it takes
/// about 12 s on two cores and shows its progress on stderr. The function blocks, so an async program
/// should call it before its runtime starts. If another process builds nginx already, this one
/// prints that and waits.
///
/// The C compiler is `CC`, or else `cc`. The folder is `CARGO_TARGET_DIR` if that is an absolute
/// path, or else the `target/` of the running program.
pub fn nginx() -> Result<PathBuf, Error> {
    let home = target_dir().join("embedded-nginx");
    let nginx = home.join(build_id()).join("nginx");
    if nginx.is_file() {
        return Ok(nginx);
    }

    fs::create_dir_all(&home).map_err(Error::write(&home))?;
    let lock = wait_for_turn(&home)?;
    if nginx.is_file() {
        return Ok(nginx);
    }
    remove_leftovers(&home)?;
    build(&home, &lock, &nginx)?;
    Ok(nginx)
}

/// The `target/` folder. It is found without cargo: asking cargo would take a tenth of a second.
fn target_dir() -> PathBuf {
    // A relative path counts from the folder in which cargo was started, which is unknown here.
    let from_env = env::var_os("CARGO_TARGET_DIR")
        .map(PathBuf::from)
        .filter(|dir| dir.is_absolute());
    // Cargo marks a target folder that it creates as a cache.
    let from_executable = || {
        let executable = env::current_exe().ok()?;
        let marked = |dir: &&Path| dir.join("CACHEDIR.TAG").is_file();
        Some(executable.ancestors().find(marked)?.to_owned())
    };
    from_env
        .or_else(from_executable)
        .unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../../target").into())
}

/// Names a build by everything that it depends on. So a changed flag makes a new build, and a
/// `target/` folder that a Mac and a Linux container share holds a build for each.
fn build_id() -> String {
    let mut recipe = DefaultHasher::new();
    (sources::VERSIONS, compile::CONFIGURE).hash(&mut recipe);
    let recipe = recipe.finish();
    format!("{VERSION}-{}-{}-{recipe:016x}", consts::OS, consts::ARCH)
}

/// Takes the lock. Only one builder at a time holds it.
///
/// Every process of the build holds the lock too, as its standard input. After a `kill -9` of the
/// builder, the lock is free when the remaining compilers have ended. Then they can write nothing.
fn wait_for_turn(home: &Path) -> Result<File, Error> {
    let path = home.join("lock");
    let failed = Error::write(&path);
    let mut options = File::options();
    let options = options.read(true).append(true).create(true);
    let lock = options.open(&path).map_err(&failed)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            eprintln!("waiting for nginx {VERSION}: another process is building it");
            lock.lock().map_err(failed)?;
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    Ok(lock)
}

const UNFINISHED: &str = "unfinished-";

/// A build that was killed could not clean up.
fn remove_leftovers(home: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(home).map_err(Error::write(home))? {
        let path = entry.map_err(Error::write(home))?.path();
        let name = path.file_name().unwrap_or_default();
        if name.to_string_lossy().starts_with(UNFINISHED) {
            fs::remove_dir_all(&path).map_err(Error::write(&path))?;
        }
    }
    Ok(())
}

/// Builds in a temporary folder. Only a complete nginx is moved out of it.
fn build(home: &Path, lock: &File, nginx: &Path) -> Result<(), Error> {
    let dir = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .tempdir_in(home)
        .map_err(Error::write(home))?;
    let build = Build::new(dir.path(), lock);
    build.check_compiler()?;

    let progress = Progress::start();
    progress.stage("getting the C sources");
    let sources = Sources::locate()?;
    progress.stage("configuring");
    build.configure(&sources)?;
    let finished = build.compile(&progress)?;

    let place = nginx.parent().expect("nginx is in a folder");
    fs::create_dir_all(place).map_err(Error::write(place))?;
    fs::rename(finished, nginx).map_err(Error::write(nginx))?;
    progress.done();
    Ok(())
}
