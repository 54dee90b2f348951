//! The book: what a learner reads, held against what is there.
//!
//! ```text
//! cargo test -p lab --test 00_book
//! ```
//!
//! Here nothing runs but the reading: what a chapter's program writes is in
//! `tests/snapshots`, and the chapter's own test keeps it true.

#[path = "harness/markdown.rs"]
mod markdown;
#[path = "harness/redact.rs"]
mod redact;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};
use insta::assert_snapshot;
use markdown::Page;
use redact::{redact, unfold};
use regex::Regex;
use similar::{ChangeTag, TextDiff};

// ---- nginx: each file is the one before, and its lesson ----

#[test]
fn each_config_adds_to_the_one_before_what_its_lesson_is_about() {
    let steps = [
        ("02-round-robin", "02-backup"),
        ("02-round-robin", "02-max-fails-0"),
        ("02-max-fails-0", "02-keepalive"),
        ("02-keepalive", "02-non-idempotent"),
        ("02-round-robin", "03-websocket"),
        ("03-websocket", "04-ip-hash"),
        ("03-websocket", "04-least-conn"),
        ("03-websocket", "04-consistent-hash"),
        ("03-websocket", "04-cookie"),
        ("04-ip-hash", "04-wrong-arg-sid"),
        ("04-ip-hash", "04-wrong-no-upgrade"),
        ("04-ip-hash", "04-wrong-read-timeout"),
        ("04-ip-hash", "04-wrong-backup"),
        ("04-ip-hash", "04-wrong-realip"),
        ("04-ip-hash", "04-wrong-websocket-only"),
        ("04-least-conn", "04-wrong-workers"),
        ("04-wrong-workers", "04-workers-zone"),
        ("04-ip-hash", "06-full-stack"),
        ("06-full-stack", "06-max-fails-0"),
        ("06-full-stack", "06-shutdown-timeout"),
        ("06-full-stack", "06-many-sockets"),
    ];
    let page: String = steps
        .iter()
        .map(|(from, to)| format!("── {from} → {to}\n{}\n", difference(from, to).join("\n")))
        .collect();
    assert_snapshot!(page);
}

#[test]
fn ip_hash_is_one_line_more() {
    assert_eq!(
        difference("03-websocket", "04-ip-hash"),
        ["+        ip_hash;"]
    );
}

#[test]
fn the_full_stack_is_served_by_chapter_4s_nginx() {
    assert!(difference("04-ip-hash", "06-full-stack").is_empty());
}

#[test]
fn each_config_says_first_how_it_starts_by_hand() {
    for (path, text) in configs() {
        let first = text.lines().next().unwrap_or_default();
        let command = format!("# nginx -p . -c {path} ");
        assert!(first.starts_with(&command), "{path} begins with {first:?}");
    }
}

/// The lines that the second config has and the first has not (`+`), and the other way
/// round (`-`). Comments and empty lines do nothing, and are left out.
fn difference(from: &str, to: &str) -> Vec<String> {
    let [from, to] = [from, to].map(|name| {
        let config = Page::read(&root(), &format!("nginx/{name}.conf"));
        let lines = config.text.lines().filter(|line| {
            let line = line.trim();
            !line.is_empty() && !line.starts_with('#')
        });
        lines.map(|line| format!("{line}\n")).collect::<String>()
    });
    TextDiff::from_lines(&from, &to)
        .iter_all_changes()
        .filter(|change| change.tag() != ChangeTag::Equal)
        .map(|change| format!("{}{}", change.tag(), change.value().trim_end()))
        .collect()
}

// ---- chapters: each holds only what is new in it ----

