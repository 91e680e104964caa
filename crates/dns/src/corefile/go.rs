//! Numbers, durations and addresses as Go's standard library reads and refuses them.
//!
//! # Sources
//! strconv/atoi.go, time/format.go and net/ipsock.go of Go 1.21.

use std::fmt;
use std::time::Duration;

/// `strconv.Atoi`.
pub(super) fn atoi(text: &str) -> Result<i64, String> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("strconv.Atoi: parsing {text:?}: invalid syntax"));
    }
    text.parse()
        .map_err(|_| format!("strconv.Atoi: parsing {text:?}: value out of range"))
}

/// `strconv.ParseUint(text, 10, bits)` with bits of `N`.
pub(super) fn parse_uint<N: TryFrom<u64>>(text: &str) -> Result<N, String> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!(
            "strconv.ParseUint: parsing {text:?}: invalid syntax"
        ));
    }
    let number = text.parse::<u64>().ok().and_then(|n| N::try_from(n).ok());
    number.ok_or_else(|| format!("strconv.ParseUint: parsing {text:?}: value out of range"))
}

/// A duration as Go has it: it may be negative. In nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GoDuration(pub(super) i64);

impl GoDuration {
    /// The duration, nothing if negative.
    pub(super) fn unsigned(self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0).unwrap_or(0))
    }
}

impl fmt::Display for GoDuration {
    /// `-1s`, `1m30s`, `500ms`: `Duration.String` for what Corefiles hold.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.unsigned_abs();
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let fraction = |nanos: u64, unit: u64, name: &str| {
            let digits = unit.to_string().len() - 1;
            let part = format!("{:0digits$}", nanos % unit);
            let part = part.trim_end_matches('0');
            let dot = if part.is_empty() { "" } else { "." };
            format!("{}{dot}{part}{name}", nanos / unit)
        };
        match nanos {
            0 => f.write_str("0s"),
            1..1_000 => write!(f, "{nanos}ns"),
            1_000..1_000_000 => f.write_str(&fraction(nanos, 1_000, "µs")),
            1_000_000..1_000_000_000 => f.write_str(&fraction(nanos, 1_000_000, "ms")),
            _ => {
                let seconds = nanos / 1_000_000_000;
                let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
                if hours > 0 {
                    write!(f, "{hours}h")?;
                }
                if hours > 0 || minutes > 0 {
                    write!(f, "{minutes}m")?;
                }
                f.write_str(&fraction(nanos % 60_000_000_000, 1_000_000_000, "s"))
            }
        }
    }
}

/// `time.ParseDuration`.
pub(super) fn parse_duration(text: &str) -> Result<GoDuration, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let negative = text.starts_with('-');
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return Ok(GoDuration(0));
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let (whole, after) = rest.split_at(digits(rest));
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => after.split_at(digits(after)),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit());
        let (unit, after) = after.split_at(end.unwrap_or(after.len()));
        let nanos: i128 = match unit {
            "" => return Err(format!("time: missing unit in duration {text:?}")),
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(format!("time: unknown unit {unit:?} in duration {text:?}")),
        };
        if whole.len() > 18 {
            return Err(invalid());
        }
        total += whole.parse::<i128>().unwrap_or(0) * nanos;
        let mut part = nanos;
        for digit in fraction.bytes().take(13) {
            total += part * i128::from(digit - b'0') / 10;
            part /= 10;
        }
        rest = after;
    }
    let total = if negative { -total } else { total };
    i64::try_from(total).map(GoDuration).map_err(|_| invalid())
}

/// What `regexp.Compile` says of an expression that is none, for the commonest faults.
///
/// Source: regexp/syntax/parse.go.
pub(super) fn regexp_error(text: &str) -> String {
    let told = |what: &str, at: &str| format!("error parsing regexp: {what}: `{at}`");
    let (mut open, mut class) = (0u32, None);
    let mut repeatable = false;
    let mut chars = text.char_indices();
    while let Some((at, ch)) = chars.next() {
        if ch == '\\' {
            if chars.next().is_none() {
                return told("trailing backslash at end of expression", "");
            }
            repeatable = true;
            continue;
        }
        if class.is_some() {
            if ch == ']' {
                class = None;
            }
            continue;
        }
        match ch {
            '*' | '+' | '?' if !repeatable => {
                return told("missing argument to repetition operator", &text[at..=at]);
            }
            '[' => class = Some(at),
            '(' => open += 1,
            ')' if open == 0 => return told("unexpected )", text),
            ')' => open -= 1,
            _ => {}
        }
        repeatable = !matches!(ch, '(' | '|' | '^');
    }
    match (class, open) {
        (Some(at), _) => told("missing closing ]", &text[at..]),
        (None, 1..) => told("missing closing )", text),
        (None, 0) => told("invalid or unsupported Perl syntax", text),
    }
}

