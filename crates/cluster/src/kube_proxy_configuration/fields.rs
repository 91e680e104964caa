//! How single fields are written.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Unexpected, Visitor};

use super::{DetectLocalMode, FlushFrequency};

/// Reads `masqueradeBit`.
pub(super) fn masquerade_bit<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u8>, D::Error> {
    struct BitVisitor;
    impl<'de> Visitor<'de> for BitVisitor {
        type Value = Option<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a bit's number from 0 to 31")
        }

        fn visit_unit<E>(self) -> Result<Option<u8>, E> {
            Ok(None)
        }

        fn visit_u64<E: de::Error>(self, n: u64) -> Result<Option<u8>, E> {
            u8::try_from(n)
                .ok()
                .filter(|&bit| bit < 32)
                .map(Some)
                .ok_or_else(|| E::invalid_value(Unexpected::Unsigned(n), &self))
        }

        fn visit_i64<E: de::Error>(self, n: i64) -> Result<Option<u8>, E> {
            Err(E::invalid_value(Unexpected::Signed(n), &self))
        }
    }
    d.deserialize_any(BitVisitor)
}

/// Reads `detectLocalMode`; empty is the default.
pub(super) fn detect_local_mode<'de, D: Deserializer<'de>>(
    d: D,
) -> Result<DetectLocalMode, D::Error> {
    struct ModeVisitor;
    impl<'de> Visitor<'de> for ModeVisitor {
        type Value = DetectLocalMode;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix")
        }

        fn visit_unit<E>(self) -> Result<DetectLocalMode, E> {
            Ok(DetectLocalMode::default())
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<DetectLocalMode, E> {
            Ok(match text {
                "" | "ClusterCIDR" => DetectLocalMode::ClusterCidr,
                "NodeCIDR" => DetectLocalMode::NodeCidr,
                "BridgeInterface" => DetectLocalMode::BridgeInterface,
                "InterfaceNamePrefix" => DetectLocalMode::InterfaceNamePrefix,
                _ => return Err(E::invalid_value(Unexpected::Str(text), &self)),
            })
        }
    }
    d.deserialize_any(ModeVisitor)
}

/// A duration as Go's `time.ParseDuration` reads it; null is none.
struct GoDuration(Option<Duration>);

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct DurationVisitor;
        impl Visitor<'_> for DurationVisitor {
            type Value = GoDuration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as `30s`, `15m0s` or `1h30m`")
            }

            fn visit_unit<E>(self) -> Result<GoDuration, E> {
                Ok(GoDuration(None))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<GoDuration, E> {
                parse(text)
                    .map(|duration| GoDuration(Some(duration)))
                    .ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        d.deserialize_any(DurationVisitor)
    }
}

/// Reads a duration as Go's `time.ParseDuration` does: numbers with units, `1h30m`, each with decimals
/// if wanted; `0` needs no unit. `None` for another text, and for one below zero.
#[must_use]
pub fn parse(text: &str) -> Option<Duration> {
    const UNITS: [(&str, u64); 8] = [
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("μs", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanos: u64 = 0;
    while !rest.is_empty() {
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let whole_len = digits(rest);
        let (whole, after) = rest.split_at(whole_len);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => after.split_at(digits(after)),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let unit_len = after
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_len);
        let &(_, scale) = UNITS.iter().find(|(name, _)| *name == unit)?;
        let whole: u64 = if whole.is_empty() {
            0
        } else {
            whole.parse().ok()?
        };
        nanos = nanos.checked_add(whole.checked_mul(scale)?)?;
        let mut part = scale;
        for digit in fraction.bytes() {
            part /= 10;
            nanos = nanos.checked_add(part * u64::from(digit - b'0'))?;
        }
        rest = after;
    }
    Some(Duration::from_nanos(nanos))
}

/// Writes a duration as Go's `Duration.String` does.
#[must_use]
pub fn format(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let decimal = |scale: u128, unit: &str| {
        let (whole, rest) = (nanos / scale, nanos % scale);
        if rest == 0 {
            return format!("{whole}{unit}");
        }
        let width = scale.ilog10() as usize;
        let digits = format!("{rest:0width$}");
        format!("{whole}.{}{unit}", digits.trim_end_matches('0'))
    };
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => decimal(1_000, "µs"),
        1_000_000..1_000_000_000 => decimal(1_000_000, "ms"),
        _ => {
            let minutes = duration.as_secs() / 60;
            let below = duration.saturating_sub(Duration::from_secs(minutes.saturating_mul(60)));
            let digits = format!("{:09}", below.subsec_nanos());
            let fraction = digits.trim_end_matches('0');
            let dot = if fraction.is_empty() { "" } else { "." };
            let seconds = format!("{}{dot}{fraction}s", below.as_secs());
            match (minutes / 60, minutes % 60) {
                (0, 0) => seconds,
                (0, m) => format!("{m}m{seconds}"),
                (h, m) => format!("{h}h{m}m{seconds}"),
            }
        }
    }
}

