//! What is needed of Markdown to hold a page against the repository.

use std::{fs, path::Path, sync::LazyLock};

use regex::Regex;

/// A page of the book.
pub(crate) struct Page {
    /// Its path from the repository's root.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// A fenced block.
pub(crate) struct Block<'a> {
    pub(crate) language: &'a str,
    /// Where it stands: `README.md:55`.
    pub(crate) place: String,
    pub(crate) text: String,
}

impl Page {
    pub(crate) fn read(root: &Path, path: &str) -> Self {
        let text = fs::read_to_string(root.join(path))
            .unwrap_or_else(|error| panic!("{path} cannot be read: {error}"));
        Self {
            path: path.to_owned(),
            text,
        }
    }

    /// The blocks of one language: of three backticks, that word, and what follows.
    pub(crate) fn blocks(&self, language: &str) -> Vec<Block<'_>> {
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
        blocks.retain(|block| block.language == language);
        blocks
    }

    /// All code, line by line: of blocks, and between backticks in the text. Each with
    /// its place.
    pub(crate) fn code(&self) -> Vec<(String, &str)> {
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
    pub(crate) fn links(&self) -> Vec<(String, &str)> {
        static LINK: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(r#"(?:\]\(|src(?:set)?=")([^)"\s]+)"#).expect("a pattern"));
        let mut links = Vec::new();
        for (number, line) in (1..).zip(self.text.lines()) {
            for link in LINK.captures_iter(line) {
                let target = link.get(1).map_or("", |target| target.as_str());
                links.push((format!("{}:{number}", self.path), target));
            }
        }
        links
    }
}
