//! Words of a line, as `iptables-restore` splits it.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr2;
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

/// Whether a word without quotes ends before it.
const fn ends_bare(byte: u8) -> bool {
    is_blank(byte) || byte == b'"'
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
    while let Some(&first) = bytes.get(at) {
        if is_blank(first) {
            at += 1;
            continue;
        }
        let start = at;
        if first == b'\''
            && let Some(text) = single_quoted(&line[start..])
        {
            at += text.len() + 2;
            push(words, Cow::Borrowed(text), offset, start..at);
            continue;
        }
        // A blank and the quote are below most others.
        at = find_marked(bytes, at, |eight| below(eight, b'"' + 1), ends_bare);
        let bare = &line[start..at];
        if bytes.get(at) != Some(&b'"') {
            push(words, Cow::Borrowed(bare), offset, start..at);
            continue;
        }
        let Some((text, length)) = double_quoted(&line[at + 1..]) else {
            return Err((offset + at, bytes.len() - at).into());
        };
        at += 1 + length;
        let text = if bare.is_empty() {
            text
        } else {
            Cow::Owned([bare, &text].concat())
        };
        push(words, text, offset, start..at);
    }
    Ok(())
}

fn push<'t>(words: &mut Vec<Word<'t>>, text: Cow<'t, str>, offset: usize, place: Range<usize>) {
    words.push(Word {
        text,
        start: offset + place.start,
        end: offset + place.end,
    });
}

/// Where the first byte at `from` or behind it stands that is `wanted`; the end if none is.
///
/// A word has some eight bytes: too few for a call, enough to look at eight at once. `mark` sets the
/// highest bit of those among them that may be wanted.
#[inline]
fn find_marked(
    bytes: &[u8],
    from: usize,
    mark: impl Fn(u64) -> u64,
    wanted: impl Fn(u8) -> bool,
) -> usize {
    let mut at = from;
    while let Some(eight) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let eight = u64::from_le_bytes(*eight);
        let mut marked = mark(eight);
        while marked != 0 {
            let place = marked.trailing_zeros() / 8;
            if wanted((eight >> (8 * place) & 0xff) as u8) {
                return at + place as usize;
            }
            marked &= marked - 1;
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    let found = rest.iter().position(|&byte| wanted(byte));
    at + found.unwrap_or(rest.len())
}

/// Marks the bytes below `bound`, which is at most 128, and maybe others above such a one.
const fn below(eight: u64, bound: u8) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    eight.wrapping_sub(ONES * bound as u64) & !eight & (ONES << 7)
}

/// Where `byte` stands first in `bytes`, at `from` or behind it; the end if nowhere.
#[inline]
pub(crate) fn find(bytes: &[u8], from: usize, byte: u8) -> usize {
    let zero_where_equal = u64::from_ne_bytes([byte; 8]);
    let mark = |eight| below(eight ^ zero_where_equal, 1);
    find_marked(bytes, from, mark, |own| own == byte)
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
    let end = memchr2(b'"', b'\\', body.as_bytes())?;
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
    fn words_of_every_length_end_where_they_end() {
        for blanks in ["  ", "\t", "\t \t"] {
            for length in 1..40 {
                let (word, other) = ("x!#\u{7f}\u{ac00}".repeat(length), "y".repeat(length));
                assert_eq!(texts(&format!("{word}{blanks}{other}")), [&*word, &other]);
                let line = format!("\"{word}{blanks}\"{blanks}{other}\"{word}\"");
                let quoted = format!("{word}{blanks}");
                assert_eq!(texts(&line), [quoted, format!("{other}{word}")]);
            }
        }
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
