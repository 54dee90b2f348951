//! READMEs: their sections, links and figures.

use std::sync::LazyLock;

use regex::Regex;

use crate::repository::{Wrong, beyond, chapters, folders, page, pages, root};

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_exist() {
    let mut wrong = Wrong::default();
    for from in pages() {
        for (place, target) in from.links() {
            if target.contains("://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let folder = from.path.rsplit_once('/').map_or("", |(folder, _)| folder);
            let path = root().join(folder).join(file);
            wrong.unless(path.exists(), || format!("{place}: there is no {target}"));
            if anchor.is_empty() || !path.exists() {
                continue;
            }
            let to = match file {
                "" => page(&from.path),
                _ => page(&path.display().to_string()),
            };
            wrong.unless(to.anchors().iter().any(|known| known == anchor), || {
                format!("{place}: {target} has no such heading")
            });
        }
    }
    wrong.expect_none();
}

#[test]
fn every_lesson_has_a_readme() {
    let mut wrong = Wrong::default();
    for group in ["chapters", "beyond"] {
        for lesson in folders(group) {
            let readme = format!("{group}/{lesson}/README.md");
            wrong.unless(root().join(&readme).exists(), || {
                format!("there is no {readme}")
            });
        }
    }
    wrong.expect_none();
}

#[test]
fn every_lesson_beyond_the_chapters_has_the_same_sections() {
    const SECTIONS: [&str; 4] = ["Run", "Observe", "Why", "Break it"];
    let mut wrong = Wrong::default();
    for page in beyond() {
        let headings = page.headings();
        let mut rest = headings.iter();
        for section in SECTIONS {
            wrong.unless(rest.any(|(_, heading)| heading == section), || {
                format!(
                    "{}: no section {section:?}, or not in this order",
                    page.path
                )
            });
        }
    }
    wrong.expect_none();
}

#[test]
fn the_table_of_lessons_beyond_the_chapters_is_complete() {
    let table = page("beyond/README.md").text;
    let mut wrong = Wrong::default();
    for lesson in folders("beyond") {
        let row = format!("]({lesson}) |");
        let command = format!("| `cargo run -p {lesson}` |");
        let is_listed = table
            .lines()
            .any(|line| line.contains(&row) && line.contains(&command));
        wrong.unless(is_listed, || {
            format!("beyond/README.md: no row for {lesson}")
        });
    }
    wrong.expect_none();
}

/// The first number of minutes in a chapter's README is the one in the root README's table.
#[test]
fn a_chapter_takes_as_long_as_the_root_readme_says() {
    static MINUTES: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"(\d+) minutes").expect("a pattern"));
    let table = page("README.md").text;
    let mut wrong = Wrong::default();
    for (number, chapter) in (1..).zip(chapters()) {
        let folder = chapter.path.trim_end_matches("/README.md");
        let minutes = MINUTES.captures(&chapter.text);
        let minutes = minutes.as_ref().map_or("", |minutes| &minutes[1]);
        let row = format!("| [{number}]({folder}) | {minutes} |");
        wrong.unless(table.contains(&row), || {
            format!(
                "{} says {minutes:?} minutes, README.md does not",
                chapter.path
            )
        });
    }
    wrong.expect_none();
}

#[test]
fn every_task_to_break_something_has_its_answer_folded_below_it() {
    let mut wrong = Wrong::default();
    for page in chapters().chain(beyond()) {
        for (place, item) in page.items("Break it") {
            let has_answer = item.contains("<summary>Answer</summary>");
            wrong.unless(has_answer, || format!("{place}: no folded answer"));
        }
    }
    wrong.expect_none();
}