#[test]
fn chapter_4s_server_is_chapter_3s() {
    let main = Page::read(&root(), "chapters/04-ip-hash/src/main.rs").text;
    for is_there in [
        r"use ch03_socket_polling::\{[^}]*\bserve\b[^}]*\};",
        r#"Chapter::new\(\s*"[^"]*",\s*serve,\s*\)"#,
    ] {
        let pattern = Regex::new(is_there).expect("a pattern");
        assert!(pattern.is_match(&main), "{is_there}");
    }
    // Without axum and socketioxide a package cannot define such a server of its own.
    let package = package("ch04-ip-hash").expect("chapter 4 is a package");
    let needed = package
        .dependencies
        .iter()
        .filter(|needed| needed.kind == DependencyKind::Normal)
        .map(|needed| needed.name.as_str());
    assert_eq!(
        needed.collect::<Vec<_>>(),
        ["ch03-socket-polling", "lab", "observatory", "tokio"]
    );
}

// ---- READMEs: what they show is there ----

#[test]
fn every_nginx_block_is_an_excerpt_of_a_config() {
    let trimmed = |text: &str| -> String {
        text.lines()
            .map(|line| format!("{}\n", line.trim()))
            .collect()
    };
    let configs: Vec<_> = configs().map(|(_, text)| trimmed(&text)).collect();
    let mut wrong = Wrong::default();
    for page in readmes() {
        for block in page.blocks("nginx") {
            let excerpt = trimmed(&block.text);
            let found = configs.iter().any(|config| {
                config.starts_with(&excerpt) || config.contains(&format!("\n{excerpt}"))
            });
            wrong.unless(found, || {
                format!(
                    "{}: no config in nginx/ has these lines in a row\n{}",
                    block.place, block.text
                )
            });
        }
    }
    wrong.expect_none();
}

/// Drawings, by the first line. Every other `text` block is what a chapter's program writes.
const DRAWINGS: [(&str, &str); 2] = [
    ("README.md", "chapters/    one folder a lesson"),
    ("chapters/06-full-stack/README.md", "  Alice ──┐"),
];

/// How a README may quote what a chapter writes:
///
/// - the lines stand in the README in the order in which the program writes them, and
///   what stands between them may be missing;
/// - `…` in a line stands for anything, and on a line of its own for lines left out;
/// - spaces do not count, nor do PIDs and the like: both sides are redacted first;
/// - the column that says who may be missing, as in the terminal of the one who says it.
#[test]
fn every_transcript_in_a_readme_is_what_the_chapter_writes() {
    let transcripts: Vec<_> = chapters()
        .map(|folder| (transcript_of(&folder), folder))
        .collect();
    let mut wrong = Wrong::default();
    for page in readmes() {
        for block in page.blocks("text") {
            let is_drawing =
                |(path, start): (&str, &str)| path == page.path && block.text.starts_with(start);
            if DRAWINGS.into_iter().any(is_drawing) {
                continue;
            }
            // A chapter's README quotes that chapter. The book's own quotes the one whose
            // title the block begins with.
            let title = block.text.lines().next().unwrap_or_default();
            let quoted = transcripts.iter().find(|(written, folder)| {
                page.path == format!("chapters/{folder}/README.md")
                    || written.first().is_some_and(|line| line.whole == title)
            });
            let mut rest = quoted.map_or(&[][..], |(written, _)| written).iter();
            let missing = unfold(&redact(&block.text))
                .iter()
                .map(|line| comparable(line))
                .filter(|line| !line.is_empty() && line != "…")
                .find(|line| !rest.any(|written| is_quoted(written, line)));
            wrong.unless(missing.is_none(), || {
                format!(
                    "{}: no chapter writes this line, or not after the lines before it: {}",
                    block.place,
                    missing.unwrap_or_default()
                )
            });
        }
    }
    for (path, start) in DRAWINGS {
        let page = Page::read(&root(), path);
        let drawn = page
            .blocks("text")
            .iter()
            .any(|block| block.text.starts_with(start));
        wrong.unless(drawn, || format!("{path} has no drawing {start:?}"));
    }
    wrong.expect_none();
}

/// Whether a README's line is this one, or this one without who says it.
fn is_quoted(written: &Written, line: &str) -> bool {
    [&written.whole, &written.without_who]
        .into_iter()
        .any(|written| matches(written, line))
}