impl<'de> Deserialize<'de> for FlushFrequency {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct FrequencyVisitor;
        impl Visitor<'_> for FrequencyVisitor {
            type Value = FlushFrequency;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as `5s`, or nanoseconds as a number")
            }

            fn visit_u64<E>(self, n: u64) -> Result<FlushFrequency, E> {
                // 0 leaves it to kube-proxy, however it is written.
                Ok(FlushFrequency {
                    duration: Duration::from_nanos(n),
                    is_number: n > 0,
                })
            }

            fn visit_i64<E: de::Error>(self, n: i64) -> Result<FlushFrequency, E> {
                Err(E::invalid_value(Unexpected::Signed(n), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<FlushFrequency, E> {
                let duration = parse(text);
                duration
                    .map(|duration| FlushFrequency {
                        duration,
                        is_number: false,
                    })
                    .ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        d.deserialize_any(FrequencyVisitor)
    }
}

impl serde::Serialize for FlushFrequency {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if self.is_number {
            // What was read fits into 64 bits.
            s.serialize_u64(u64::try_from(self.duration.as_nanos()).unwrap_or(u64::MAX))
        } else {
            s.serialize_str(&format(self.duration))
        }
    }
}

/// A duration that is zero unless said.
pub(super) mod duration {
    use super::{Deserialize, Deserializer, Duration, GoDuration, format};
    use serde::Serializer;

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        Ok(GoDuration::deserialize(d)?.0.unwrap_or_default())
    }

    pub(crate) fn serialize<S: Serializer>(value: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&format(*value))
    }
}

/// A duration that may be left to kube-proxy.
pub(super) mod optional_duration {
    use super::{Deserialize, Deserializer, Duration, GoDuration, format};
    use serde::Serializer;

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(GoDuration::deserialize(d)?.0)
    }

    #[expect(clippy::ref_option, reason = "serde's `with` gives this type")]
    pub(crate) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        s: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(duration) => s.serialize_str(&format(*duration)),
            None => s.serialize_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_as_go_does() {
        for (text, nanos, written) in [
            ("0s", 0, "0s"),
            ("0", 0, "0s"),
            ("1h30m", 5_400_000_000_000, "1h30m0s"),
            ("15m0s", 900_000_000_000, "15m0s"),
            ("24h0m0s", 86_400_000_000_000, "24h0m0s"),
            ("1.5s", 1_500_000_000, "1.5s"),
            ("300ms", 300_000_000, "300ms"),
            ("1.5µs", 1_500, "1.5µs"),
            ("7ns", 7, "7ns"),
            (".5m", 30_000_000_000, "30s"),
        ] {
            let read = parse(text).unwrap();
            assert_eq!(read, Duration::from_nanos(nanos), "{text}");
            assert_eq!(format(read), written);
        }
        for wrong in ["", "5", "-1s", "s", "1d", "1h 30m", "99999999999999h", "."] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
