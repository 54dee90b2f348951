//! What a README quotes from a lesson is what the lesson prints.

use std::{fs, sync::LazyLock};

use harness::{
    markdown::Page,
    redact::{redact, unfold},
};
use regex::Regex;

use crate::repository::{Wrong, beyond, chapters, files, page, root};

/// Blocks that no lesson prints, by their first line.
const DRAWINGS: [(&str, &str); 1] = [("chapters/06-full-stack/README.md", "  Alice ──┐")];

/// The test in which a lesson's whole output is compared with a snapshot.
const TEST: &str = "what_a_learner_reads_is_the_same_in_every_run";

/// How a README may quote what a lesson prints:
///
/// - the quoted lines are in the order in which the lesson prints them; lines between them may be
///   left out;
/// - `…` in a line stands for anything; `…` alone stands for lines that are left out;
/// - spaces, PIDs and so on do not count, because both sides are redacted first;
/// - the first column, which names the speaker, may be missing.
#[test]
fn every_transcript_in_a_readme_is_what_the_lesson_prints() {
    let lessons: Vec<_> = chapters().chain(beyond()).filter_map(Lesson::of).collect();
    assert!(lessons.len() >= 6, "only {} found", lessons.len());
    let mut wrong = Wrong::default();
    for page in chapters().chain(beyond()).chain([page("README.md")]) {
        for block in page.blocks("text") {
            let is_drawing =
                |(path, start): (&str, &str)| path == page.path && block.text.starts_with(start);
            if DRAWINGS.into_iter().any(is_drawing) {
                continue;
            }
            // A lesson's README quotes that lesson. The root README quotes the lesson whose title
            // the block begins with.
            let title = block.text.lines().next().unwrap_or_default();
            let quoted = lessons.iter().find(|lesson| {
                lesson.readme == page.path
                    || lesson.lines.first().is_some_and(|line| line.whole == title)
            });
            let Some(quoted) = quoted else {
                wrong.unless(page.path.starts_with("beyond/"), || {
                    format!("{}: this is no lesson's title: {title}", block.place)
                });
                continue;
            };
            let mut rest = quoted.lines.iter();
            let missing = unfold(&redact(&block.text))
                .iter()
                .map(|line| comparable(line))
                .filter(|line| !line.is_empty() && line != "…")
                .find(|line| !rest.any(|written| is_quoted(written, line)));
            wrong.unless(missing.is_none(), || {
                format!(
                    "{}: the lesson does not print this line, or not after the lines before it: {}",
                    block.place,
                    missing.unwrap_or_default()
                )
            });
        }
    }
    for (path, start) in DRAWINGS {
        let page = page(path);
        let drawn = page
            .blocks("text")
            .iter()
            .any(|block| block.text.starts_with(start));
        wrong.unless(drawn, || format!("{path} has no drawing {start:?}"));
    }
    wrong.expect_none();
}

/// A lesson, and what it prints.
struct Lesson {
    readme: String,
    lines: Vec<Written>,
}

/// A line that a lesson prints.
struct Written {
    whole: String,
    without_speaker: String,
}

impl Lesson {
    /// Reads the snapshot of the lesson's own test. A lesson whose output differs from run to run
    /// has none.
    fn of(readme: Page) -> Option<Self> {
        let mut parts = readme.path.split('/');
        let (folder, prefix) = match (parts.next()?, parts.next()?) {
            ("chapters", name) => ("tests/snapshots".to_owned(), name.replace('-', "_")),
            (group, name) => (format!("{group}/{name}/tests/it"), String::new()),
        };
        let path = files(&folder).into_iter().find(|path| {
            let name = path.rsplit('/').next().unwrap_or_default();
            name.starts_with(&prefix) && name.ends_with(&format!("__{TEST}.snap"))
        })?;
        let snapshot = fs::read_to_string(root().join(&path)).expect("a snapshot is text");
        let (_head, text) = snapshot
            .strip_prefix("---\n")
            .and_then(|snapshot| snapshot.split_once("\n---\n"))
            .unwrap_or_else(|| panic!("{path} is no snapshot"));
        let lines = unfold(text).iter().map(|line| Written::new(line)).collect();
        Some(Self {
            readme: readme.path,
            lines,
        })
    }
}

impl Written {
    fn new(line: &str) -> Self {
        static SPEAKER: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(r"^  (?:\S [A-Z]|\S+)  +").expect("a pattern"));
        Self {
            whole: comparable(line),
            without_speaker: comparable(&SPEAKER.replace(line, "")),
        }
    }
}

/// Whether a README's line is this one, with or without the speaker.
fn is_quoted(written: &Written, line: &str) -> bool {
    [&written.whole, &written.without_speaker]
        .into_iter()
        .any(|written| matches(written, line))
}

/// Whether a text matches a pattern in which `…` stands for anything.
fn matches(text: &str, pattern: &str) -> bool {
    if !pattern.contains('…') {
        return text == pattern;
    }
    let pattern = pattern.split('…').map(regex::escape).collect::<Vec<_>>();
    let pattern = format!("^{}$", pattern.join(".*"));
    Regex::new(&pattern).expect("a pattern").is_match(text)
}

/// A redacted line without what depends on how much is quoted: spaces, and the numbers of sessions
/// and processes.
fn comparable(line: &str) -> String {
    static NUMBERED: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\[(session|[A-Z]|worker) \d+\]").expect("a pattern"));
    let words: Vec<_> = line.split_whitespace().collect();
    NUMBERED.replace_all(&words.join(" "), "[$1]").into_owned()
}
