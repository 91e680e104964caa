//! Words of a line, as `iptables-restore` splits it.

use std::borrow::Cow;

use miette::SourceSpan;

/// One word and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Word<'t> {
    /// The word without its quotes.
    pub(crate) text: Cow<'t, str>,
    /// First byte in the whole text, quotes included.
    start: usize,
    /// Byte behind the last one.
    end: usize,
}

impl Word<'_> {
    /// Its place in the whole text.
    pub(crate) fn span(&self) -> SourceSpan {
        (self.start, self.end - self.start).into()
    }
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Splits `line`, which stands at byte `offset` of the whole text, into `words`.
///
/// A word ends at a blank or at the double quote that closes it; between double quotes a backslash
/// takes the next character as it is, elsewhere it is a character like others (`add_param_to_argv`,
/// libxtables/xtables.c). A word that begins with a single quote ends at the next one if a blank
/// follows there.
///
/// # Errors
/// The place of a double quote that does not close, up to the end of the line.
pub(crate) fn split<'t>(
    line: &'t str,
    offset: usize,
    words: &mut Vec<Word<'t>>,
) -> Result<(), SourceSpan> {
    words.clear();
    let bytes = line.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        if is_blank(bytes[at]) {
            at += 1;
            continue;
        }
        let text = if let Some(text) = single_quoted(&line[at..]) {
            at += text.len() + 2;
            Cow::Borrowed(text)
        } else {
            while at < bytes.len() && !is_blank(bytes[at]) && bytes[at] != b'"' {
                at += 1;
            }
            let bare = &line[start..at];
            if at == bytes.len() || is_blank(bytes[at]) {
                Cow::Borrowed(bare)
            } else {
                let Some((text, length)) = double_quoted(&line[at + 1..]) else {
                    return Err((offset + at, bytes.len() - at).into());
                };
                at += 1 + length;
                if bare.is_empty() {
                    text
                } else {
                    Cow::Owned([bare, &text].concat())
                }
            }
        };
        words.push(Word {
            text,
            start: offset + start,
            end: offset + at,
        });
    }
    Ok(())
}

/// The text between a single quote that `rest` begins with and the next one, if that ends a word.
fn single_quoted(rest: &str) -> Option<&str> {
    let body = rest.strip_prefix('\'')?;
    let end = body.find('\'')?;
    let behind = body.as_bytes().get(end + 1);
    behind
        .is_none_or(|&byte| is_blank(byte))
        .then(|| &body[..end])
}

/// The text up to the closing double quote, and how many bytes it took with that quote.
fn double_quoted(body: &str) -> Option<(Cow<'_, str>, usize)> {
    let end = body.find(['"', '\\'])?;
    if body.as_bytes()[end] == b'"' {
        return Some((Cow::Borrowed(&body[..end]), end + 1));
    }
    let mut text = String::with_capacity(body.len().min(2 * end + 32));
    let mut characters = body.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((Cow::Owned(text), at + 1)),
            '\\' => text.push(characters.next()?.1),
            _ => text.push(character),
        }
    }
    None
}

/// Appends a word so that [`split`] reads it back: quoted if it must be.
pub(crate) fn push_word(out: &mut String, word: &str) {
    let bare = !word.is_empty()
        && !word.starts_with('\'')
        && !word
            .bytes()
            .any(|byte| is_blank(byte) || matches!(byte, b'"' | b'\n' | b'\r'));
    if bare {
        out.push_str(word);
    } else {
        push_quoted(out, word, &['"', '\\']);
    }
}

/// Appends a word between double quotes, with a backslash before each of `escaped`.
pub(crate) fn push_quoted(out: &mut String, word: &str, escaped: &[char]) {
    out.push('"');
    for character in word.chars() {
        if escaped.contains(&character) {
            out.push('\\');
        }
        out.push(character);
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(line: &str) -> Vec<String> {
        let mut words = Vec::new();
        split(line, 0, &mut words).unwrap();
        words.into_iter().map(|w| w.text.into_owned()).collect()
    }

    #[test]
    fn blanks_and_closing_quotes_end_a_word() {
        assert_eq!(texts("-A  X\t-j Y "), ["-A", "X", "-j", "Y"]);
        assert_eq!(texts(r#"a "b c" d"#), ["a", "b c", "d"]);
        assert_eq!(texts(r#"a"b c"d"#), ["ab c", "d"]);
        assert_eq!(texts(r#"--comment """#), ["--comment", ""]);
    }

    #[test]
    fn a_backslash_escapes_between_double_quotes_only() {
        assert_eq!(texts(r#"a\b "it\'s \"x\" \\""#), ["a\\b", r#"it's "x" \"#]);
    }

    #[test]
    fn single_quotes_hold_a_word_together_where_they_begin_it() {
        assert_eq!(texts("'it is' x"), ["it is", "x"]);
        assert_eq!(texts("it's 'odd"), ["it's", "'odd"]);
    }

    #[test]
    fn words_know_their_place() {
        let mut words = Vec::new();
        split(r#"-A X "y z""#, 100, &mut words).unwrap();
        assert_eq!(words[2].span(), (105, 5).into());
    }

    #[test]
    fn a_quote_that_does_not_close_is_an_error() {
        for line in ["a \"b", "\"", "\"a\\", "\"a\\\""] {
            assert!(split(line, 0, &mut Vec::new()).is_err(), "{line}");
        }
    }

    #[test]
    fn pushed_words_are_read_back() {
        for word in ["", "a", "a b", "a\"b", "'a", "a\\b", "a\\ b", "'", "가 나"] {
            let mut line = String::new();
            push_word(&mut line, word);
            assert_eq!(texts(&line), [word], "{line}");
        }
    }
}
