//! Points in time, in nanoseconds.

use jiff::SignedDuration;
use jiff::civil::{DateTime, date};
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const EPOCH: DateTime = date(1970, 1, 1).at(0, 0, 0, 0);

const NANOS: u32 = 1_000_000_000;

/// A point in time: seconds since 1970-01-01T00:00:00Z (rounded down) and nanoseconds above them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant {
    seconds: i64,
    nanos: u32,
}

impl Instant {
    /// `None` when `nanos` is not below 10⁹.
    pub fn new(seconds: i64, nanos: u32) -> Option<Self> {
        (nanos < NANOS).then_some(Self { seconds, nanos })
    }

    /// Whole seconds since 1970, rounded down.
    pub fn seconds(self) -> i64 {
        self.seconds
    }

    /// Nanoseconds above [`Instant::seconds`], below 10⁹.
    pub fn nanos(self) -> u32 {
        self.nanos
    }

    /// Read an RFC 3339 time. Without an offset it is in UTC, and what is left out from the end
    /// is the least there is: `2020-02` is midnight of the first of February.
    pub fn parse(text: &str) -> Option<Self> {
        let (local, offset) = split_offset(text)?;
        let rest = match local.len() {
            4 => "-01-01",
            7 => "-01",
            _ => "",
        };
        let local = format!("{local}{rest}").parse::<DateTime>().ok()?;
        let since = local.duration_since(EPOCH);
        // jiff gives seconds and nanoseconds of one sign.
        let (seconds, nanos) = (since.as_secs() - offset, since.subsec_nanos());
        match u32::try_from(nanos) {
            Ok(nanos) => Self::new(seconds, nanos),
            Err(_) => Self::new(seconds - 1, u32::try_from(nanos + 1_000_000_000).ok()?),
        }
    }

    /// The RFC 3339 form in UTC; `None` outside the years 0 to 9999, which it cannot write.
    pub fn to_rfc3339(self) -> Option<String> {
        // 0000-01-01T00:00:00Z to 9999-12-31T23:59:59Z
        if !(-62_167_219_200..=253_402_300_799).contains(&self.seconds) {
            return None;
        }
        let since = SignedDuration::new(self.seconds, i32::try_from(self.nanos).ok()?);
        Some(format!("{}Z", EPOCH.checked_add(since).ok()?))
    }

    /// From a float of seconds, to the nearest nanosecond; `None` if it is not finite or too far.
    pub(crate) fn from_seconds_f64(seconds: f64) -> Option<Self> {
        let whole = seconds.floor();
        // The bounds are exact doubles; every double between them converts without loss.
        if !(-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&whole) {
            return None;
        }
        let nanos = ((seconds - whole) * f64::from(NANOS)).round() as u32;
        if nanos == NANOS {
            Self::new((whole as i64).checked_add(1)?, 0)
        } else {
            Self::new(whole as i64, nanos)
        }
    }
}

/// A time without its offset, and that offset in seconds.
fn split_offset(text: &str) -> Option<(&str, i64)> {
    if let Some(local) = text.strip_suffix(['Z', 'z']) {
        return is_local(local).then_some((local, 0));
    }
    if is_local(text) {
        return Some((text, 0));
    }
    let (local, offset) = text.split_at_checked(text.len().checked_sub("+00:00".len())?)?;
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let (hours, minutes) = (hours.parse::<u8>().ok()?, minutes.parse::<u8>().ok()?);
    let seconds = i64::from(hours) * 3600 + i64::from(minutes) * 60;
    let is_possible = hours < 24 && minutes < 60 && is_local(local) && local.contains(':');
    match offset.get(..1)? {
        "+" if is_possible => Some((local, seconds)),
        "-" if is_possible => Some((local, -seconds)),
        _ => None,
    }
}

/// Whether nothing follows the time of day that jiff would read and then ignore.
fn is_local(text: &str) -> bool {
    let time = text
        .split_once(['T', 't', ' '])
        .map_or("", |(_, time)| time);
    time.bytes()
        .all(|c| c.is_ascii_digit() || matches!(c, b':' | b'.'))
        && !text.ends_with(['T', 't', ' '])
}

