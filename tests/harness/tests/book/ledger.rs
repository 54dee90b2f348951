//! `LEDGER.md` and the snapshots: what they name exists.

use std::{fs, sync::LazyLock};

use regex::Regex;

use crate::repository::{Wrong, files, has_extension, page, root, sources};

#[test]
fn the_ledger_has_each_of_the_articles_claims_once() {
    let numbers: Vec<_> = ledger().into_iter().map(|row| row.number).collect();
    assert_eq!(numbers, (1..=25).collect::<Vec<_>>());
}

#[test]
fn each_claim_has_a_command_and_a_test() {
    const COMMANDS: [&str; 3] = [
        "cargo run -p ",
        "cargo run --release -p ",
        "docker compose -f deploy/compose.yaml ",
    ];
    let mut wrong = Wrong::default();
    for row in ledger() {
        let has_command = COMMANDS.iter().any(|command| row.text.contains(command));
        wrong.unless(has_command, || format!("claim {}: no command", row.number));
        wrong.unless(!row.tests.is_empty(), || {
            format!("claim {}: no test", row.number)
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
    /// The tests that check it: file and name.
    tests: Vec<(String, String)>,
}

/// The rows: `| 4 | claim | command | [`file`](file): `test`, `test` |`.
fn ledger() -> Vec<Row> {
    static NUMBER: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"^\| (\d+) \| ").expect("a pattern"));
    static PROOF: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\[`([^`]+\.rs)`\]|`([a-z0-9_]+)`").expect("a pattern"));
    let page = page("LEDGER.md");
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

/// A snapshot `program__module__test.snap` belongs to a test next to its folder.
#[test]
fn every_snapshot_belongs_to_a_test() {
    let mut wrong = Wrong::default();
    let mut snapshots = 0;
    for path in files("") {
        let Some((folder, name)) = path.rsplit_once("/snapshots/") else {
            continue;
        };
        if !has_extension(name, "snap") {
            continue;
        }
        snapshots += 1;
        let test = name.trim_end_matches(".snap").rsplit("__").next();
        let test = test.unwrap_or_default();
        // The second snapshot of one test ends with `-2`.
        let test = test.split('-').next().unwrap_or_default();
        let is_owned = sources(folder).any(|(_path, text)| {
            // Quick, where the name does not occur at all.
            text.contains(test) && has_test(&text, test)
        });
        wrong.unless(is_owned, || format!("no test uses {path}: delete it"));
    }
    assert!(
        snapshots > 5,
        "only {snapshots} found: the search is broken"
    );
    wrong.expect_none();
}

fn has_test(source: &str, name: &str) -> bool {
    let pattern = format!(
        r"#\[(tokio::)?test(\([^)]*\))?\]\s+(#\[[^\]]*\]\s+)*(async )?fn {}\(",
        regex::escape(name)
    );
    Regex::new(&pattern).expect("a pattern").is_match(source)
}
