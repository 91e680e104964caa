//! Names of tables, chains and sets.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The longest name in bytes: `NFT_NAME_MAXLEN` less the closing zero
/// (include/uapi/linux/netfilter/nf_tables.h).
const MAX: usize = 255;

/// The name of a table, chain, set or map: 1 to 255 bytes; cheap to copy.
///
/// It begins with a letter, a dot, `/` or `_`, and goes on with these, digits, `\` and `-`
/// (`string` of src/scanner.l).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// Why a text is not a [`Name`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` cannot be a name: 1 to 255 letters, digits, `/`, `\\`, `_`, `.`, `-`, the first no digit, `\\` or `-`"
)]
pub struct NameError {
    /// The text that was read.
    pub text: String,
}

impl Name {
    /// A name known when the program is written, or put together from parts that may be in one.
    ///
    /// # Panics
    /// When the text is empty or longer than 255 bytes.
    #[must_use]
    pub fn literal(text: &str) -> Self {
        assert!(
            !text.is_empty() && text.len() <= MAX,
            "a name has 1 to 255 bytes"
        );
        Self(text.into())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let begins = |byte: u8| byte.is_ascii_alphabetic() || matches!(byte, b'/' | b'_' | b'.');
        let goes_on =
            |byte: u8| begins(byte) || byte.is_ascii_digit() || matches!(byte, b'\\' | b'-');
        let bytes = text.as_bytes();
        let valid = bytes.len() <= MAX
            && bytes.first().is_some_and(|&first| begins(first))
            && bytes.iter().all(|&byte| goes_on(byte));
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(NameError {
                text: text.to_owned(),
            })
        }
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_nft_reads_as_one_word() {
        let longest = "a".repeat(MAX);
        for right in ["ip", "a/b_c.d-e", "_x", ".x", "/", "a\\b", &longest] {
            assert_eq!(right.parse::<Name>().unwrap().as_str(), right);
        }
        let too_long = "a".repeat(MAX + 1);
        for wrong in ["", "1a", "-a", "a b", "a@b", "a;", "ä", &too_long] {
            assert!(wrong.parse::<Name>().is_err(), "{wrong}");
        }
    }
}