impl From<SystemTime> for Instant {
    fn from(time: SystemTime) -> Self {
        let seconds = |d: Duration| i64::try_from(d.as_secs()).unwrap_or(i64::MAX);
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self {
                seconds: seconds(after),
                nanos: after.subsec_nanos(),
            },
            Err(before) => {
                let before = before.duration();
                match before.subsec_nanos() {
                    0 => Self {
                        seconds: -seconds(before),
                        nanos: 0,
                    },
                    nanos => Self {
                        seconds: -seconds(before) - 1,
                        nanos: NANOS - nanos,
                    },
                }
            }
        }
    }
}

/// RFC 3339 where it can be written, else seconds and nanoseconds.
impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_rfc3339() {
            Some(text) => f.write_str(&text),
            None => write!(f, "{}s+{}ns", self.seconds, self.nanos),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test")]

    use super::*;

    fn at(seconds: i64, nanos: u32) -> Instant {
        Instant::new(seconds, nanos).unwrap()
    }

    #[test]
    fn the_ends_of_what_rfc_3339_can_write_come_back() {
        for (instant, text) in [
            (at(-62_167_219_200, 0), "0000-01-01T00:00:00Z"),
            (at(-1, 999_999_999), "1969-12-31T23:59:59.999999999Z"),
            (
                at(253_402_300_799, 999_999_999),
                "9999-12-31T23:59:59.999999999Z",
            ),
        ] {
            assert_eq!(instant.to_rfc3339().as_deref(), Some(text));
            assert_eq!(Instant::parse(text), Some(instant));
        }
        assert_eq!(at(-62_167_219_201, 999_999_999).to_rfc3339(), None);
        assert_eq!(at(i64::MAX, 0).to_rfc3339(), None);
    }

    #[test]
    fn offsets_are_taken_off() {
        let noon = Instant::parse("2020-01-01T12:00:00Z");
        assert_eq!(Instant::parse("2020-01-01T14:30:00+02:30"), noon);
        assert_eq!(Instant::parse("2020-01-01T00:00:00.000-12:00"), noon);
        assert_eq!(Instant::parse("2020-01-01t12:00:00z"), noon);
        assert_eq!(Instant::parse("2020-01-01 12:00:00"), noon);
        assert_eq!(Instant::parse("2020-01-01T12:00"), noon);
        assert_eq!(
            Instant::parse("9999-12-31T23:59:59-23:59").map(Instant::to_rfc3339),
            Some(None)
        );
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "Z",
            "now",
            "12:00",
            "2020-02-30",
            "2020-13",
            "20200",
            "2020-01-01T25:00:00Z",
            "2020-01-01T",
            "2020-01-01TZ",
            "2020-01-01T00:00:00ZZ",
            "2020-01-01T00:00:00+0200",
            "2020-01-01T00:00:00+02",
            "2020-01-01T00:00:00+24:00",
            "2020-01-01T00:00:00+02:00Z",
            "2020-01-01T00:00:00+02:00+02:00",
            "2020-01-01T00:00:00[Europe/Berlin]",
            "2020-01-01T00:00:00Z[UTC]",
            "2020-01-01+02:00",
            "é",
        ] {
            assert_eq!(Instant::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_system_time_before_1970_is_rounded_down() {
        let before = UNIX_EPOCH - Duration::new(1, 500_000_000);
        assert_eq!(Instant::from(before), at(-2, 500_000_000));
        assert_eq!(
            Instant::from(UNIX_EPOCH - Duration::from_secs(1)),
            at(-1, 0)
        );
    }

    #[test]
    fn floats_of_seconds_are_taken_to_the_nanosecond() {
        assert_eq!(Instant::from_seconds_f64(-0.25), Some(at(-1, 750_000_000)));
        assert_eq!(Instant::from_seconds_f64(-1e-12), Some(at(0, 0)));
        assert_eq!(Instant::from_seconds_f64(f64::NAN), None);
        assert_eq!(Instant::from_seconds_f64(1e300), None);
    }
}
