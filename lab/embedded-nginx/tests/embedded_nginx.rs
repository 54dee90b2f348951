//! Does a learner without nginx get one, and one clear sentence where that cannot be?
//!
//!     cargo test -p embedded-nginx
//!
//! Two tests use the real nginx, which the first run builds. The others watch the builder itself:
//! they run it in a `target/` of its own with a C compiler that is a few lines of shell, so that a
//! whole build takes a second and fails, or stands still, where a test wants it to.

#![allow(
    clippy::unwrap_used,
    reason = "the helpers of a test panic as a test does"
)]

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use tempfile::TempDir;

#[test]
fn the_built_nginx_has_the_modules_that_the_stages_need() {
    let nginx = embedded_nginx::nginx().unwrap();

    let version = Command::new(&nginx).arg("-V").output().unwrap();
    let version = String::from_utf8(version.stderr).unwrap();
    assert!(version.starts_with(&format!(
        "nginx version: nginx/{}\n",
        embedded_nginx::VERSION
    )));

    let dir = TempDir::new().unwrap();
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/every_module.conf");
    let check = Command::new(&nginx)
        .arg("-t")
        .arg("-p")
        .arg(dir.path())
        .args(["-c", config])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8(check.stderr).unwrap(),
        format!(
            "nginx: the configuration file {config} syntax is ok\n\
             nginx: configuration file {config} test is successful\n"
        )
    );
}

#[test]
fn a_built_nginx_is_found_without_cargo_or_a_compiler() {
    let nginx = embedded_nginx::nginx().unwrap();

    let found = program()
        .env("CARGO", "/nonexistent/cargo")
        .env("CC", "/nonexistent/cc")
        .env("PATH", "")
        .output()
        .unwrap();

    assert_eq!(
        said(&found),
        (Some(0), format!("{}\n", nginx.display()), String::new())
    );
}

#[test]
fn of_two_processes_one_builds_and_the_other_waits_for_it() {
    let place = Place::new(AT_THE_GATE);
    let gate = Gate::new(&place);

    let first = Running::start(&place);
    let mut gate = gate.reached();
    let mut second = Running::start(&place);
    assert_eq!(second.next_line(), WAITING);
    gate.open();

    let (first, first_said) = first.end();
    let (second, second_said) = second.end();
    assert_eq!(first, second);
    assert!(Path::new(first.trim_end()).is_file());
    assert_eq!(first_said.lines().count(), 2, "{first_said}");
    assert_eq!(second_said, "");
}

/// The compilers of the killed process still run, and could write into the next build. They do
/// not: the next one waits for them too, and begins afresh.
#[test]
fn after_kill_9_the_next_build_waits_for_stray_compilers_and_removes_what_was_left() {
    let place = Place::new(AT_THE_GATE);
    let gate = Gate::new(&place);

    let killed = Running::start(&place);
    let mut gate = gate.reached();
    killed.kill_9();
    let left = place.folder();
    assert!(
        left.iter().any(|name| name.starts_with("unfinished-")),
        "{left:?}"
    );

    let mut next = Running::start(&place);
    assert_eq!(next.next_line(), WAITING);
    gate.open();
    let (path, said) = next.end();

    assert!(said.starts_with("building nginx "), "{said}");
    let build = Path::new(path.trim_end())
        .parent()
        .unwrap()
        .file_name()
        .unwrap();
    assert_eq!(place.folder(), [build.to_str().unwrap(), "lock"]);
}

#[test]
fn a_log_gets_one_line_at_the_start_and_one_at_the_end() {
    let (_, said) = Running::start(&Place::new("")).end();

    let lines: Vec<_> = said.lines().collect();
    let [start, end] = lines[..] else {
        panic!("{said}")
    };
    assert_eq!(start, "building nginx 1.28.3 from source, once");
    assert!(end.starts_with("built nginx 1.28.3 in "), "{end}");
    assert!(
        !said.contains(|c: char| c.is_control() && c != '\n'),
        "{said:?}"
    );
}

