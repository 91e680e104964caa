//! The request's URI as nginx compares it: decoded, without dot segments and doubled slashes.
//!
//! # Sources
//! `ngx_http_parse_request_line` and `ngx_http_parse_complex_uri`, src/http/ngx_http_parse.c, with
//! `merge_slashes on`, the default.

use std::borrow::Cow;

use super::BadRequest;

/// A request's URI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uri<'r> {
    /// As it was sent.
    pub raw: &'r str,
    /// The path: `$uri` before any rewrite.
    pub path: Cow<'r, [u8]>,
    /// What stands behind the question mark.
    pub args: &'r str,
    /// Whether something was encoded, or a plus sign stood in it: captures are then escaped again.
    pub was_encoded: bool,
}

/// What was last copied. A dot counts only behind a slash.
#[derive(Clone, Copy)]
enum Last {
    Other,
    Slash,
    Dot,
    DotDot,
}

impl<'r> Uri<'r> {
    /// Reads the path and arguments of a request line.
    ///
    /// # Errors
    /// [`BadRequest`] for what nginx answers with 400.
    pub fn parse(raw: &'r str) -> Result<Self, BadRequest> {
        let bytes = raw.as_bytes();
        let is_control = |byte: &u8| *byte <= b' ' || *byte == 0x7f;
        if bytes.first() != Some(&b'/') || bytes.iter().any(is_control) {
            return Err(BadRequest::Uri);
        }
        // One pass over the path: most have nothing to decode and are kept as they are.
        let (mut end, mut before) = (bytes.len(), 0);
        let (mut is_plain, mut was_encoded) = (true, false);
        for (at, &byte) in bytes.iter().enumerate() {
            match byte {
                b'?' | b'#' => {
                    end = at;
                    break;
                }
                b'%' => (is_plain, was_encoded) = (false, true),
                b'+' => was_encoded = true,
                b'/' | b'.' if before == b'/' => is_plain = false,
                _ => {}
            }
            before = byte;
        }
        let (path, rest) = raw.split_at(end);
        let args = rest.strip_prefix('?').unwrap_or_default();
        let args = args.split('#').next().unwrap_or_default();
        Ok(Self {
            raw,
            path: if is_plain {
                Cow::Borrowed(path.as_bytes())
            } else {
                Cow::Owned(normalized(path.as_bytes())?)
            },
            args,
            was_encoded,
        })
    }
}

fn normalized(path: &[u8]) -> Result<Vec<u8>, BadRequest> {
    let mut out = Vec::with_capacity(path.len());
    let mut last = Last::Other;
    let mut bytes = path.iter().copied();
    while let Some(byte) = bytes.next() {
        let byte = if byte == b'%' {
            let decoded = decoded(bytes.next(), bytes.next())?;
            // These would mean something else to whoever reads the path again.
            if matches!(decoded, b'%' | b'#' | b'?') {
                out.push(decoded);
                last = Last::Other;
                continue;
            }
            decoded
        } else {
            byte
        };
        last = match (last, byte) {
            (Last::Other, b'/') => {
                out.push(b'/');
                Last::Slash
            }
            (Last::Slash, b'/') => Last::Slash,
            (Last::Slash, b'.') => {
                out.push(b'.');
                Last::Dot
            }
            (Last::Dot, b'.') => {
                out.push(b'.');
                Last::DotDot
            }
            (Last::Dot, b'/') => {
                out.pop();
                Last::Slash
            }
            (Last::DotDot, b'/') => {
                leave_segment(&mut out)?;
                Last::Slash
            }
            (Last::Other | Last::Slash | Last::Dot | Last::DotDot, byte) => {
                out.push(byte);
                Last::Other
            }
        };
    }
    match last {
        Last::Dot => drop(out.pop()),
        Last::DotDot => leave_segment(&mut out)?,
        Last::Other | Last::Slash => {}
    }
    Ok(out)
}

/// Takes `segment/..` from the end.
fn leave_segment(out: &mut Vec<u8>) -> Result<(), BadRequest> {
    out.truncate(out.len() - "/..".len());
    let slash = out.iter().rposition(|&byte| byte == b'/');
    out.truncate(slash.ok_or(BadRequest::AboveRoot)? + 1);
    Ok(())
}

fn decoded(high: Option<u8>, low: Option<u8>) -> Result<u8, BadRequest> {
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
    let (Some(high), Some(low)) = (digit(high), digit(low)) else {
        return Err(BadRequest::Encoding);
    };
    match u8::try_from(high * 16 + low) {
        Ok(byte) if byte != 0 => Ok(byte),
        Ok(_) | Err(_) => Err(BadRequest::Encoding),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_decoded_and_cleared_as_nginx_does() {
        for (raw, path) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("//a///b//", "/a/b/"),
            ("/%66oo", "/foo"),
            ("/foo%2Fbar", "/foo/bar"),
            ("/foo%2f%2fbar", "/foo/bar"),
            ("/a/./b/.", "/a/b/"),
            ("/a/../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/%2e%2e/b", "/b"),
            ("/a..b/.c/...", "/a..b/.c/..."),
            ("/a%3Fb%23c%25d", "/a?b#c%d"),
            ("/a?x=/../%zz", "/a"),
            ("/a#b?c", "/a"),
            ("/a/..?x", "/"),
        ] {
            let uri = Uri::parse(raw).unwrap();
            assert_eq!(String::from_utf8_lossy(&uri.path), path, "{raw}");
        }
        assert_eq!(Uri::parse("/a?b=c#d").unwrap().args, "b=c");
        assert_eq!(Uri::parse("/a#b?c").unwrap().args, "");
    }

    #[test]
    fn what_nginx_answers_with_400_is_refused() {
        for raw in [
            "", "a", "*", "/a b", "/\u{7f}", "/..", "/a/../..", "/%0", "/%zz", "/%00", "/a%",
        ] {
            assert!(Uri::parse(raw).is_err(), "{raw}");
        }
    }
}
