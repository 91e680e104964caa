//! Moments of the calendar, as Kubernetes objects write them.

use std::fmt;
use std::ops::Add;
use std::str::FromStr;
use std::time::Duration;

const SECONDS_A_DAY: i64 = 86_400;
const MICROS: i64 = 1_000_000;

/// A moment in UTC, to the microsecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Microseconds since the beginning of 1970.
    micros: i64,
}

/// Why a text is not a [`Timestamp`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a time such as `2024-03-20T23:44:55Z`")]
pub struct ParseTimestampError {
    /// The text that was read.
    pub text: String,
}

impl Timestamp {
    /// Year, month and day.
    ///
    /// Source: `civil_from_days` of Howard Hinnant, *chrono-Compatible Low-Level Date Algorithms*.
    #[must_use]
    pub fn date(self) -> (i64, i64, i64) {
        let days = self.micros.div_euclid(MICROS * SECONDS_A_DAY) + 719_468;
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = (month_from_march + 2) % 12 + 1;
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        (year, month, day)
    }

    /// Hours, minutes, seconds and microseconds of the day.
    #[must_use]
    pub const fn time(self) -> (i64, i64, i64, i64) {
        let seconds = self.micros.div_euclid(MICROS).rem_euclid(SECONDS_A_DAY);
        let micros = self.micros.rem_euclid(MICROS);
        (seconds / 3_600, seconds / 60 % 60, seconds % 60, micros)
    }
}

/// Days from the beginning of 1970 (`days_from_civil`, the same source).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

impl FromStr for Timestamp {
    type Err = ParseTimestampError;

    /// Reads RFC 3339 in UTC, with or without a fraction of a second.
    fn from_str(text: &str) -> Result<Self, ParseTimestampError> {
        parse(text).ok_or_else(|| ParseTimestampError {
            text: text.to_owned(),
        })
    }
}

fn parse(text: &str) -> Option<Timestamp> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let numbers = |text: &str, separator, lengths: [usize; 3]| {
        let mut parts = text.split(separator);
        let numbers = lengths.map(|length| {
            let part: &str = parts.next()?;
            let is_number = part.len() == length && part.bytes().all(|b| b.is_ascii_digit());
            is_number.then(|| part.parse::<i64>().ok()).flatten()
        });
        let [a, b, c] = numbers;
        parts.next().is_none().then_some([a?, b?, c?])
    };
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let in_range = (1..=12).contains(&month) && hour < 24 && minute < 60 && second < 61;
    let is_fraction =
        (1..=9).contains(&fraction.len()) && fraction.bytes().all(|b| b.is_ascii_digit());
    let seconds = days(year, month, day) * SECONDS_A_DAY + hour * 3_600 + minute * 60 + second;
    let micros: i64 = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
    let stamp = Timestamp {
        micros: seconds * MICROS + micros,
    };
    // A day that the month does not have is another day.
    let exists = stamp.date() == (year, month, day) || second == 60;
    (in_range && is_fraction && exists).then_some(stamp)
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, later: Duration) -> Self {
        let micros = i64::try_from(later.as_micros()).unwrap_or(i64::MAX);
        Self {
            micros: self.micros.saturating_add(micros),
        }
    }
}

impl fmt::Display for Timestamp {
    /// As Kubernetes writes it: to the second.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.date();
        let (hour, minute, second, _) = self.time();
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_printed_as_they_were_read() {
        for text in [
            "1970-01-01T00:00:00Z",
            "2024-02-29T23:59:59Z",
            "2024-03-20T23:44:55Z",
            "2000-12-31T12:00:00Z",
            "1969-12-31T23:59:59Z",
        ] {
            let stamp: Timestamp = text.parse().unwrap();
            assert_eq!(stamp.to_string(), text);
        }
        let stamp: Timestamp = "2024-03-20T23:44:55.5Z".parse().unwrap();
        assert_eq!(stamp.time(), (23, 44, 55, 500_000));
        let later = stamp + Duration::from_secs(3_600);
        assert_eq!(later.to_string(), "2024-03-21T00:44:55Z");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2024-03-20",
            "2024-02-30T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-3-1T00:00:00Z",
            "2024-03-20T24:00:00Z",
            "2024-03-20T23:44:55+01:00",
            "2024-03-20T23:44:55.Z",
            "2024-03-20T2ö:44:55Z",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }
}