/// Whether a text is that of a pattern in which `…` stands for anything.
fn matches(text: &str, pattern: &str) -> bool {
    let pattern = pattern.split('…').map(regex::escape).collect::<Vec<_>>();
    let pattern = format!("^{}$", pattern.join(".*"));
    Regex::new(&pattern).expect("a pattern").is_match(text)
}

/// A line that a chapter writes.
struct Written {
    whole: String,
    without_who: String,
}

/// What a chapter writes, from the snapshot that its own test holds.
fn transcript_of(folder: &str) -> Vec<Written> {
    static WHO: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"^  (?:\S [A-Z]|\S+)  +").expect("a pattern"));
    let stem = folder.replace('-', "_");
    let path =
        format!("tests/snapshots/{stem}__what_a_learner_reads_is_the_same_in_every_run.snap");
    let snapshot = Page::read(&root(), &path).text;
    let (_head, text) = snapshot
        .strip_prefix("---\n")
        .and_then(|snapshot| snapshot.split_once("\n---\n"))
        .unwrap_or_else(|| panic!("{path} is no snapshot"));
    let lines = unfold(text);
    let lines = lines.iter().map(|line| Written {
        whole: comparable(line),
        without_who: comparable(&WHO.replace(line, "")),
    });
    lines.collect()
}

/// A redacted line without what depends on how much is quoted: spaces, and the numbers
/// of sessions and processes.
fn comparable(line: &str) -> String {
    static NUMBERED: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\[(session|[A-Z]|worker) \d+\]").expect("a pattern"));
    let words: Vec<_> = line.split_whitespace().collect();
    NUMBERED.replace_all(&words.join(" "), "[$1]").into_owned()
}

#[test]
fn every_relative_link_leads_somewhere() {
    let mut wrong = Wrong::default();
    for page in pages() {
        for (place, target) in page.links() {
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains("://") {
                continue;
            }
            let from = root().join(&page.path);
            let leads = from.parent().is_some_and(|from| from.join(file).exists());
            wrong.unless(leads, || format!("{place}: there is no {target}"));
        }
    }
    wrong.expect_none();
}

/// In the pages, and in what the programs, the sources and the configs say.
#[test]
fn every_command_names_a_package_and_a_binary_that_exist() {
    static COMMAND: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"cargo (run|test)\b[^`\n]*? -p ([\w-]+)(?: --bin ([\w-]+))?")
            .expect("a pattern")
    });
    let mut said: Vec<(String, String)> = pages()
        .map(|page| (page.path, page.text))
        .chain(configs())
        .collect();
    for folder in [
        "chapters",
        "lab",
        "load",
        "embedded",
        "observatory",
        "pages",
    ] {
        said.extend(sources(&root().join(folder)));
    }
    let mut wrong = Wrong::default();
    let mut commands = 0;
    for (path, text) in said {
        for (number, line) in (1..).zip(text.lines()) {
            for command in COMMAND.captures_iter(line) {
                commands += 1;
                let runs = &command[1] == "run";
                let named = command.get(3).map(|named| named.as_str());
                wrong.unless(can_be_started(runs, &command[2], named), || {
                    format!("{path}:{number}: there is nothing for `{}`", &command[0])
                });
            }
        }
    }
    assert!(commands > 20, "only {commands} found: the search is broken");
    wrong.expect_none();
}

/// Whether cargo finds the package, and the binary: the one named, or the one it would take.
fn can_be_started(runs: bool, name: &str, binary: Option<&str>) -> bool {
    let Some(package) = package(name) else {
        return false;
    };
    let binaries: Vec<_> = package
        .targets
        .iter()
        .filter(|target| target.is_bin())
        .map(|target| target.name.as_str())
        .collect();
    match binary.or(package.default_run.as_deref()) {
        Some(binary) => binaries.contains(&binary),
        None => !runs || binaries.len() == 1,
    }
}

