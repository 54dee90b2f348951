//! Compiles the C sources. nginx's own `configure` checks the machine and writes a Makefile. This
//! file does the work of `make`, on all cores.

use std::{
    env,
    fs::{self, File},
    io,
    num::NonZero,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread::{self, ScopedJoinHandle},
};

use crate::{
    error::Error,
    makefile::{Makefile, Unit},
    progress::Progress,
    sources::Sources,
};

/// The options of configure. Together with the versions, they determine the program.
pub(crate) const CONFIGURE: &[&str] = &[
    // No prefix: paths count from the current folder, and errors go to the terminal. The command
    // line or a config can change both.
    "--prefix=",
    "--error-log-path=stderr",
    "--with-http_realip_module",
    "--with-http_stub_status_module",
    "--without-http_gzip_module",
    // A folder with the layout of PCRE2's release, so that configure does not use an installed PCRE2.
    "--with-pcre=pcre2",
    // nginx's own flags come first. -O stays; -g0 and -w revoke -g and -Werror. The rest is PCRE2's
    // configuration, as pcre2-sys sets it, but without the just-in-time compiler, because some
    // machines cannot build it. nginx's files do not use these names.
    "--with-cc-opt=-g0 -w -DHAVE_CONFIG_H -DHAVE_MEMMOVE -DHAVE_STDLIB_H -DSTDC_HEADERS \
     -DPCRE2_CODE_UNIT_WIDTH=8 -DPCRE2_STATIC -DSUPPORT_PCRE2_8 -DSUPPORT_UNICODE",
];

/// Files in PCRE2's `src/` that others include.
const PCRE2_INCLUDED: [&str; 3] = ["pcre2_jit_match.c", "pcre2_jit_misc.c", "pcre2_ucptables.c"];

/// One build, in its temporary folder.
pub(crate) struct Build<'a> {
    dir: &'a Path,
    lock: &'a File,
    cc: String,
}

impl<'a> Build<'a> {
    pub(crate) fn new(dir: &'a Path, lock: &'a File) -> Self {
        let cc = env::var("CC").ok().filter(|cc| !cc.trim().is_empty());
        let cc = cc.unwrap_or_else(|| "cc".to_owned());
        Self { dir, lock, cc }
    }

    /// Builds a minimal program that needs headers and a linker. Without this check, configure would
    /// take a broken compiler for a machine with missing features.
    pub(crate) fn check_compiler(&self) -> Result<(), Error> {
        let program = "#include <sys/socket.h>\nint main(void) { return 0; }\n";
        fs::write(self.dir.join("trial.c"), program).map_err(Error::write(self.dir))?;
        let mut trial = self.compiler();
        trial.args(["-o", "trial", "trial.c"]);
        self.run(trial, |log| Error::NoCompiler {
            reason: log.lines().next().unwrap_or("it failed").to_owned(),
        })
    }

    pub(crate) fn configure(&self, sources: &Sources) -> Result<(), Error> {
        self.lay_out(sources).map_err(Error::write(self.dir))?;
        let mut configure = self.command("sh");
        configure.arg("auto/configure").args(CONFIGURE);
        configure.arg(format!("--with-cc={}", self.cc));
        self.run(configure, |log| Error::Configure { log })
    }

    /// Makes links, not copies: configure and the compiler do not write into the sources.
    fn lay_out(&self, sources: &Sources) -> io::Result<()> {
        for folder in ["auto", "src"] {
            symlink(sources.nginx.join(folder), self.dir.join(folder))?;
        }
        let pcre2 = self.dir.join("pcre2/src");
        fs::create_dir_all(&pcre2)?;
        for folder in ["include", "src"] {
            for file in fs::read_dir(sources.pcre2.join(folder))? {
                let file = file?;
                symlink(file.path(), pcre2.join(file.file_name()))?;
            }
        }
        // This file shows configure that it is PCRE2 and not the older PCRE.
        symlink("pcre2.h", pcre2.join("pcre2.h.generic"))
    }

