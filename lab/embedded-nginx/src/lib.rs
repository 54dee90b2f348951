//! Where does nginx come from on a machine that has none? From its own C sources, which two
//! packages on crates.io carry: built once, by the machine's C compiler, and kept under `target/`.
//!
//! ```text
//! cargo run -p embedded-nginx
//! ```
//!
//! builds it, or finds it, and prints its path. It is the real nginx with its default modules and
//! `realip` and `stub_status`. It has no TLS and no gzip: those need OpenSSL and zlib.
//! Linux and macOS; a C compiler and `sh`, no `make`.

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
/// Finding it takes less than a millisecond and needs neither cargo nor a compiler. Building it
/// takes about 12 s on two cores, shows its progress on stderr and blocks: an async program calls
/// this before its runtime starts. If another process is building, this one says so and waits.
///
/// The C compiler is `CC`, or else `cc`. The folder is `CARGO_TARGET_DIR` if that is an absolute
/// path, or else the `target/` that the running program lies in.
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

/// The `target/` folder in use, without asking cargo, which would take a tenth of a second.
fn target_dir() -> PathBuf {
    // A relative one counts from where cargo was started, and that is not known here.
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

/// Names a build by all that it depends on, so that a changed flag is a new build and a `target/`
/// folder shared between a Mac and a Linux container holds both.
fn build_id() -> String {
    let mut recipe = DefaultHasher::new();
    (sources::VERSIONS, compile::CONFIGURE).hash(&mut recipe);
    let recipe = recipe.finish();
    format!("{VERSION}-{}-{}-{recipe:016x}", consts::OS, consts::ARCH)
}

/// Takes the lock that one builder at a time holds.
///
/// Every process that the build starts holds it too, as its standard input. So after a `kill -9`
/// it is free only when the compilers left behind have ended and can write nothing any more.
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

/// Builds in a folder that is removed again, whatever happens; only a whole nginx leaves it.
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
