//! Lines that are alike but for a word.

/// The text around a word, to be written again around others.
///
/// The text of a large cluster is mostly rules of endpoints. The first of a kind is printed as every rule
/// is, and cut where its own word stands; the others are put together from the pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stencil {
    pub(super) before: Box<str>,
    pub(super) after: Box<str>,
}

impl Stencil {
    /// Cuts a text at the last place where it has the word; `None` if it has none.
    pub(super) fn cut(text: &str, word: &str) -> Option<Self> {
        let at = text.rfind(word)?;
        Some(Self {
            before: text[..at].into(),
            after: text[at + word.len()..].into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_the_last_place_that_has_the_word() {
        let cut = |text, word| Stencil::cut(text, word).map(|cut| (cut.before, cut.after));
        let pieces = |before: &str, after: &str| Some((before.into(), after.into()));
        assert_eq!(cut("a b a c", "a"), pieces("a b ", " c"));
        assert_eq!(cut("to 10.0.0.1:80", "10.0.0.1:80"), pieces("to ", ""));
        assert_eq!(cut("a b", "c"), None);
    }
}