/// Variables that are others' to read.
const READ_ELSEWHERE: [(&str, &str); 3] = [
    ("NO_COLOR", "anstream"),
    ("INSTA_UPDATE", "insta"),
    ("NODE_ENV", "Node's packages"),
];

/// Variables that files of `deploy` read.
const CONTAINERS_OWN: &[(&str, &[&str])] = &[
    ("deploy/compose.yaml", &["HTTP_PORT"]),
    ("deploy/roll", &["COMPOSE"]),
    (
        "deploy/Dockerfile",
        &["CHAPTER", "RUST_IMAGE", "NODE_IMAGE", "RUNTIME_IMAGE"],
    ),
];

#[test]
fn every_environment_variable_is_one_that_the_code_reads() {
    let mut code: String = ["chapters", "lab", "embedded", "pages"]
        .iter()
        .flat_map(|folder| sources(&root().join(folder)))
        .map(|(_path, text)| text)
        .collect();
    for (path, variables) in CONTAINERS_OWN {
        let text = Page::read(&root(), path).text;
        for name in *variables {
            // As the code says it, for the search below.
            assert!(text.contains(name), "{path} does not read {name}");
            code.push_str(&format!("\"{name}\""));
        }
    }
    for harness in ["bench", "browser", "kubernetes"] {
        code.push_str(&Page::read(&root(), &format!("tests/harness/{harness}.rs")).text);
    }
    let mut wrong = Wrong::default();
    for page in readmes() {
        for name in variables(&page) {
            let is_read = code.contains(&format!("\"{name}\""))
                || READ_ELSEWHERE.iter().any(|(known, _by)| *known == name);
            wrong.unless(is_read, || format!("{}: nothing reads {name}", page.path));
        }
    }
    wrong.expect_none();
}

/// `NAME=value` in a page's code, and the names in the first column of its tables. What
/// the page's own commands read again, as `$NAME`, is the shell's.
fn variables(page: &Page) -> BTreeSet<&str> {
    static SET: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"(?:^|\s)([A-Z][A-Z0-9_]+)=").expect("a pattern"));
    static LISTED: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"`([A-Z][A-Z0-9_]+)`").expect("a pattern"));
    let code = page.code();
    let set = code
        .iter()
        .flat_map(|(_place, code)| SET.captures_iter(code));
    let first_cells = page
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    let listed = first_cells.flat_map(|cell| LISTED.captures_iter(cell));
    set.chain(listed)
        .filter_map(|name| name.get(1))
        .map(|name| name.as_str())
        .filter(|name| !page.text.contains(&format!("${name}")))
        .collect()
}

// ---- LEDGER.md: each claim of the article, what runs it and what proves it ----

#[test]
fn the_ledger_has_each_of_the_articles_claims_once() {
    let numbers: Vec<_> = ledger().into_iter().map(|row| row.number).collect();
    assert_eq!(numbers, (1..=25).collect::<Vec<_>>());
}

#[test]
fn a_claim_is_run_and_proven_or_said_to_be_not_yet() {
    let mut wrong = Wrong::default();
    for row in ledger() {
        let is_run = ["cargo run -p ", "cargo run --release -p "]
            .iter()
            .any(|command| row.text.contains(command));
        let is_there = is_run && !row.tests.is_empty();
        wrong.unless(is_there || row.text.contains("not yet"), || {
            format!(
                "claim {} has neither command and test nor \"not yet\"",
                row.number
            )
        });
    }
    wrong.expect_none();
}

#[test]
fn the_ledger_names_tests_that_exist() {
    let mut wrong = Wrong::default();
    for row in ledger() {
        for (file, name) in &row.tests {
            let text = fs::read_to_string(root().join(file)).unwrap_or_default();
            wrong.unless(has_test(&text, name), || {
                format!("claim {}: {file} has no test {name}", row.number)
            });
        }
    }
    wrong.expect_none();
}