/// An error of the file system: `open PATH: no such file or directory`.
pub(super) fn open_error(path: &str, error: &std::io::Error) -> String {
    if error.kind() == std::io::ErrorKind::NotFound {
        return format!("open {path}: no such file or directory");
    }
    format!("open {path}: {error}")
}

/// `net.SplitHostPort`.
pub(super) fn split_host_port(text: &str) -> Result<(&str, &str), String> {
    let refuse = |why: &str| Err(format!("address {text}: {why}"));
    let Some(colon) = text.rfind(':') else {
        return refuse("missing port in address");
    };
    let (host, port) = if let Some(inner) = text.strip_prefix('[') {
        let Some(end) = inner.find(']') else {
            return refuse("missing ']' in address");
        };
        match inner[end + 1..].strip_prefix(':') {
            Some(port) if !port.contains(':') => (&inner[..end], port),
            Some(_) => return refuse("too many colons in address"),
            None => return refuse("missing port in address"),
        }
    } else {
        let host = &text[..colon];
        if host.contains(':') {
            return refuse("too many colons in address");
        }
        (host, &text[colon + 1..])
    };
    if host.contains(['[', ']']) || port.contains(['[', ']']) {
        return refuse("unexpected '[' or ']' in address");
    }
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_printed_as_in_go() {
        for (text, printed) in [
            ("1h30m", "1h30m0s"),
            ("1.5s", "1.5s"),
            ("90s", "1m30s"),
            ("500ms", "500ms"),
            ("-2s", "-2s"),
            ("0", "0s"),
            ("1µs", "1µs"),
            ("1h", "1h0m0s"),
        ] {
            let read = parse_duration(text).map(|d| d.to_string());
            assert_eq!(read.as_deref(), Ok(printed), "{text}");
        }
        assert_eq!(
            parse_duration("5"),
            Err("time: missing unit in duration \"5\"".to_owned())
        );
        assert_eq!(
            parse_duration("5x"),
            Err("time: unknown unit \"x\" in duration \"5x\"".to_owned())
        );
        assert!(parse_duration("x").is_err() && parse_duration(".s").is_err());
        assert!(parse_duration("9999999999h").is_err());
    }

    #[test]
    fn hosts_and_ports_are_split_as_in_go() {
        assert_eq!(split_host_port(":9153"), Ok(("", "9153")));
        assert_eq!(split_host_port("[::1]:53"), Ok(("::1", "53")));
        for (text, why) in [
            ("localhost", "missing port in address"),
            ("::1", "too many colons in address"),
            ("[::1]", "missing port in address"),
            ("[::1:53", "missing ']' in address"),
        ] {
            assert_eq!(split_host_port(text), Err(format!("address {text}: {why}")));
        }
    }

    #[test]
    fn expressions_are_refused_in_gos_words() {
        for (text, why) in [
            ("(a", "missing closing ): `(a`"),
            ("a)", "unexpected ): `a)`"),
            ("x[a-z", "missing closing ]: `[a-z`"),
            ("*a", "missing argument to repetition operator: `*`"),
            ("a\\", "trailing backslash at end of expression: ``"),
        ] {
            assert_eq!(regexp_error(text), format!("error parsing regexp: {why}"));
        }
    }

    #[test]
    fn numbers_are_refused_in_gos_words() {
        assert_eq!(atoi("-5"), Ok(-5));
        assert_eq!(
            atoi("x"),
            Err("strconv.Atoi: parsing \"x\": invalid syntax".to_owned())
        );
        assert_eq!(parse_uint::<u32>("7"), Ok(7));
        assert!(parse_uint::<u32>("4294967296").is_err_and(|e| e.ends_with("value out of range")));
    }
}
