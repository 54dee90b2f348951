//! The program that shows the wrong fixes, and the page about them.

use std::path::{Path, PathBuf};

use harness::{
    binary::{command, every_claim_holds, is_refused, run},
    markdown::Page,
};

use crate::LESSON;

const README: &str = "beyond/wrong-fixes/README.md";

#[test]
fn every_claim_holds_of_each_wrong_fix() {
    every_claim_holds(LESSON);
}

#[test]
fn one_wrong_fix_can_be_run_alone_and_prints_each_result_once() {
    let alone = run(command(LESSON).args(["arg-sid", "--check", "--ports", "auto"]));
    assert_eq!(alone.code, Some(0), "{alone:?}");
    assert!(alone.stdout.contains("3 of 3 claims held"), "{alone:?}");
    for claim in ["Session ID unknown\n", "by luck", "right config: "] {
        assert_eq!(alone.stdout.matches(claim).count(), 1, "{claim}: {alone:?}");
    }
}

#[test]
fn each_wrong_fix_is_listed_and_has_its_command_on_the_page() {
    let outcome = run(command(LESSON).arg("list"));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let page = Page::read(&root(), README).text;
    let listed = outcome.stdout.lines().filter_map(|line| {
        let (name, about) = line.trim().split_once("  ")?;
        Some((name, about.trim()))
    });
    let listed: Vec<_> = listed.collect();
    assert!(listed.len() > 5, "{outcome:?}");
    for (name, about) in listed {
        assert!(about.len() > 10, "{name}: {about}");
        let command = format!("cargo run -p wrong-fixes -- {name}`");
        assert!(page.contains(&command), "{command}");
    }
}

#[test]
fn each_wrong_config_says_what_is_wrong_and_is_named_on_the_page() {
    let page = Page::read(&root(), README).text;
    let mut wrong = 0;
    for entry in std::fs::read_dir(root().join("nginx/beyond")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.starts_with("04-wrong-") {
            wrong += 1;
            let config = Page::read(&root(), &format!("nginx/beyond/{name}")).text;
            assert!(config.contains("\n# Wrong"), "{name}");
            let link = format!("(../../nginx/beyond/{name})");
            assert!(page.contains(&link), "{name}");
        }
    }
    assert!(wrong > 5, "{wrong}");
}

#[test]
fn an_unknown_wrong_fix_is_named_with_those_that_there_are() {
    is_refused(
        command(LESSON).arg("sticky-tape"),
        2,
        &["sticky-tape", "arg-sid", "websocket-only"],
    );
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
