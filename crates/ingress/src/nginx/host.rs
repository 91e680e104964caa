//! The Host header as nginx reads it.
//!
//! # Sources
//! `ngx_http_validate_host`, src/http/ngx_http_request.c.

use std::borrow::Cow;

use super::BadRequest;

/// The host of a Host header: in lower case, without port and without the dot at its end. An empty
/// header is the empty host, as HTTP/1.0 sends it.
///
/// # Errors
/// [`BadRequest::Host`].
pub fn host(header: &str) -> Result<Cow<'_, str>, BadRequest> {
    let bytes = header.as_bytes();
    let is_odd = |byte: u8| byte <= b' ' || byte == 0x7f || byte == b'/';
    let mut before = 0;
    for &byte in bytes {
        if is_odd(byte) || byte == b'.' && before == b'.' {
            return Err(BadRequest::Host);
        }
        before = byte;
    }
    let end = if header.starts_with('[') {
        header.find(']').map_or(header.len(), |end| end + 1)
    } else {
        header.find(':').unwrap_or(header.len())
    };
    let name = &header[..end];
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() && !header.is_empty() {
        return Err(BadRequest::Host);
    }
    Ok(if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_no_port_no_last_dot_and_no_capitals() {
        for (header, name) in [
            ("shop.test", "shop.test"),
            ("Shop.TEST:8080", "shop.test"),
            ("shop.test.", "shop.test"),
            ("[2001:DB8::1]:80", "[2001:db8::1]"),
            ("b_z.test", "b_z.test"),
            ("", ""),
        ] {
            assert_eq!(host(header).unwrap(), name);
        }
        for header in [".", ":80", "a..b", "a b", "a/b"] {
            assert!(host(header).is_err(), "{header}");
        }
    }
}
