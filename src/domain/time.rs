//! Points in time, as the API, the log and the signatures write them.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Datelike, Timelike, Utc};
use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch, UTC. Displayed as RFC 3339 with milliseconds and `Z`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Millis {
    /// The last instant that RFC 3339 can write with a four-digit year (9999-12-31T23:59:59.999Z).
    pub const MAX: Self = Self(253_402_300_799_999);

    /// Parses an RFC 3339 date-time (section 5.6) with any offset. `None` when it is not one or lies before 1970.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let parsed = DateTime::parse_from_rfc3339(text).ok()?;
        u64::try_from(parsed.timestamp_millis()).ok().map(Self).filter(|at| *at <= Self::MAX)
    }

    /// Whole seconds since the epoch, rounded down.
    pub fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// Whole hours since the epoch: the key of an hourly statistics bucket.
    pub fn as_hours(self) -> u64 {
        self.0 / 3_600_000
    }

    /// That long before this; the epoch when it would be before it.
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Millis {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = i64::try_from(self.0.min(Self::MAX.0)).unwrap_or(i64::MAX);
        let at = DateTime::<Utc>::from_timestamp_millis(at).unwrap_or_default();
        // By hand: chrono's own way takes ten times as long, and each event writes its time twice.
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let ms = at.timestamp_subsec_millis();
        for (end, length, number) in [
            (4, 4, at.year().unsigned_abs()),
            (7, 2, at.month()),
            (10, 2, at.day()),
            (13, 2, at.hour()),
            (16, 2, at.minute()),
            (19, 2, at.second()),
            (23, 3, ms),
        ] {
            write_digits(&mut text[end - length..end], number);
        }
        f.write_str(str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

/// Fills `place` with the last digits of `number`.
fn write_digits(place: &mut [u8], mut number: u32) {
    for digit in place.iter_mut().rev() {
        *digit = b"0123456789"[(number % 10) as usize];
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339_with_milliseconds() {
        assert_eq!(Millis(1_768_473_000_000).to_string(), "2026-01-15T10:30:00.000Z");
        assert_eq!(Millis(1_709_209_876_054).to_string(), "2024-02-29T12:31:16.054Z");
        assert_eq!(Millis::default().to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Millis::MAX.to_string(), "9999-12-31T23:59:59.999Z");
        assert_eq!(Millis(u64::MAX).to_string(), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn any_offset_is_read_and_nonsense_is_not() {
        assert_eq!(Millis::parse_rfc3339("2026-01-15T11:30:00+01:00"), Some(Millis(1_768_473_000_000)));
        for bad in ["", "yesterday", "2026-01-15", "1969-12-31T23:59:59Z", "2026-13-01T00:00:00Z"] {
            assert_eq!(Millis::parse_rfc3339(bad), None, "{bad}");
        }
    }
}
