//! How long snapshots are kept.

use std::collections::BTreeSet;

use super::Snapshot;

/// How many snapshots stay: of each of the last so many hours, days and so on that have any, the
/// newest one. Times are UTC; a week begins on Monday.
///
/// Hours without a snapshot do not count, so nothing goes because a clock was set forward. Where it was
/// set back, the same hour comes twice, and counts twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// The newest, whenever they were taken.
    pub last: u32,
    /// Of hours.
    pub hourly: u32,
    /// Of days.
    pub daily: u32,
    /// Of weeks.
    pub weekly: u32,
    /// Of months.
    pub monthly: u32,
    /// Of years.
    pub yearly: u32,
}

impl Retention {
    /// Whether it keeps nothing at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The snapshots that do not stay, the oldest first. `snapshots` are in the order in which they
    /// were taken.
    #[must_use]
    pub fn expired<'s>(&self, snapshots: &'s [Snapshot]) -> Vec<&'s Snapshot> {
        let periods: [(u32, Period); 6] = [
            (self.last, |s| i64::try_from(s.epoch).unwrap_or(i64::MAX)),
            (self.hourly, |s| s.time.secs.div_euclid(3600)),
            (self.daily, day),
            // 1970 began on a Thursday.
            (self.weekly, |s| (day(s) + 3).div_euclid(7)),
            (self.monthly, |s| month(day(s))),
            (self.yearly, |s| month(day(s)).div_euclid(12)),
        ];
        let mut stay = BTreeSet::new();
        for (count, period) in periods {
            let (mut seen, mut current) = (0, None);
            for snapshot in snapshots.iter().rev() {
                if current.replace(period(snapshot)) == Some(period(snapshot)) {
                    continue;
                }
                if seen >= count {
                    break;
                }
                seen += 1;
                stay.insert(snapshot.epoch);
            }
        }
        let gone = |snapshot: &&Snapshot| !stay.contains(&snapshot.epoch);
        snapshots.iter().filter(gone).collect()
    }
}

/// The number of the period that a snapshot was taken in.
type Period = fn(&Snapshot) -> i64;

fn day(snapshot: &Snapshot) -> i64 {
    snapshot.time.secs.div_euclid(86_400)
}

/// The months from year 0 to a day after 1970-01-01 (the algorithm of Howard Hinnant's
/// `civil_from_days`).
fn month(day: i64) -> i64 {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    // Years begin in March there.
    let since_march = (5 * of_year + 2) / 153;
    (year + era * 400) * 12 + since_march + 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Time;
    use crate::value::Instant;

    fn at(n: usize, text: &str) -> Snapshot {
        let time = Instant::parse(text).unwrap();
        Snapshot {
            name: text.to_owned(),
            time: Time {
                secs: time.seconds(),
                nanos: 0,
            },
            epoch: n as u64 + 1,
        }
    }

    fn kept(retention: Retention, times: &[&str]) -> Vec<String> {
        let snapshots: Vec<_> = times.iter().enumerate().map(|(n, t)| at(n, t)).collect();
        let expired = retention.expired(&snapshots);
        let stays = snapshots.iter().filter(|s| !expired.contains(s));
        stays.map(|s| s.name.clone()).collect()
    }

    const TIMES: &[&str] = &[
        "2024-02-29T23:59:59Z",
        "2024-12-31T12:00:00Z",
        "2025-01-01T00:00:00Z",
        "2025-01-05T10:00:00Z",
        "2025-01-06T10:00:00Z",
        "2025-01-06T10:59:00Z",
        "2025-01-06T11:00:00Z",
    ];

    #[test]
    fn of_each_period_the_newest_snapshot_stays() {
        let none = Retention::default();
        assert!(none.is_empty() && kept(none, TIMES).is_empty());
        let case = |retention, expected: &[&str]| assert_eq!(kept(retention, TIMES), expected);
        case(Retention { last: 2, ..none }, &TIMES[5..]);
        case(Retention { hourly: 2, ..none }, &TIMES[5..]);
        case(Retention { daily: 2, ..none }, &[TIMES[3], TIMES[6]]);
        // The 5th of January 2025 was a Sunday.
        case(Retention { weekly: 2, ..none }, &[TIMES[3], TIMES[6]]);
        case(Retention { monthly: 2, ..none }, &[TIMES[1], TIMES[6]]);
        case(
            Retention { monthly: 9, ..none },
            &[TIMES[0], TIMES[1], TIMES[6]],
        );
        case(Retention { yearly: 9, ..none }, &[TIMES[1], TIMES[6]]);
        case(
            Retention {
                hourly: 1,
                yearly: 2,
                ..none
            },
            &[TIMES[1], TIMES[6]],
        );
    }
}