#[test]
fn without_a_c_compiler_one_sentence_says_how_to_get_one() {
    let place = Place::new("");
    let sentence = place.fails(|program| program.env("CC", "/nonexistent/cc"));
    assert_eq!(
        sentence,
        "no working C compiler: `/nonexistent/cc` was not found; install gcc or clang \
         (Debian: `apt install gcc libc6-dev`, macOS: `xcode-select --install`), \
         or install nginx, so that it need not be built\n"
    );
}

#[test]
fn a_compiler_that_cannot_link_is_quoted() {
    let place = Place::new("echo 'ld: cannot find Scrt1.o: No such file or directory' >&2; exit 1");
    let sentence = place.fails(|program| program);
    assert!(
        sentence.starts_with(
            "no working C compiler: ld: cannot find Scrt1.o: No such file or directory; \
             install gcc or clang (Debian: `apt install gcc libc6-dev`"
        ),
        "{sentence}"
    );
}

#[test]
fn without_cargo_one_sentence_says_what_it_is_for() {
    let place = Place::new("");
    let sentence = place.fails(|program| program.env("CARGO", "/nonexistent/cargo"));
    assert_eq!(
        last_line(&sentence),
        "cargo was not found, but it downloads nginx's C sources; start this with `cargo run`, \
         or install nginx, so that it need not be built"
    );
}

#[test]
fn offline_on_first_need_one_sentence_says_to_run_cargo_fetch_once() {
    let place = Place::new("");
    let cargo_home = TempDir::new().unwrap();
    let sentence = place.fails(|program| {
        program
            .env("CARGO_HOME", cargo_home.path())
            .env("CARGO_NET_OFFLINE", "true")
    });
    let sentence = last_line(&sentence);
    assert!(
        sentence.starts_with("cargo could not download nginx's C sources ("),
        "{sentence}"
    );
    assert!(
        sentence.contains("run `cargo fetch` once while online"),
        "{sentence}"
    );
}

#[test]
fn when_configure_fails_the_end_of_its_log_says_why() {
    // An `int` of 3 bytes is too much for it.
    let place = Place::new("size=3");
    let sentence = place.fails(|program| program);
    assert!(
        sentence.contains("nginx's configure failed; its log ends with:\n"),
        "{sentence}"
    );
    assert!(
        sentence.ends_with("auto/configure: error: can not detect int size\n"),
        "{sentence}"
    );
}

#[test]
fn a_c_file_that_does_not_compile_is_named() {
    let place =
        Place::new("case $* in *ngx_cycle.c) echo 'ngx_cycle.c:1: error: no' >&2; exit 1;; esac");
    let sentence = place.fails(|program| program);
    assert!(
        sentence.ends_with(
            "the C compiler failed on src/core/ngx_cycle.c:\nngx_cycle.c:1: error: no\n"
        ),
        "{sentence}"
    );
}

#[test]
fn a_full_disk_is_named_even_if_only_the_compiler_noticed() {
    let place = Place::new(
        "case $* in *ngx_cycle.c) echo 'cannot write: No space left on device' >&2; exit 1;; esac",
    );
    let sentence = place.fails(|program| program);
    assert!(
        last_line(&sentence).starts_with("the disk is full, "),
        "{sentence}"
    );
}

/// A file stands where the folder should be: that stops even root, whom no permission stops.
#[test]
fn a_target_folder_that_cannot_be_written_is_named() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    File::create(&file).unwrap();

    let failed = program().env("CARGO_TARGET_DIR", &file).output().unwrap();

    let (code, stdout, sentence) = said(&failed);
    assert_eq!((code, stdout), (Some(1), String::new()));
    assert!(
        sentence.starts_with(&format!("cannot write {}/embedded-nginx (", file.display())),
        "{sentence}"
    );
    assert!(
        sentence.contains("set CARGO_TARGET_DIR to a writable folder"),
        "{sentence}"
    );
}

