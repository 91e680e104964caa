//! Regular expressions of locations, rewrites and server names.

use std::fmt;

use regex::bytes::{Captures, Regex, RegexBuilder};

/// A regular expression, as nginx gives it to PCRE.
///
/// # Departures
/// The `regex` crate takes time in proportion to the text, whatever the expression, and in return lacks
/// what needs going back: `(?=…)`, `(?!…)`, `(?<=…)`, `(?<!…)`, `\1`, `(?>…)`, `a++`, `(?R)`, conditions
/// and verbs. A pattern with them is a [`PatternError`]. Its first match and its captures are PCRE's.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: Box<str>,
    regex: Regex,
}

/// Why a text is not a [`Pattern`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no pattern here: {reason}")]
pub struct PatternError {
    /// The text.
    pub text: Box<str>,
    /// Why.
    pub reason: String,
}

/// The most memory that one pattern takes compiled, and its automaton takes while matching, in bytes.
const MOST: usize = 1 << 20;

impl Pattern {
    /// A pattern that does not tell capitals from small letters, as all of a controller's do.
    ///
    /// # Errors
    /// [`PatternError`].
    pub fn new(text: &str) -> Result<Self, PatternError> {
        let regex = RegexBuilder::new(&translated(text))
            .case_insensitive(true)
            .unicode(false)
            .size_limit(MOST)
            .dfa_size_limit(MOST)
            .build();
        let refused = |error: regex::Error| {
            let reason = error.to_string();
            // The last line says what is wrong; those before draw it.
            let last = reason.lines().last().unwrap_or_default();
            PatternError {
                text: text.into(),
                reason: last.trim_start_matches("error: ").to_owned(),
            }
        };
        Ok(Self {
            text: text.into(),
            regex: regex.map_err(refused)?,
        })
    }

    /// Whether it matches somewhere in a text.
    #[must_use]
    pub fn is_match(&self, text: &[u8]) -> bool {
        self.regex.is_match(text)
    }

    /// Its first match in a text.
    pub(super) fn captures<'t>(&self, text: &'t [u8]) -> Option<Captures<'t>> {
        self.regex.captures(text)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A pattern of PCRE in the words of the `regex` crate, where the two read the same text differently:
/// a brace that begins no repetition is a brace, `\Z` is an end, and in a class `[`, `&&`, `~~` and `--`
/// are letters.
fn translated(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut chars = text.char_indices().peekable();
    // Letters of the class that is open, the bracket and the caret not among them.
    let mut class: Option<usize> = None;
    while let Some((at, c)) = chars.next() {
        let rest = &text[at..];
        match (c, class) {
            ('\\', _) => {
                class = class.map(|letters| letters + 1);
                match chars.next() {
                    Some((_, 'Z')) if class.is_none() => out.push_str(r"(?:\n?\z)"),
                    // What is no letter or digit stands for itself; not all of it may be escaped here.
                    Some((_, next)) if !next.is_ascii() => out.push(next),
                    Some((_, next)) => out.extend(['\\', next]),
                    None => out.push('\\'),
                }
            }
            ('[', None) => {
                class = Some(0);
                out.push('[');
                if let Some((_, '^')) = chars.peek() {
                    chars.next();
                    out.push('^');
                }
            }
            (']', Some(0)) => {
                // It ends no class that has nothing in it.
                class = Some(1);
                out.push_str(r"\]");
            }
            (']', Some(_)) => {
                class = None;
                out.push(']');
            }
            ('[', Some(letters)) => {
                class = Some(letters + 1);
                let named = rest
                    .strip_prefix("[:")
                    .and_then(|rest| rest.split_once(":]"));
                match named {
                    Some((name, _))
                        if name.bytes().all(|b| b.is_ascii_lowercase() || b == b'^') =>
                    {
                        out.push_str("[:");
                        out.push_str(name);
                        out.push_str(":]");
                        let end = at + "[:".len() + name.len() + ":]".len();
                        while chars.peek().is_some_and(|&(next, _)| next < end) {
                            chars.next();
                        }
                    }
                    Some(_) | None => out.push_str(r"\["),
                }
            }
            ('&' | '~', Some(letters)) => {
                class = Some(letters + 1);
                out.extend(['\\', c]);
            }
            ('-', Some(letters)) if rest.starts_with("--") => {
                class = Some(letters + 1);
                out.push_str(r"\-");
            }
            ('{', None) if !is_repetition(rest) => out.push_str(r"\{"),
            (c, open) => {
                class = open.map(|letters| letters + 1);
                out.push(c);
            }
        }
    }
    out
}

/// Whether a text begins as `{2}`, `{2,}` or `{2,3}` does.
fn is_repetition(text: &str) -> bool {
    let Some((inner, _)) = text.strip_prefix('{').and_then(|rest| rest.split_once('}')) else {
        return false;
    };
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (from, to) = inner.split_once(',').unwrap_or((inner, ""));
    !from.is_empty() && is_number(from) && is_number(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Pattern::new(pattern).unwrap().is_match(text.as_bytes())
    }

    #[test]
    fn braces_and_classes_are_read_as_pcre_reads_them() {
        for (pattern, text, is_match) in [
            ("^/a{id}$", "/a{id}", true),
            ("^/a{2}$", "/aa", true),
            ("^/a{2,}$", "/aaaa", true),
            ("^/[]x]$", "/]", true),
            ("^/[^]x]$", "/]", false),
            ("^/[[a]$", "/[", true),
            ("^/[a&&b]$", "/&", true),
            ("^/[a--]$", "/-", true),
            ("^/[[:digit:]]+$", "/123", true),
            (r"^/\d+\.html$", "/12.HTML", true),
            (r"^/a\/b\Z", "/a/b", true),
            ("^/x(/|$)(.*)", "/x", true),
            ("^/x(/|$)(.*)", "/xy", false),
        ] {
            assert_eq!(matches(pattern, text), is_match, "{pattern} on {text}");
        }
    }

    #[test]
    fn what_cannot_be_matched_in_linear_time_is_refused() {
        for pattern in ["(?!api).*", r"(a)\1", "(", "(?>a)", "a{100000000}"] {
            assert!(Pattern::new(pattern).is_err(), "{pattern}");
        }
    }
}
