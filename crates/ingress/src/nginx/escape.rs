//! What may not stand as it is in a URI that nginx sends.
//!
//! # Sources
//! `ngx_escape_uri`, src/core/ngx_string.c of nginx 1.22.

/// A path, as `NGX_ESCAPE_URI` writes it.
pub(super) fn uri(path: &[u8]) -> String {
    let mut escaped = String::with_capacity(path.len());
    for &byte in path {
        push(&mut escaped, byte, is_unsafe(byte));
    }
    escaped
}

/// A part of the arguments, as `NGX_ESCAPE_ARGS` writes it.
pub(super) fn args(text: &[u8]) -> Vec<u8> {
    let mut escaped = String::with_capacity(text.len());
    for &byte in text {
        push(
            &mut escaped,
            byte,
            is_unsafe(byte) || b"&+;".contains(&byte),
        );
    }
    escaped.into_bytes()
}

fn push(text: &mut String, byte: u8, escape: bool) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    if escape {
        text.push('%');
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    } else {
        text.push(char::from(byte));
    }
}

/// Control characters, what is not ASCII, and what would end or change a URI.
const fn is_unsafe(byte: u8) -> bool {
    byte <= b' '
        || byte >= 0x7f
        || matches!(
            byte,
            b'"' | b'#' | b'%' | b'<' | b'>' | b'?' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_change_a_uri_is_escaped_in_capitals() {
        assert_eq!(
            uri(b"/a b?c#d%e+f&g;\xc3\xa9"),
            "/a%20b%3Fc%23d%25e+f&g;%C3%A9"
        );
        assert_eq!(args(b"a b+c&d;e"), b"a%20b%2Bc%26d%3Be");
    }
}
