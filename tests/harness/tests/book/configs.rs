//! nginx: each config is the one before plus the lesson of its chapter.

use insta::assert_snapshot;
use regex::Regex;
use similar::{ChangeTag, TextDiff};

use crate::repository::{Wrong, configs, files, has_extension, page, pages, sources};

#[test]
fn each_config_adds_to_the_one_before_what_its_lesson_is_about() {
    let steps = [
        ("02-round-robin", "02-backup"),
        ("02-round-robin", "beyond/02-max-fails-0"),
        ("beyond/02-max-fails-0", "beyond/02-keepalive"),
        ("beyond/02-keepalive", "beyond/02-non-idempotent"),
        ("02-round-robin", "03-websocket"),
        ("03-websocket", "04-ip-hash"),
        ("03-websocket", "04-least-conn"),
        ("03-websocket", "04-consistent-hash"),
        ("03-websocket", "04-cookie"),
        ("04-ip-hash", "beyond/04-wrong-arg-sid"),
        ("04-ip-hash", "beyond/04-wrong-no-upgrade"),
        ("04-ip-hash", "beyond/04-wrong-read-timeout"),
        ("04-ip-hash", "beyond/04-wrong-backup"),
        ("04-ip-hash", "beyond/04-wrong-realip"),
        ("04-ip-hash", "beyond/04-wrong-websocket-only"),
        ("04-least-conn", "beyond/04-wrong-workers"),
        ("beyond/04-wrong-workers", "beyond/04-workers-zone"),
        ("04-ip-hash", "06-full-stack"),
        ("06-full-stack", "beyond/06-max-fails-0"),
        ("06-full-stack", "beyond/06-shutdown-timeout"),
        ("06-full-stack", "beyond/06-many-sockets"),
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
fn the_first_line_of_each_config_starts_it_by_hand() {
    let mut wrong = Wrong::default();
    for (path, text) in configs() {
        let first = text.lines().next().unwrap_or_default();
        wrong.unless(
            first.starts_with(&format!("# nginx -p . -c {path} ")),
            || format!("{path} begins with {first:?}"),
        );
    }
    for path in files("nginx/haproxy") {
        let text = page(&path).text;
        let first = text.lines().next().unwrap_or_default();
        wrong.unless(first.starts_with(&format!("# haproxy -f {path} ")), || {
            format!("{path} begins with {first:?}")
        });
    }
    wrong.expect_none();
}

#[test]
fn every_use_of_connection_upgrade_comes_with_its_map() {
    const USE: &str = "$connection_upgrade;";
    const DEFINITION: &str = "map $http_upgrade $connection_upgrade {";
    let mut wrong = Wrong::default();
    for (path, text) in configs() {
        let is_complete = !text.contains(USE) || text.contains(DEFINITION);
        wrong.unless(is_complete, || format!("{path} uses {USE} without its map"));
    }
    for page in pages() {
        for block in page.all_blocks() {
            let is_complete = !block.text.contains(USE) || block.text.contains(DEFINITION);
            wrong.unless(is_complete, || {
                format!("{}: this block uses {USE} without its map", block.place)
            });
        }
    }
    wrong.expect_none();
}

/// A line `# …` in a README's block stands for lines that are left out.
#[test]
fn every_nginx_block_is_an_excerpt_of_a_config() {
    let trimmed = |text: &str| -> String {
        text.lines()
            .map(|line| format!("{}\n", line.trim()))
            .collect()
    };
    let configs: Vec<_> = configs()
        .map(|(_, text)| format!("\n{}", trimmed(&text)))
        .collect();
    let mut wrong = Wrong::default();
    for page in pages() {
        for block in page.blocks("nginx") {
            let excerpt = trimmed(&block.text);
            let found = configs.iter().any(|config| {
                let mut rest = config.as_str();
                excerpt.split("# …\n").all(|part| {
                    let part = format!("\n{}", part.trim_matches('\n'));
                    let found = rest.find(&part);
                    rest = &rest[found.unwrap_or_default()..];
                    found.is_some()
                })
            });
            wrong.unless(found, || {
                format!(
                    "{}: no config in nginx/ contains these lines in a row\n{}",
                    block.place, block.text
                )
            });
        }
    }
    wrong.expect_none();
}

#[test]
fn chapter_4s_server_is_chapter_3s() {
    let main = page("chapters/04-ip-hash/src/main.rs").text;
    for is_there in [
        r"use ch03_socket_polling::\{[^;]*\bserve\b[^;]*\};",
        r#"Lesson::new\(\s*"[^"]*",\s*serve,?\s*\)"#,
    ] {
        let pattern = Regex::new(is_there).expect("a pattern");
        assert!(pattern.is_match(&main), "{is_there}");
    }
    // Without axum and socketioxide, the chapter cannot contain a server of its own.
    for (path, text) in sources("chapters/04-ip-hash/src") {
        for library in ["axum", "socketioxide"] {
            assert!(!text.contains(library), "{path} uses {library}");
        }
    }
}

#[test]
fn only_configs_that_a_chapter_starts_are_directly_in_the_folder_nginx() {
    let chapters: String = sources("chapters").map(|(_path, text)| text).collect();
    let mut wrong = Wrong::default();
    for path in files("nginx") {
        let name = path.trim_start_matches("nginx/");
        if name.contains('/') || !has_extension(name, "conf") {
            continue;
        }
        wrong.unless(chapters.contains(&format!("\"{name}\"")), || {
            format!("no chapter starts {path}: it belongs in nginx/beyond/")
        });
    }
    wrong.expect_none();
}

/// The lines that only the second config has (`+`) and that only the first config has (`-`).
/// Comments and empty lines have no effect and are left out. So is the path from a subfolder to what
/// all configs include.
fn difference(from: &str, to: &str) -> Vec<String> {
    let [from, to] = [from, to].map(|name| {
        let config = page(&format!("nginx/{name}.conf"));
        let lines = config.text.lines().filter(|line| {
            let line = line.trim();
            !line.is_empty() && !line.starts_with('#')
        });
        lines
            .map(|line| line.replace("include ../", "include ") + "\n")
            .collect::<String>()
    });
    TextDiff::from_lines(&from, &to)
        .iter_all_changes()
        .filter(|change| change.tag() != ChangeTag::Equal)
        .map(|change| format!("{}{}", change.tag(), change.value().trim_end()))
        .collect()
}