const WAITING: &str = "waiting for nginx 1.28.3: another process is building it";

/// What every C compiler here ends with. The programs that it makes print 8, which configure takes
/// for the size of a type.
const COMPILE: &str = r#"
for word; do
    [ "$previous" != -o ] || output=$word
    previous=$word
done
[ -z "$output" ] || { printf '#!/bin/sh\necho %s\n' "${size:-8}" > "$output"; chmod +x "$output"; }
"#;

/// Before it compiles a C file, the compiler waits until the test lets it.
const AT_THE_GATE: &str = r#"case $1 in -c) read -r _ < "$0.gate";; esac"#;

/// A `target/` folder of its own, and a C compiler.
struct Place {
    dir: TempDir,
}

impl Place {
    /// `before` is shell that the compiler runs first.
    fn new(before: &str) -> Self {
        let place = Self {
            dir: TempDir::new().unwrap(),
        };
        fs::write(place.compiler(), format!("{before}\n{COMPILE}")).unwrap();
        place
    }

    fn compiler(&self) -> PathBuf {
        self.dir.path().join("cc")
    }

    fn program(&self) -> Command {
        let mut program = program();
        program.env("CARGO_TARGET_DIR", self.dir.path());
        program.env("CC", format!("sh {}", self.compiler().display()));
        program
    }

    /// Runs the program in a way in which it must fail, and returns what it said.
    fn fails(&self, set: impl FnOnce(&mut Command) -> &mut Command) -> String {
        let failed = set(&mut self.program()).output().unwrap();
        let (code, stdout, stderr) = said(&failed);
        assert_eq!((code, stdout), (Some(1), String::new()), "{stderr}");
        assert_eq!(self.folder(), ["lock"], "nothing half-built is left");
        stderr
    }

    /// What is in the folder that nginx is built in.
    fn folder(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path().join("embedded-nginx")).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// Keeps the compilers of a place from compiling C files, until it is opened. Each of them
/// reads a line from a FIFO, and until then waits.
struct Gate {
    fifo: PathBuf,
    /// Open to the end of the test: whoever opened the FIFO while nobody writes would wait on.
    writer: Option<File>,
}

impl Gate {
    fn new(place: &Place) -> Self {
        let fifo = place.compiler().with_extension("gate");
        assert!(
            Command::new("mkfifo")
                .arg(&fifo)
                .status()
                .unwrap()
                .success()
        );
        Self { fifo, writer: None }
    }

    /// Returns when a compiler stands at the gate.
    fn reached(mut self) -> Self {
        let (sender, receiver) = mpsc::channel();
        let fifo = self.fifo.clone();
        // Opening a FIFO waits for its reader.
        thread::spawn(move || sender.send(File::options().write(true).open(fifo)));
        let writer = receiver.recv_timeout(Duration::from_mins(1));
        self.writer = Some(writer.expect("a compiler comes within a minute").unwrap());
        self
    }

    /// A line for each compiler that waits or will come: more than there are C files in two builds.
    fn open(&mut self) {
        let writer = self.writer.as_mut().expect("a compiler stands at the gate");
        writer.write_all(&[b'\n'; 2_000]).unwrap();
    }
}

/// The program while it runs.
struct Running {
    child: Child,
    stderr: BufReader<ChildStderr>,
}

impl Running {
    fn start(place: &Place) -> Self {
        let mut program = place.program();
        let mut child = program
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self { child, stderr }
    }

    fn next_line(&mut self) -> String {
        let mut line = String::new();
        self.stderr.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn kill_9(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it has succeeded; returns its stdout, and what of stderr was not read before.
    fn end(mut self) -> (String, String) {
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.stderr.read_to_string(&mut stderr).unwrap();
        self.child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut stdout)
            .unwrap();
        assert!(self.child.wait().unwrap().success(), "{stderr}");
        (stdout, stderr)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_embedded-nginx"))
}

/// The exit code, stdout and stderr.
fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap()
}
