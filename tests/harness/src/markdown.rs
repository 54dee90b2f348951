//! The parts of Markdown that are needed to compare a page with the repository.

use std::{fs, path::Path, sync::LazyLock};

use regex::Regex;

/// A page of Markdown, or another text.
pub struct Page {
    /// Its path from the repository's root.
    pub path: String,
    pub text: String,
}

/// A fenced block.
pub struct Block<'a> {
    pub language: &'a str,
    /// Where it begins: `README.md:55`.
    pub place: String,
    pub text: String,
}

impl Page {
    pub fn read(root: &Path, path: &str) -> Self {
        let text = fs::read_to_string(root.join(path))
            .unwrap_or_else(|error| panic!("{path} cannot be read: {error}"));
        Self {
            path: path.to_owned(),
            text,
        }
    }

    /// How many words `wc -w` counts.
    pub fn words(&self) -> usize {
        self.text.split_whitespace().count()
    }

    /// The blocks of one language, which is the word after the three backticks.
    pub fn blocks(&self, language: &str) -> Vec<Block<'_>> {
        let mut blocks = self.all_blocks();
        blocks.retain(|block| block.language == language);
        blocks
    }

    pub fn all_blocks(&self) -> Vec<Block<'_>> {
        let mut blocks: Vec<Block> = Vec::new();
        let mut inside = false;
        for (number, line) in (1..).zip(self.text.lines()) {
            if let Some(language) = line.trim_start().strip_prefix("```") {
                inside = !inside;
                if inside {
                    blocks.push(Block {
                        language,
                        place: format!("{}:{number}", self.path),
                        text: String::new(),
                    });
                }
            } else if inside && let Some(block) = blocks.last_mut() {
                block.text.push_str(&format!("{line}\n"));
            }
        }
        blocks
    }

    /// The lines outside fenced blocks, with their numbers.
    pub fn lines(&self) -> Vec<(usize, &str)> {
        let mut inside = false;
        let lines = (1..).zip(self.text.lines()).filter(|(_, line)| {
            let is_fence = line.trim_start().starts_with("```");
            inside ^= is_fence;
            !inside && !is_fence
        });
        lines.collect()
    }

    /// The code, line by line: in blocks, and between backticks in the text. Each with its place.
    pub fn code(&self) -> Vec<(String, &str)> {
        static SPAN: LazyLock<Regex> =
            LazyLock::new(|| Regex::new("`([^`]+)`").expect("a pattern"));
        let mut code = Vec::new();
        let mut inside = false;
        for (number, line) in (1..).zip(self.text.lines()) {
            let place = format!("{}:{number}", self.path);
            if line.trim_start().starts_with("```") {
                inside = !inside;
            } else if inside {
                code.push((place, line));
            } else {
                for span in SPAN.captures_iter(line) {
                    let span = span.get(1).map_or("", |span| span.as_str());
                    code.push((place.clone(), span));
                }
            }
        }
        code
    }

    /// The targets of its links, each with its place.
    pub fn links(&self) -> Vec<(String, &str)> {
        static LINK: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(r#"(?:\]\(|src(?:set)?=")([^)"\s]+)"#).expect("a pattern"));
        let mut links = Vec::new();
        for (number, line) in self.lines() {
            for link in LINK.captures_iter(line) {
                let target = link.get(1).map_or("", |target| target.as_str());
                links.push((format!("{}:{number}", self.path), target));
            }
        }
        links
    }

    /// The headings: the level and the text of each.
    pub fn headings(&self) -> Vec<(usize, String)> {
        let headings = self.lines().into_iter().filter_map(|(_, line)| {
            let text = line.trim_start_matches('#');
            let level = line.len() - text.len();
            Some((level, text.strip_prefix(' ')?.trim().to_owned()))
        });
        headings.filter(|(level, _)| *level > 0).collect()
    }

    /// The names by which links find its headings.
    pub fn anchors(&self) -> Vec<String> {
        let headings = self.headings();
        headings
            .iter()
            .map(|(_, heading)| anchor(heading))
            .collect()
    }

    /// The list items of a section, or the whole section if it has no list. Each with its place.
    pub fn items(&self, section: &str) -> Vec<(String, String)> {
        static ITEM: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(r"^(?:-|\d+\.) ").expect("a pattern"));
        let heading = format!("## {section}");
        let lines = self.lines();
        let section = lines
            .iter()
            .skip_while(|(_, line)| *line != heading)
            .skip(1)
            .take_while(|(_, line)| !line.starts_with("## "));
        let mut items: Vec<(String, String)> = Vec::new();
        let mut before = None;
        for (number, line) in section {
            if ITEM.is_match(line) || (items.is_empty() && before.is_none()) {
                let place = format!("{}:{number}", self.path);
                if ITEM.is_match(line) {
                    items.push((place, String::new()));
                } else {
                    before = Some((place, String::new()));
                }
            }
            if let Some((_, text)) = items.last_mut().or(before.as_mut()) {
                text.push_str(&format!("{line}\n"));
            }
        }
        if items.is_empty() {
            items.extend(before);
        }
        items
    }
}

/// The name by which GitHub's links find a heading: `fail_timeout` for `` `fail_timeout` ``, `eio4`
/// for `EIO=4`.
pub fn anchor(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|one| one.is_alphanumeric() || matches!(one, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}
