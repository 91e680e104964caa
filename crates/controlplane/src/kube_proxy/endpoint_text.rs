//! Endpoints as text.

use std::cmp::Ordering;
use std::ops::Deref;
use std::sync::Arc;

/// An endpoint as `ip:port`, the address as it was written; IPv6 in brackets.
///
/// A cluster has very many: one of IPv4 takes no memory of its own.
#[derive(Clone, Debug)]
pub(super) enum EndpointText {
    Short(u8, [u8; Self::SHORT]),
    Long(Arc<str>),
}

impl EndpointText {
    const SHORT: usize = "255.255.255.255:65535".len();

    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short(length, text) => &text[..usize::from(*length)],
            Self::Long(text) => text.as_bytes(),
        }
    }
}

/// The address of an endpoint's text, without brackets, and the port.
pub(super) fn ip_and_port(text: &str) -> (&str, &str) {
    let colon = text.bytes().rposition(|byte| byte == b':');
    let colon = colon.expect("a colon is behind the address");
    let ip = text[..colon].strip_prefix('[').unwrap_or(&text[..colon]);
    (ip.strip_suffix(']').unwrap_or(ip), &text[colon + 1..])
}

impl From<&str> for EndpointText {
    fn from(text: &str) -> Self {
        match u8::try_from(text.len()) {
            Ok(length) if text.len() <= Self::SHORT => {
                let mut short = [0; Self::SHORT];
                short[..text.len()].copy_from_slice(text.as_bytes());
                Self::Short(length, short)
            }
            _ => Self::Long(text.into()),
        }
    }
}

impl Deref for EndpointText {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Short(..) => std::str::from_utf8(self.as_bytes()).expect("it was made of a text"),
            Self::Long(text) => text,
        }
    }
}

impl PartialEq for EndpointText {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for EndpointText {}

impl PartialOrd for EndpointText {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for EndpointText {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl std::fmt::Display for EndpointText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_and_a_port_are_in_it() {
        for (text, parts) in [
            ("10.0.0.1:80", ("10.0.0.1", "80")),
            ("[2001:db8::1]:443", ("2001:db8::1", "443")),
        ] {
            assert_eq!(ip_and_port(text), parts);
        }
    }

    #[test]
    fn long_and_short_texts_are_kept_and_compare_as_texts_do() {
        let texts = [
            "10.0.0.1:80",
            "10.0.0.1:8080",
            "255.255.255.255:65535",
            "255.255.255.255:655350",
            "[2001:db8::1]:443",
            "[2001:db8:0:1:2:3:4:5]:443",
            "",
        ];
        for a in texts {
            assert_eq!(&*EndpointText::from(a), a);
            for b in texts {
                let [own_a, own_b] = [a, b].map(EndpointText::from);
                assert_eq!(own_a.cmp(&own_b), a.cmp(b));
                assert_eq!(own_a == own_b, a == b);
            }
        }
    }
}
