//! Limits that make growth visible. If one is exceeded, leave a subject out: do not squeeze the code.
//!
//! `.ci/limits` prints the table.

use std::collections::BTreeMap;

use regex::Regex;

use crate::repository::{
    Wrong, beyond, chapters, files, folder, has_extension, packages, page, sources,
};

/// Lines of Rust in `src`, and words in the README, of each chapter in order.
const CHAPTERS: [(usize, usize); 6] = [
    (120, 250),
    (380, 600),
    (600, 800),
    (560, 700),
    (900, 650),
    (900, 900),
];

const WORDS_OF_THE_ROOT_README: usize = 900;
const WORDS_BEYOND: usize = 700;

const LINES_OF_A_FILE_IN_A_CHAPTER: usize = 250;
const LINES_OF_A_FILE_IN_LAB: usize = 400;

/// The files that are longer, each with its own limit: its length now. A file that becomes short enough
/// must be removed from here.
const LONG_FILES: [(&str, usize); 5] = [
    ("lab/embedded-nginx/tests/embedded_nginx.rs", 421),
    ("lab/embedded-pubsub/tests/it/same_as_redis.rs", 492),
    ("lab/load/tests/load.rs", 485),
    ("lab/observatory/page/observatory.css", 624),
    ("lab/observatory/page/scene.js", 500),
];

const METHODS_OF_A_TYPE: usize = 25;

#[test]
fn chapters_and_readmes_are_within_their_limits() {
    let mut wrong = Wrong::default();
    let mut check = |what: &str, measured: usize, limit: usize| {
        println!("{what:44} {measured:5} of {limit:5}");
        wrong.unless(measured <= limit, || {
            format!("{what}: {measured} of {limit}")
        });
    };
    for (chapter, (lines, words)) in chapters().zip(CHAPTERS) {
        let folder = chapter.path.trim_end_matches("/README.md");
        let rust = sources(&format!("{folder}/src")).map(|(_path, text)| text.lines().count());
        check(&format!("{folder}: lines of Rust"), rust.sum(), lines);
        check(&chapter.path, chapter.words(), words);
    }
    check(
        "README.md",
        page("README.md").words(),
        WORDS_OF_THE_ROOT_README,
    );
    for lesson in beyond() {
        check(&lesson.path, lesson.words(), WORDS_BEYOND);
    }
    wrong.expect_none();
}

#[test]
fn no_file_is_too_long() {
    let long: BTreeMap<_, _> = LONG_FILES.into_iter().collect();
    let mut wrong = Wrong::default();
    for (folder, limit) in [
        ("chapters", LINES_OF_A_FILE_IN_A_CHAPTER),
        ("lab", LINES_OF_A_FILE_IN_LAB),
    ] {
        for path in files(folder) {
            let is_code = ["rs", "js", "css", "html"]
                .iter()
                .any(|code| has_extension(&path, code));
            if !is_code {
                continue;
            }
            let lines = page(&path).text.lines().count();
            let own = long.get(path.as_str());
            wrong.unless(lines <= *own.unwrap_or(&limit), || {
                format!(
                    "{path}: {lines} lines, the limit is {}",
                    own.unwrap_or(&limit)
                )
            });
            wrong.unless(own.is_none() || lines > limit, || {
                format!("{path} is within the limit again: remove it from LONG_FILES")
            });
        }
    }
    for path in long.keys() {
        wrong.unless(files("").iter().any(|file| file == path), || {
            format!("there is no {path}: remove it from LONG_FILES")
        });
    }
    wrong.expect_none();
}

#[test]
fn no_public_type_has_too_many_methods() {
    let block = Regex::new(r"^impl(?:<[^>]*>)? (\w+)(?:<.*>)? \{$").expect("a pattern");
    let method = Regex::new(r"^    pub (?:const )?(?:async )?fn ").expect("a pattern");
    let mut wrong = Wrong::default();
    for package in packages() {
        if folder(package).starts_with("tests/") {
            continue;
        }
        let mut methods = BTreeMap::<String, usize>::new();
        for (_path, text) in sources(&format!("{}/src", folder(package))) {
            let mut of = None;
            for line in text.lines() {
                if let Some(begins) = block.captures(line) {
                    of = Some(begins[1].to_owned());
                } else if line == "}" {
                    of = None;
                } else if let Some(of) = of.as_ref().filter(|_| method.is_match(line)) {
                    *methods.entry(of.clone()).or_default() += 1;
                }
            }
        }
        for (of, count) in methods {
            wrong.unless(count <= METHODS_OF_A_TYPE, || {
                format!("{}: {of} has {count} public methods", package.name)
            });
        }
    }
    wrong.expect_none();
}

/// `load` starts the servers of lessons as programs of other packages, and measures them. It does
/// not import them.
const MAY_NAME_LESSONS: &str = "lab/load/";

#[test]
fn nothing_in_lab_names_a_lesson() {
    let mut wrong = Wrong::default();
    let lessons: Vec<_> = packages()
        .iter()
        .filter(|package| {
            !folder(package).starts_with("lab/") && !folder(package).starts_with("tests/")
        })
        .map(|package| package.name.as_str())
        .collect();
    for package in packages() {
        if !folder(package).starts_with("lab/") {
            continue;
        }
        for needed in &package.dependencies {
            wrong.unless(!lessons.contains(&needed.name.as_str()), || {
                format!("{} depends on {}", package.name, needed.name)
            });
        }
    }
    let chapter = Regex::new(r"\bch0\d[-_]").expect("a pattern");
    for path in files("lab") {
        let is_read = ["rs", "toml", "js", "md"]
            .iter()
            .any(|read| has_extension(&path, read));
        if is_read && !path.starts_with(MAY_NAME_LESSONS) {
            let text = page(&path).text;
            wrong.unless(!chapter.is_match(&text), || {
                format!("{path} names a chapter")
            });
        }
    }
    wrong.expect_none();
}
