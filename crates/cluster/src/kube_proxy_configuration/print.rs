//! A configuration as YAML: what `kube-proxy --write-config-to` writes.
//!
//! Sources: `writeConfigFile` (cmd/kube-proxy/app/options.go), which encodes through JSON, so that keys
//! are sorted; which texts are quoted: `stringv` (encode.go) and `yaml_emitter_analyze_scalar`
//! (emitterc.go) of go-yaml 2, through sigs.k8s.io/yaml.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::KubeProxyConfiguration;

/// Fields that are left out where they hold nothing (`omitempty`). `logging.options.text` is of 1.31.
const LEFT_OUT: [&str; 8] = [
    "/featureGates",
    "/logging/format",
    "/logging/vmodule",
    "/logging/options/json/splitStream",
    "/logging/options/text/splitStream",
    "/logging/options/text/infoBufferSize",
    "/logging/options/text",
    "/windowsRunAsService",
];

impl KubeProxyConfiguration {
    /// The file that says all of it, defaults filled in, as kube-proxy writes it.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        let mut tree = self.with_defaults().to_json();
        for path in LEFT_OUT {
            let Some((above, key)) = path.rsplit_once('/') else {
                continue;
            };
            if let Some(Value::Object(map)) = tree.pointer_mut(above)
                && map.get(key).is_some_and(is_nothing)
            {
                map.remove(key);
            }
        }
        let mut text = String::new();
        if let Value::Object(map) = &mut tree {
            for (key, text) in [
                ("apiVersion", "kubeproxy.config.k8s.io/v1alpha1"),
                ("kind", "KubeProxyConfiguration"),
            ] {
                map.insert(key.to_owned(), text.into());
            }
            // As an empty list and none are one thing to kube-proxy, but not to its printer.
            for path in ["/nodePortAddresses", "/ipvs/excludeCIDRs"] {
                none_of_empty(map, path);
            }
            write_map(map, 0, &mut text);
        }
        text
    }
}

/// Whether a value says nothing: false or empty.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(is) => !is,
        Value::Number(_) => false,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

fn none_of_empty(map: &mut Map<String, Value>, path: &str) {
    let mut keys = path.split('/').skip(1);
    let Some(first) = keys.next().and_then(|key| map.get_mut(key)) else {
        return;
    };
    let found = keys.try_fold(first, |value, key| value.get_mut(key));
    if let Some(list) = found.filter(|list| list.as_array().is_some_and(Vec::is_empty)) {
        *list = Value::Null;
    }
}

/// Writes a mapping's entries, each on lines of its own, but for what stands before the first.
fn write_map(map: &Map<String, Value>, depth: usize, text: &mut String) {
    let indent = |depth: usize, text: &mut String| text.push_str(&"  ".repeat(depth));
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by_key(|(key, _)| *key);
    for (i, (key, value)) in entries.into_iter().enumerate() {
        if i > 0 {
            indent(depth, text);
        }
        text.push_str(&scalar(key));
        text.push(':');
        if let Value::Object(below) = value
            && !below.is_empty()
        {
            text.push('\n');
            indent(depth + 1, text);
            write_map(below, depth + 1, text);
        } else if let Value::Array(items) = value
            && !items.is_empty()
        {
            text.push('\n');
            for item in items {
                indent(depth, text);
                text.push_str("- ");
                match item.as_object().filter(|below| !below.is_empty()) {
                    Some(below) => write_map(below, depth + 1, text),
                    None => write_leaf(item, text),
                }
            }
        } else {
            text.push(' ');
            write_leaf(value, text);
        }
    }
}

fn write_leaf(value: &Value, text: &mut String) {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(is) => text.push_str(if *is { "true" } else { "false" }),
        Value::Number(number) => {
            // Go prints a whole float without its point.
            let shown = number.to_string();
            text.push_str(shown.strip_suffix(".0").unwrap_or(&shown));
        }
        Value::String(string) => text.push_str(&scalar(string)),
        Value::Array(_) => text.push_str("[]"),
        Value::Object(_) => text.push_str("{}"),
    }
    text.push('\n');
}

