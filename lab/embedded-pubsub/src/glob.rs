//! Redis's patterns, as in PSUBSCRIBE: `*`, `?`, `[abc]`, `[a-z]`, `[^a]`, and `\`
//! before a character that stands for itself.
//!
//! Source: <https://redis.io/docs/latest/commands/psubscribe/>, and for what that
//! page leaves open (a `[` without `]`, a `\` at the end) Redis's `stringmatchlen`.

/// Whether `pattern` matches the whole `name`.
///
/// It has no recursion and takes at most `pattern.len() * name.len()` steps, because
/// both texts come from the network. It is enough to remember the last `*`: the bytes
/// that an earlier `*` could match, the last one can match too.
pub(crate) fn matches(pattern: &[u8], name: &[u8]) -> bool {
    if name.is_empty() {
        // In Redis, even `*` does not match the empty name.
        return pattern.is_empty();
    }
    let (mut pattern, mut name) = (pattern, name);
    let mut last_star = None;
    while let [byte, rest_of_name @ ..] = name {
        if let [b'*', rest @ ..] = pattern {
            last_star = Some((rest, name));
            pattern = rest;
        } else if let Some(rest) = match_one(pattern, *byte) {
            pattern = rest;
            name = rest_of_name;
        } else if let Some((after_star, [_, taken_less @ ..])) = last_star {
            last_star = Some((after_star, taken_less));
            pattern = after_star;
            name = taken_less;
        } else {
            return false;
        }
    }
    pattern.iter().all(|&byte| byte == b'*')
}

/// The rest of the pattern, if its first element matches this byte.
fn match_one(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    let (fits, rest) = match pattern {
        [] => return None,
        [b'?', rest @ ..] => (true, rest),
        [b'[', b'^', set @ ..] => {
            let (found, rest) = find_in_set(set, byte);
            (!found, rest)
        }
        [b'[', set @ ..] => find_in_set(set, byte),
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => (*literal == byte, rest),
    };
    fits.then_some(rest)
}

/// Whether the set holds this byte, and the pattern after its `]`. Without a `]` the
/// set goes on to the pattern's end.
fn find_in_set(mut set: &[u8], byte: u8) -> (bool, &[u8]) {
    let mut found = false;
    loop {
        let (hit, rest) = match set {
            [] => return (found, set),
            [b'\\', literal, rest @ ..] => (*literal == byte, rest),
            [b']', rest @ ..] => return (found, rest),
            // As in Redis, `z-a` is `a-z`.
            [from, b'-', to, rest @ ..] => ((*from.min(to)..=*from.max(to)).contains(&byte), rest),
            [literal, rest @ ..] => (*literal == byte, rest),
        };
        found |= hit;
        set = rest;
    }
}

#[cfg(test)]
mod tests {
    use std::ops::RangeInclusive;

    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// Another algorithm for the same answer: it reads the pattern into elements and
    /// tries them with plain recursion.
    enum Element {
        Star,
        One {
            fits: bool,
            ranges: Vec<RangeInclusive<u8>>,
        },
    }

    fn elements(pattern: &[u8]) -> Vec<Element> {
        let mut bytes = pattern.iter().copied().peekable();
        let mut elements = Vec::new();
        while let Some(byte) = bytes.next() {
            elements.push(match byte {
                b'*' => Element::Star,
                b'?' => Element::One {
                    fits: true,
                    ranges: vec![0..=255],
                },
                b'[' => {
                    let fits = bytes.next_if_eq(&b'^').is_none();
                    let mut ranges = Vec::new();
                    while let Some(from) = bytes.next_if(|&b| b != b']') {
                        let mut ahead = bytes.clone();
                        let next = (ahead.next(), ahead.next());
                        ranges.push(match (from, next) {
                            (b'\\', (Some(literal), _)) => {
                                bytes.next();
                                literal..=literal
                            }
                            (_, (Some(b'-'), Some(to))) => {
                                bytes.nth(1);
                                from.min(to)..=from.max(to)
                            }
                            _ => from..=from,
                        });
                    }
                    bytes.next_if_eq(&b']');
                    Element::One { fits, ranges }
                }
                b'\\' => {
                    let literal = bytes.next().unwrap_or(b'\\');
                    Element::One {
                        fits: true,
                        ranges: vec![literal..=literal],
                    }
                }
                _ => Element::One {
                    fits: true,
                    ranges: vec![byte..=byte],
                },
            });
        }
        elements
    }

    fn fits(elements: &[Element], name: &[u8]) -> bool {
        match (elements, name) {
            ([], _) => name.is_empty(),
            ([Element::Star, rest @ ..], _) => {
                (0..=name.len()).any(|taken| fits(rest, &name[taken..]))
            }
            ([Element::One { .. }, ..], []) => false,
            (
                [
                    Element::One {
                        fits: wanted,
                        ranges,
                    },
                    rest @ ..,
                ],
                [byte, name @ ..],
            ) => ranges.iter().any(|range| range.contains(byte)) == *wanted && fits(rest, name),
        }
    }

    fn bytes_of(alphabet: &'static [u8], max: usize) -> impl Strategy<Value = Vec<u8>> {
        vec(prop::sample::select(alphabet), 0..max)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]
        #[test]
        fn it_agrees_with_a_plain_recursive_matcher(
            pattern in bytes_of(b"aabbc***??[]^-\\", 10),
            name in bytes_of(b"aaabbbc]-\\^*", 8),
        ) {
            prop_assume!(!name.is_empty());
            prop_assert_eq!(matches(&pattern, &name), fits(&elements(&pattern), &name));
        }

        #[test]
        fn no_bytes_make_it_panic(
            pattern in vec(any::<u8>(), 0..20),
            name in vec(any::<u8>(), 0..20),
        ) {
            matches(&pattern, &name);
        }
    }

    #[test]
    fn the_examples_of_the_redis_manual_hold() {
        for (pattern, fitting, other) in [
            ("h?llo", "hxllo", "hllo"),
            ("h*llo", "heeeello", "hell"),
            ("h[ae]llo", "hallo", "hillo"),
            ("h[^e]llo", "hallo", "hello"),
            ("h[a-b]llo", "hbllo", "hcllo"),
            (r"h\*llo", "h*llo", "hxllo"),
        ] {
            assert!(
                matches(pattern.as_bytes(), fitting.as_bytes()),
                "{pattern} {fitting}"
            );
            assert!(
                !matches(pattern.as_bytes(), other.as_bytes()),
                "{pattern} {other}"
            );
        }
    }

    #[test]
    fn the_empty_name_fits_the_empty_pattern_alone() {
        assert!(matches(b"", b""));
        assert!(!matches(b"*", b""));
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let pattern = b"a*".repeat(1000);
        let name = b"a".repeat(10_000);
        assert!(matches(&pattern, &name));
        assert!(!matches(&[&pattern[..], b"b"].concat(), &name));
    }
}
