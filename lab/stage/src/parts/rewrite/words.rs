//! Reads a config of nginx word by word, as nginx does. Source: `ngx_conf_read_token` in
//! `ngx_conf_file.c`.

use std::ops::Range;

/// A directive with its arguments: all words up to `;` or `{`. A `}` is a directive without words.
pub(super) struct Directive<'a> {
    pub(super) words: Vec<Word<'a>>,
    pub(super) end: char,
}

/// A word, without its quotes.
#[derive(Clone)]
pub(super) struct Word<'a> {
    pub(super) text: &'a str,
    /// Where it stands in the config, with its quotes.
    pub(super) place: Range<usize>,
}

impl Directive<'_> {
    /// The first word.
    pub(super) fn name(&self) -> &str {
        self.words.first().map_or("", |word| word.text)
    }

    /// The words behind the first.
    pub(super) fn arguments(&self) -> &[Word<'_>] {
        self.words.get(1..).unwrap_or_default()
    }

    /// The name and the first argument, for a learner.
    pub(super) fn literal(&self) -> String {
        let words = self.words.iter().take(2).map(|word| word.text);
        words.collect::<Vec<_>>().join(" ")
    }
}

/// All directives of a config, in their order. Words that nothing ends are a directive too.
pub(super) fn directives(config: &str) -> Vec<Directive<'_>> {
    let (mut directives, mut words) = (Vec::new(), Vec::new());
    let mut at = 0;
    while let Some(c) = config[at..].chars().next() {
        match c {
            ';' | '{' | '}' => directives.push(Directive {
                words: std::mem::take(&mut words),
                end: c,
            }),
            // Between words, `#` begins a comment. In a word or in quotes, it does not.
            '#' => at += config[at..].find('\n').unwrap_or(config.len() - at),
            ' ' | '\t' | '\r' | '\n' => {}
            _ => {
                let word = word(config, at);
                at = word.place.end;
                words.push(word);
                continue;
            }
        }
        at += config[at..].chars().next().map_or(0, char::len_utf8);
    }
    directives.push(Directive { words, end: ';' });
    directives
}

/// The word that begins at `start`.
fn word(config: &str, start: usize) -> Word<'_> {
    let rest = &config[start..];
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''));
    let (mut is_escaped, mut is_variable) = (false, false);
    for (at, c) in rest.char_indices().skip(usize::from(quote.is_some())) {
        let ends = match quote {
            Some(quote) => c == quote,
            // `${` is a part of a word.
            None => matches!(c, ' ' | '\t' | '\r' | '\n' | ';') || (c == '{' && !is_variable),
        };
        if ends && !is_escaped {
            let quotes = usize::from(quote.is_some());
            return Word {
                text: &rest[quotes..at],
                place: start..start + at + quotes,
            };
        }
        is_variable = c == '$' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
    }
    Word {
        text: rest,
        place: start..config.len(),
    }
}
