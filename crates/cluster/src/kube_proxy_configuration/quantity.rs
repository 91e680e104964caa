//! Quantities of bytes, in the form that Kubernetes writes them.
//!
//! Source: `ParseQuantity` and `CanonicalizeBytes`, apimachinery/pkg/api/resource.

use std::fmt;

use serde::de::{self, Deserializer, Unexpected, Visitor};

/// Suffixes of powers of 1024, the smallest first.
const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
/// Suffixes of powers of 1000, the smallest first.
const DECIMAL: [&str; 6] = ["k", "M", "G", "T", "P", "E"];

/// Reads a quantity, a text or a number, into its canonical text; null is the empty one.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    struct QuantityVisitor;
    impl Visitor<'_> for QuantityVisitor {
        type Value = String;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a size in whole bytes such as `0`, `512`, `64Ki` or `1M`")
        }

        fn visit_unit<E>(self) -> Result<String, E> {
            Ok(String::new())
        }

        fn visit_u64<E: de::Error>(self, n: u64) -> Result<String, E> {
            self.visit_str(&n.to_string())
        }

        fn visit_i64<E: de::Error>(self, n: i64) -> Result<String, E> {
            Err(E::invalid_value(Unexpected::Signed(n), &self))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
            // What an unsaid size is written as by who does not fill in defaults.
            if text.is_empty() {
                return Ok(String::new());
            }
            canonical(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
        }
    }
    d.deserialize_any(QuantityVisitor)
}

/// The canonical text of a quantity of whole bytes below 2⁶³: the largest suffix of the kind it was
/// written with that leaves a whole number.
fn canonical(text: &str) -> Option<String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let power = |suffixes: &[&str], base: u64| {
        let at = suffixes.iter().position(|&of| of == suffix)?;
        base.checked_pow(u32::try_from(at + 1).ok()?)
    };
    let (scale, is_binary) = match (suffix, power(&BINARY, 1_024), power(&DECIMAL, 1_000)) {
        ("", ..) => (1, false),
        (_, Some(scale), _) => (scale, true),
        (_, None, Some(scale)) => (scale, false),
        (_, None, None) => return None,
    };
    let bytes = number
        .checked_mul(scale)
        .filter(|&bytes| bytes >> 63 == 0)?;
    // Below 1024 a binary quantity is written as a decimal one.
    let (base, suffixes) = if is_binary && bytes >= 1_024 {
        (1_024, BINARY)
    } else {
        (1_000, DECIMAL)
    };
    let (mut left, mut shown) = (bytes, "");
    for suffix in suffixes {
        if left == 0 || left % base != 0 {
            break;
        }
        left /= base;
        shown = suffix;
    }
    Some(format!("{left}{shown}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_written_with_the_largest_suffix_that_fits() {
        for (text, written) in [
            ("0", Some("0")),
            ("0Ki", Some("0")),
            ("512", Some("512")),
            ("1000", Some("1k")),
            ("64Ki", Some("64Ki")),
            ("1024Ki", Some("1Mi")),
            ("1536", Some("1536")),
            ("2000M", Some("2G")),
            ("8Ei", None),
            ("99999999999999999999", None),
            ("64kib", None),
            ("-1", None),
            ("Ki", None),
            ("1.5Ki", None),
        ] {
            assert_eq!(canonical(text).as_deref(), written, "{text}");
        }
    }
}
