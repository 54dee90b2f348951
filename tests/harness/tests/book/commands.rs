//! Commands and environment variables that a text names must exist.

use std::{collections::BTreeSet, sync::LazyLock};

use harness::markdown::Page;
use regex::Regex;

use crate::repository::{Wrong, configs, folder, package, packages, page, pages, sources};

/// The folders that contain Rust code.
const CODE: [&str; 4] = ["beyond", "chapters", "lab", "tests"];

static COMMAND: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"cargo (?<verb>run|test|bench)\b[^`\n]*? -p (?<package>[a-z][\w-]*)(?: --bin (?<binary>[\w-]+))?(?: -- (?<experiment>[a-z][\w-]*))?",
    )
    .expect("a pattern")
});

/// This program has subcommands instead of experiments.
const WITHOUT_EXPERIMENTS: &str = "load";

/// In READMEs, sources and configs.
#[test]
fn every_command_names_a_package_a_binary_and_an_experiment_that_exist() {
    let mut texts: Vec<(String, String)> = pages()
        .map(|page| (page.path, page.text))
        .chain(configs())
        .chain([(".ci/run".to_owned(), page(".ci/run").text)])
        .collect();
    texts.extend(CODE.into_iter().flat_map(sources));
    let mut wrong = Wrong::default();
    let mut commands = 0;
    for (path, text) in texts {
        for (number, line) in (1..).zip(text.lines()) {
            for command in COMMAND.captures_iter(line) {
                commands += 1;
                let place = format!("{path}:{number}: `{}`", &command[0]);
                let name = &command["package"];
                let binary = command.name("binary").map(|binary| binary.as_str());
                wrong.unless(can_be_started(&command["verb"], name, binary), || {
                    format!("{place}: there is no such package or binary")
                });
                if let Some(experiment) = command.name("experiment")
                    && &command["verb"] == "run"
                    && binary.is_none()
                    && name != WITHOUT_EXPERIMENTS
                {
                    wrong.unless(has_experiment(name, experiment.as_str()), || {
                        format!("{place}: there is no such experiment")
                    });
                }
            }
        }
    }
    assert!(commands > 20, "only {commands} found: the search is broken");
    wrong.expect_none();
}

/// Whether cargo finds the package and the binary: the named one, or the one that it would take.
fn can_be_started(verb: &str, name: &str, binary: Option<&str>) -> bool {
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
        None => verb != "run" || binaries.len() == 1,
    }
}

/// Whether the package's sources contain the name of the experiment as a text.
fn has_experiment(name: &str, experiment: &str) -> bool {
    let package = package(name).expect("the package exists");
    let quoted = format!("\"{experiment}\"");
    experiment == "list" || sources(&folder(package)).any(|(_path, text)| text.contains(&quoted))
}

#[test]
fn the_workflow_tests_every_package() {
    let workflow = page(".github/workflows/ci.yml").text;
    let words: BTreeSet<_> = workflow.split_whitespace().collect();
    let mut wrong = Wrong::default();
    for package in packages() {
        wrong.unless(words.contains(package.name.as_str()), || {
            format!("no job tests {}", package.name)
        });
    }
    wrong.expect_none();
}

/// Variables that other programs read.
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
        &["PACKAGE", "RUST_IMAGE", "NODE_IMAGE", "RUNTIME_IMAGE"],
    ),
];

#[test]
fn every_environment_variable_is_one_that_the_code_reads() {
    let mut code: String = CODE
        .into_iter()
        .flat_map(sources)
        .map(|(_path, text)| text)
        .collect();
    for (path, variables) in CONTAINERS_OWN {
        let text = page(path).text;
        for name in *variables {
            assert!(text.contains(name), "{path} does not read {name}");
            // As Rust code would name it, for the search below.
            code.push_str(&format!("\"{name}\""));
        }
    }
    let mut wrong = Wrong::default();
    for page in pages() {
        for name in variables(&page) {
            let is_read = code.contains(&format!("\"{name}\""))
                || READ_ELSEWHERE.iter().any(|(known, _by)| *known == name);
            wrong.unless(is_read, || format!("{}: nothing reads {name}", page.path));
        }
    }
    wrong.expect_none();
}

/// The variables that a page names: `NAME=value` in its code, and names in the first column of its
/// tables. A variable that the page's own commands read, as `$NAME`, belongs to the shell.
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
