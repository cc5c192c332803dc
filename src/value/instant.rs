//! Points in time, in nanoseconds.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
        let timestamp = match text.parse::<jiff::Timestamp>() {
            Ok(timestamp) => timestamp,
            Err(_) => {
                let rest = match text.len() {
                    4 => "-01-01",
                    7 => "-01",
                    _ => "",
                };
                // A zone name would be read and ignored.
                let local = format!("{text}{rest}").parse::<jiff::civil::DateTime>();
                let local = local.ok().filter(|_| !text.contains('['))?;
                jiff::tz::Offset::UTC.to_timestamp(local).ok()?
            }
        };
        // jiff gives seconds and nanoseconds of one sign.
        let (seconds, nanos) = (timestamp.as_second(), timestamp.subsec_nanosecond());
        if nanos < 0 {
            Self::new(seconds - 1, u32::try_from(nanos + 1_000_000_000).ok()?)
        } else {
            Self::new(seconds, u32::try_from(nanos).ok()?)
        }
    }

    /// The RFC 3339 form in UTC; `None` outside the years 0 to 9999, which it cannot write.
    pub fn to_rfc3339(self) -> Option<String> {
        // 0000-01-01T00:00:00Z ..= 9999-12-30T22:00:00Z, the last that jiff represents whole.
        if !(-62_167_219_200..253_402_207_200).contains(&self.seconds) {
            return None;
        }
        let timestamp = jiff::Timestamp::new(self.seconds, i32::try_from(self.nanos).ok()?).ok()?;
        Some(timestamp.to_string())
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