/// A text as a YAML scalar: bare, in single or in double quotes.
fn scalar(text: &str) -> String {
    let is_plain_character = |c: char| c == '\u{85}' || (c != '\u{feff}' && !c.is_control());
    if resolves_to_another_type(text) || !text.chars().all(is_plain_character) {
        return double_quoted(text);
    }
    let leading = [
        '#', ',', '[', ']', '{', '}', '&', '*', '!', '|', '>', '\'', '"', '%', '@', '`',
    ];
    let needs_quotes = text.starts_with(leading)
        || text.starts_with("---")
        || text.starts_with("...")
        || text.starts_with([' '])
        || text.ends_with(' ')
        || ["-", "?", ":"].contains(&text)
        || text.starts_with("- ")
        || text.starts_with("? ")
        || text.contains(": ")
        || text.ends_with(':')
        || text.contains(" #");
    if needs_quotes {
        format!("'{}'", text.replace('\'', "''"))
    } else {
        text.to_owned()
    }
}

/// Whether a bare text would be read as something else than text (`resolve`, resolve.go): nothing, a
/// boolean, a number, a time, a merge key.
fn resolves_to_another_type(text: &str) -> bool {
    const WORDS: [&str; 16] = [
        "", "~", "<<", "null", "true", "false", "y", "n", "yes", "no", "on", "off", ".nan", ".inf",
        "-.inf", "+.inf",
    ];
    let lower = text.to_ascii_lowercase();
    let bare = text.replace('_', "");
    let digits = bare.trim_start_matches(['+', '-']);
    let of_radix = |prefix: &str, radix| {
        digits
            .strip_prefix(prefix)
            .is_some_and(|rest| u64::from_str_radix(rest, radix).is_ok())
    };
    let is_number = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && (digits.parse::<f64>().is_ok()
            || of_radix("0x", 16)
            || of_radix("0o", 8)
            || of_radix("0b", 2));
    WORDS.contains(&&*lower) || is_number || is_base_60(digits) || is_date(text)
}

/// Whether a text is what YAML 1.1 read as a number of base 60, as in `1:30`.
fn is_base_60(digits: &str) -> bool {
    let mut parts = digits.split(':');
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let first = parts.next().is_some_and(is_digits);
    let mut count = 0;
    let rest = parts.all(|part| {
        count += 1;
        let whole = part.split('.').next().unwrap_or_default();
        is_digits(whole) && whole.len() <= 2 && whole.parse::<u8>().is_ok_and(|n| n < 60)
    });
    first && rest && count > 0
}

/// Whether a text begins as a date does: `2024-03-20`.
fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 8
        && bytes[..4].iter().all(u8::is_ascii_digit)
        && bytes[4] == b'-'
        && text[5..]
            .split('-')
            .take(2)
            .all(|part| part.starts_with(|c: char| c.is_ascii_digit()))
}

fn double_quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if c.is_control() || c == '\u{feff}' => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_where_go_quotes_them() {
        for (text, printed) in [
            ("", "\"\""),
            ("0", "\"0\""),
            ("true", "\"true\""),
            ("iptables", "iptables"),
            ("0.0.0.0", "0.0.0.0"),
            ("0.0.0.0:10256", "0.0.0.0:10256"),
            ("[::]:10256", "'[::]:10256'"),
            ("::1/128", "::1/128"),
            ("10.244.0.0/16,fd00::/56", "10.244.0.0/16,fd00::/56"),
            ("1:30", "\"1:30\""),
            ("64Ki", "64Ki"),
            ("1.29", "\"1.29\""),
            (
                "/var/lib/kube-proxy/kubeconfig.conf",
                "/var/lib/kube-proxy/kubeconfig.conf",
            ),
            ("it's: so", "'it''s: so'"),
            ("a\nb", "\"a\\nb\""),
        ] {
            assert_eq!(scalar(text), printed);
        }
    }
}