/// A row of the ledger's table.
struct Row {
    number: u32,
    text: String,
    /// The tests that prove it: file, and name.
    tests: Vec<(String, String)>,
}

/// The rows: `| 4 | claim | command | [`file`](file): `test`, `test` |`.
fn ledger() -> Vec<Row> {
    static NUMBER: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"^\| (\d+) \| ").expect("a pattern"));
    static PROOF: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\[`([^`]+\.rs)`\]|`([a-z0-9_]+)`").expect("a pattern"));
    let page = Page::read(&root(), "LEDGER.md");
    let rows = page.text.lines().filter_map(|line| {
        let number = NUMBER.captures(line)?[1].parse().ok()?;
        let proofs = line.trim_end_matches([' ', '|']).rsplit(" | ").next()?;
        let mut file = String::new();
        let mut tests = Vec::new();
        for proof in PROOF.captures_iter(proofs) {
            match (proof.get(1), proof.get(2)) {
                (Some(named), _) => named.as_str().clone_into(&mut file),
                (_, Some(test)) => tests.push((file.clone(), test.as_str().to_owned())),
                _ => {}
            }
        }
        Some(Row {
            number,
            text: line.to_owned(),
            tests,
        })
    });
    rows.collect()
}

fn has_test(source: &str, name: &str) -> bool {
    let pattern = format!(
        r"#\[(tokio::)?test(\([^)]*\))?\]\s+(#\[[^\]]*\]\s+)*(async )?fn {}\(",
        regex::escape(name)
    );
    Regex::new(&pattern).expect("a pattern").is_match(source)
}

// ---- snapshots: each is held by a test ----

#[test]
fn every_snapshot_belongs_to_a_test() {
    let mut wrong = Wrong::default();
    for entry in fs::read_dir(root().join("tests/snapshots")).expect("there are snapshots") {
        let name = entry.expect("a file").file_name();
        let name = name.to_string_lossy();
        let owner = name
            .strip_suffix(".snap")
            .and_then(|name| name.split_once("__"));
        let is_owned = owner.is_some_and(|(file, test)| {
            let source = fs::read_to_string(root().join(format!("tests/{file}.rs")));
            source.is_ok_and(|source| has_test(&source, test))
        });
        wrong.unless(is_owned || name.ends_with(".snap.new"), || {
            format!("no test holds tests/snapshots/{name}")
        });
    }
    wrong.unless(wrong.0.is_empty(), || {
        "Delete what no test holds. What has changed on purpose is written anew with \
         INSTA_UPDATE=always cargo test --workspace, or with cargo insta review."
            .to_owned()
    });
    wrong.expect_none();
}

// ---- redaction: what it names, and what it leaves as it is ----

#[test]
fn a_process_keeps_its_name_whoever_is_said_to_have_answered() {
    let text = "  ● A         Server running on 25521 port, PID: 7\n  \
                  ▲ B         Server running on 25522 port, PID: 8\n  \
                  you         GET /  → ● A  200  Hi, PID: 8\n  \
                  ▲ B         Server running on 25522 port, PID: 9\n";
    assert_eq!(
        redact(text),
        "  ● A         Server running on 8000 port, PID: [A]\n  \
           ▲ B         Server running on 8001 port, PID: [B]\n  \
           you         GET /  → ● A  200  Hi, PID: [B]\n  \
           ▲ B         Server running on 8001 port, PID: [B 2]\n"
    );
}

#[test]
fn pings_are_left_out_however_they_fall() {
    let session = |rest: &[&str]| {
        let lines = ["POST /?sid=abcd…   40  → 200  ok"].iter().chain(rest);
        redact(
            &lines
                .map(|line| format!("  you         {line}\n"))
                .collect::<String>(),
        )
    };
    let quiet = session(&[
        "GET /?sid=abcd…  → 200  40{}",
        "frame → 2probe",
        "frame ← 3probe",
        "GET /?sid=abcd…  → 200  6",
        "frame → 5",
    ]);
    let pinged_at_once = session(&[
        "GET /?sid=abcd…  → 200  2 ␞ 40{}",
        "POST /?sid=abcd…   3  → 200  ok",
        "frame → 2probe",
        "GET /?sid=abcd…  → 200  6",
        "frame ← 3probe",
        "frame → 5",
        "frame ← 2",
        "frame → 3",
    ]);
    let pinged_later = session(&[
        "GET /?sid=abcd…  → 200  40{}",
        "GET /?sid=abcd…  → 200  2",
        "frame → 2probe",
        "POST /?sid=abcd…   3  → 200  ok",
        "frame ← 3probe",
        "GET /?sid=abcd…  → 200  6",
        "frame → 5",
    ]);
    assert_eq!(quiet, pinged_at_once);
    assert_eq!(quiet, pinged_later);
    assert!(
        quiet.contains("3probe") && quiet.contains("200  6"),
        "{quiet}"
    );
}

/// It is all that a server has to say to a client that has a session and no more.
#[test]
fn the_ping_that_answers_a_first_poll_is_kept() {
    let text = "  you         GET /?sid=abcd…  → ■ C  200  2\n";
    assert_eq!(redact(text), text.replace("abcd…", "[session 1]"));
}

// ---- the repository ----

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The folders of the chapters: `01-express-pid`, …
fn chapters() -> impl Iterator<Item = String> {
    names(&root().join("chapters")).into_iter()
}

/// The book's own README, those of the load generator and of `deploy`, each chapter's, and the
/// pages beside them.
fn readmes() -> impl Iterator<Item = Page> {
    let own = [
        "README.md",
        "load/README.md",
        "deploy/README.md",
        "chapters/04-ip-hash/WRONG-FIXES.md",
        "chapters/06-full-stack/CAPACITY.md",
    ]
    .map(|path| Page::read(&root(), path));
    let chapters =
        chapters().map(|folder| Page::read(&root(), &format!("chapters/{folder}/README.md")));
    own.into_iter().chain(chapters)
}

/// The READMEs and the ledger.
fn pages() -> impl Iterator<Item = Page> {
    readmes().chain(std::iter::once(Page::read(&root(), "LEDGER.md")))
}

/// nginx's configs: path and text.
fn configs() -> impl Iterator<Item = (String, String)> {
    names(&root().join("nginx"))
        .into_iter()
        .filter(|name| has_extension(name, "conf"))
        .map(|name| {
            let page = Page::read(&root(), &format!("nginx/{name}"));
            (page.path, page.text)
        })
}

/// All Rust files below a folder: path and text.
fn sources(folder: &Path) -> Vec<(String, String)> {
    let mut sources = Vec::new();
    for name in names(folder) {
        let path = folder.join(&name);
        if path.is_dir() {
            sources.extend(self::sources(&path));
        } else if has_extension(&name, "rs") {
            let text = fs::read_to_string(&path).expect("a source is text");
            sources.push((path.display().to_string(), text));
        }
    }
    sources
}

/// What is in a folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

fn has_extension(name: &str, extension: &str) -> bool {
    Path::new(name).extension() == Some(extension.as_ref())
}

static WORKSPACE: LazyLock<Metadata> = LazyLock::new(|| {
    MetadataCommand::new()
        .current_dir(root())
        .no_deps()
        .exec()
        .expect("cargo knows the workspace")
});

fn package(name: &str) -> Option<&'static cargo_metadata::Package> {
    WORKSPACE
        .packages
        .iter()
        .find(|package| package.name == name)
}

/// All that is wrong, said at once.
#[derive(Default)]
struct Wrong(Vec<String>);

impl Wrong {
    fn unless(&mut self, right: bool, what: impl FnOnce() -> String) {
        if !right {
            self.0.push(what());
        }
    }

    fn expect_none(self) {
        assert!(self.0.is_empty(), "\n{}", self.0.join("\n"));
    }
}