    /// Compiles and links the program that configure has prepared. Returns its path.
    pub(crate) fn compile(&self, progress: &Progress) -> Result<PathBuf, Error> {
        let makefile = fs::read_to_string(self.dir.join("objs/Makefile"));
        let makefile = Makefile::new(&makefile.map_err(Error::write(self.dir))?);
        let mut units = self.pcre2_units().map_err(Error::write(self.dir))?;
        units.extend(makefile.units());

        progress.files(units.len());
        in_parallel(&units, |unit| {
            self.compile_unit(unit, &makefile)?;
            progress.file_done();
            Ok(())
        })?;

        progress.stage("linking");
        let mut link = self.compiler();
        link.args(units.iter().map(|unit| &unit.object));
        link.args(makefile.link_options());
        let what = "linking nginx".to_owned();
        self.run(link, |log| Error::Compile { what, log })?;
        Ok(self.dir.join("objs/nginx"))
    }

    fn pcre2_units(&self) -> io::Result<Vec<Unit>> {
        let mut units = Vec::new();
        for file in fs::read_dir(self.dir.join("pcre2/src"))? {
            let name = file?.file_name().to_string_lossy().into_owned();
            if let Some(stem) = name.strip_suffix(".c")
                && !PCRE2_INCLUDED.contains(&name.as_str())
            {
                units.push(Unit {
                    source: format!("pcre2/src/{name}"),
                    object: format!("objs/{stem}.o"),
                });
            }
        }
        Ok(units)
    }

    fn compile_unit(&self, unit: &Unit, makefile: &Makefile) -> Result<(), Error> {
        let mut compile = self.compiler();
        compile.arg("-c");
        compile.args(makefile.variable("CFLAGS"));
        compile.args(makefile.variable("ALL_INCS"));
        compile.args(["-o", &unit.object, &unit.source]);
        let what = unit.source.clone();
        self.run(compile, |log| Error::Compile { what, log })
    }

    /// `CC` may hold arguments too, as in `CC="ccache gcc"`.
    fn compiler(&self) -> Command {
        let mut words = self.cc.split_whitespace();
        let mut compiler = self.command(words.next().expect("CC is not blank"));
        compiler.args(words);
        compiler
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.dir);
        // Messages in English, to recognize a full disk.
        command.env("LC_ALL", "C");
        // configure would take them in place of its own.
        command.env_remove("CFLAGS");
        command
    }

    /// Runs a command to its end. What it printed matters only if it failed.
    fn run(&self, mut command: Command, failed: impl FnOnce(String) -> Error) -> Result<(), Error> {
        // Nothing reads its standard input here: it is there to hold the lock.
        let stdin = self.lock.try_clone();
        let output = match stdin.and_then(|lock| command.stdin(lock).output()) {
            Ok(output) => output,
            Err(error) => {
                let program = command.get_program().display();
                return Err(failed(match error.kind() {
                    io::ErrorKind::NotFound => format!("`{program}` was not found"),
                    _ => format!("`{program}` could not be started: {error}"),
                }));
            }
        };
        if output.status.success() {
            return Ok(());
        }
        let log = [output.stdout, output.stderr].concat();
        let log = String::from_utf8_lossy(&log);
        if log.contains("No space left on device") {
            return Err(Error::DiskFull);
        }
        Err(failed(last_lines(&log)))
    }
}

/// Calls `work` for every unit, on all cores, until one call fails.
fn in_parallel(
    units: &[Unit],
    work: impl Fn(&Unit) -> Result<(), Error> + Sync,
) -> Result<(), Error> {
    let next = AtomicUsize::new(0);
    let until_none_is_left = || {
        while let Some(unit) = units.get(next.fetch_add(1, Ordering::Relaxed)) {
            work(unit).inspect_err(|_| next.store(units.len(), Ordering::Relaxed))?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let start = |_| scope.spawn(until_none_is_left);
        let workers: Vec<_> = (0..cores).map(start).collect();
        let mut ended = workers.into_iter().map(ScopedJoinHandle::join);
        ended.try_for_each(|result| result.expect("no worker panics"))
    })
}

fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.trim_end().lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
