//! `GLOSSARY.md` explains each word in one sentence, and READMEs link to it.

use std::sync::LazyLock;

use harness::markdown::{Page, anchor};
use regex::Regex;

use crate::repository::{Wrong, beyond, chapters, page};

/// Words that a web developer knows already, or that are also plain English. A README may use them
/// without a link.
const EVERYDAY: [&str; 4] = ["PID", "channel", "server", "session"];

#[test]
fn the_glossary_explains_each_word_in_one_sentence() {
    let glossary = page("GLOSSARY.md");
    let mut wrong = Wrong::default();
    let mut words = Vec::new();
    for entry in glossary.text.split("\n## ").skip(1) {
        let (word, text) = entry.split_once("\n\n").expect("a heading and a text");
        let text = text.trim();
        let is_sentence = text.ends_with('.') && !text.contains(". ") && !text.contains('\n');
        wrong.unless(is_sentence, || format!("{word}: not one sentence: {text}"));
        let length = text.split_whitespace().count();
        wrong.unless(length <= 25, || format!("{word}: {length} words"));
        words.push(word.to_lowercase());
    }
    assert!(words.len() > 30, "only {} words found", words.len());
    wrong.unless(words.is_sorted(), || "not in alphabetical order".to_owned());
    wrong.expect_none();
}

/// In each README, the first word that needs an explanation is a link to the glossary. If a README
/// links a word at all, it links its first use.
#[test]
fn the_first_use_of_a_word_links_to_the_glossary() {
    let glossary = page("GLOSSARY.md").headings();
    let words: Vec<_> = glossary
        .into_iter()
        .filter(|(level, _)| *level == 2)
        .map(|(_, word)| (pattern(&word), word))
        .collect();
    let mut wrong = Wrong::default();
    for readme in chapters().chain(beyond()).chain([page("README.md")]) {
        let prose = Prose::of(&readme);
        let mut first: Option<(&str, Use)> = None;
        for (pattern, word) in &words {
            let uses = prose.uses(pattern, word);
            let Some(&one) = uses.first() else {
                continue;
            };
            let is_linked_later = uses.iter().any(|one| one.is_linked);
            wrong.unless(one.is_linked || !is_linked_later, || {
                format!("{}: a later {word:?} is the link", readme.path)
            });
            let is_earlier = first.is_none_or(|(_, before)| one.at < before.at);
            if is_earlier && !EVERYDAY.contains(&word.as_str()) {
                first = Some((word, one));
            }
        }
        if let Some((word, one)) = first {
            wrong.unless(one.is_linked, || {
                format!("{}: the first {word:?} is no link", readme.path)
            });
        }
    }
    wrong.expect_none();
}

/// Finds a word, also in the plural, and not as a part of another word.
fn pattern(word: &str) -> Regex {
    let words = word.split(' ').map(regex::escape).collect::<Vec<_>>();
    let pattern = format!(r"(?i)(?:^|[^\w/.-]){}s?(?:[^\w/-]|$)", words.join(r"[\s-]"));
    Regex::new(&pattern).expect("a pattern")
}

/// A page without code, headings and HTML. `⟦n⟧` stands for the n-th link's target.
struct Prose {
    text: String,
    targets: Vec<String>,
}

/// A word in a page.
#[derive(Clone, Copy)]
struct Use {
    at: usize,
    is_linked: bool,
}

impl Prose {
    fn of(page: &Page) -> Self {
        static TARGET: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(r"\]\(([^)\s]+)\)").expect("a pattern"));
        static CODE: LazyLock<Regex> =
            LazyLock::new(|| Regex::new("`([^`]+)`(\\])?").expect("a pattern"));
        let lines = page.lines().into_iter().map(|(_, line)| line);
        let lines = lines.filter(|line| !line.starts_with('#') && !line.trim().starts_with('<'));
        let text = lines.collect::<Vec<_>>().join("\n");
        // Code counts only as the text of a link.
        let text = CODE.replace_all(&text, |code: &regex::Captures| match code.get(2) {
            Some(_) => format!("{}]", &code[1]),
            None => "`".to_owned(),
        });
        let targets = TARGET.captures_iter(&text);
        let targets = targets.map(|target| target[1].to_owned()).collect();
        let mut number = 0;
        let text = TARGET.replace_all(&text, |_: &regex::Captures| {
            number += 1;
            format!("]⟦{}⟧", number - 1)
        });
        Self {
            text: text.into_owned(),
            targets,
        }
    }

    /// The uses of a word, in order. A use without a link does not count in a table or in the text
    /// of another link.
    fn uses(&self, pattern: &Regex, word: &str) -> Vec<Use> {
        let uses = pattern.find_iter(&self.text).filter_map(|found| {
            let target = self.target(found.start() + 1);
            let is_linked = target
                .is_some_and(|target| target.ends_with(&format!("GLOSSARY.md#{}", anchor(word))));
            let line = self.text[..=found.start()]
                .rfind('\n')
                .map_or(0, |end| end + 1);
            let is_in_table = self.text[line..].starts_with('|');
            (is_linked || (target.is_none() && !is_in_table)).then_some(Use {
                at: found.start(),
                is_linked,
            })
        });
        uses.collect()
    }

    /// The target of the link whose text is at this place.
    fn target(&self, at: usize) -> Option<&str> {
        let rest = self.text.get(at..)?;
        let end = rest.find(['[', ']'])?;
        let number = rest[end..].strip_prefix("]⟦")?.split('⟧').next()?;
        let number: usize = number.parse().ok()?;
        self.targets.get(number).map(String::as_str)
    }
}
