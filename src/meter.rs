//! Counting what happens and how long it takes.
//!
//! A count is one addition to an atomic, a time is three: no lock, no allocation, about 10 ns beside the
//! 50 ns of asking the clock twice. Numbers of different counters are not of one moment.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How many times of a [`Histogram`] have a limit; what took longer is in one more.
pub const LIMITS: usize = 22;
/// The lowest limit is 2 to this power of nanoseconds, 4.096 µs; each further one is twice as long,
/// up to 8.6 s.
const LOWEST: u32 = 12;

/// Something that is counted.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts this many more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Notes a number that is not counted but known.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// How many there were.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How long something took, each time.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [AtomicU64; LIMITS + 1],
    nanos: AtomicU64,
}

/// What a [`Histogram`] has counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Times {
    /// How many took no longer than each limit, but longer than the one before; then, how many took
    /// longer than all.
    pub counts: [u64; LIMITS + 1],
    /// How long all took together, in seconds.
    pub seconds: f64,
}

/// A limit of a [`Histogram`], in seconds.
#[must_use]
pub fn limit(index: usize) -> f64 {
    let power = LOWEST + u32::try_from(index).unwrap_or(u32::MAX).min(40);
    Duration::from_nanos(1 << power).as_secs_f64()
}

impl Histogram {
    /// Something took this long.
    pub fn add(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let power = u64::BITS - nanos.saturating_sub(1).leading_zeros();
        let index = (power.saturating_sub(LOWEST) as usize).min(LIMITS);
        if let Some(count) = self.counts.get(index) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// What was counted until now.
    #[must_use]
    pub fn times(&self) -> Times {
        let nanos = self.nanos.load(Ordering::Relaxed);
        Times {
            counts: std::array::from_fn(|at| {
                let count = self.counts.get(at);
                count.map_or(0, |count| count.load(Ordering::Relaxed))
            }),
            seconds: Duration::from_nanos(nanos).as_secs_f64(),
        }
    }
}

impl Times {
    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// A limit in seconds that this part of all, between 0 and 1, did not exceed; `None` if there were
    /// none, or if some of them exceeded all limits.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "a part of the whole need not be exact beyond 2^53"
    )]
    pub fn quantile(&self, part: f64) -> Option<f64> {
        let wanted = self.count() as f64 * part;
        let mut sum = 0;
        let index = self.counts.iter().position(|count| {
            sum += count;
            sum > 0 && sum as f64 >= wanted
        })?;
        (index < LIMITS).then(|| limit(index))
    }
}

/// Operations of one kind.
#[derive(Debug, Default)]
pub struct Timed {
    /// How long each took.
    pub took: Histogram,
    /// How many of them failed.
    pub failed: Counter,
}

impl Timed {
    /// Notes an operation that began at `begun` and ends now.
    pub fn add(&self, begun: Instant, failed: bool) {
        self.took.add(begun.elapsed());
        if failed {
            self.failed.add(1);
        }
    }
}

/// Operations of several kinds, by name.
#[derive(Debug)]
pub struct Group {
    names: &'static [&'static str],
    timed: Box<[Timed]>,
}

impl Group {
    /// None of them has happened.
    #[must_use]
    pub fn new(names: &'static [&'static str]) -> Self {
        let timed = names.iter().map(|_| Timed::default()).collect();
        Self { names, timed }
    }

    /// Notes that the operation with this place among the names began at `begun` and ends now.
    pub fn add(&self, index: usize, begun: Instant, failed: bool) {
        if let Some(timed) = self.timed.get(index) {
            timed.add(begun, failed);
        }
    }

    /// All of them with their names.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Timed)> {
        self.names.iter().copied().zip(&self.timed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(nanos: &[u64]) -> Times {
        let histogram = Histogram::default();
        for nanos in nanos {
            histogram.add(Duration::from_nanos(*nanos));
        }
        histogram.times()
    }

    #[test]
    fn a_time_is_counted_at_the_first_limit_that_it_does_not_exceed() {
        for index in 0..LIMITS {
            let nanos = 4096 << index;
            assert!((limit(index) * 1e9 - nanos as f64).abs() < 0.5);
            let at = |nanos| of(&[nanos]).counts.iter().position(|n| *n == 1);
            assert_eq!(at(nanos), Some(index));
            assert_eq!(at(nanos + 1), Some(index + 1));
        }
        for small in [0, 1, 2, 4095] {
            assert_eq!(of(&[small]).counts[0], 1, "{small}");
        }
        assert_eq!(of(&[u64::MAX]).counts[LIMITS], 1);
    }

    #[test]
    fn sums_and_quantiles() {
        let times = of(&[5_000, 6_000, 7_000, 1_000_000_000]);
        assert_eq!(times.count(), 4);
        assert!((times.seconds - 1.000_018).abs() < 1e-9);
        assert_eq!(times.quantile(0.5), Some(limit(1)));
        assert_eq!(times.quantile(0.99), Some(limit(18)));
        assert_eq!(times.quantile(0.0), Some(limit(1)));
        assert_eq!(of(&[]).quantile(0.5), None);
        assert_eq!(of(&[u64::MAX]).quantile(0.5), None);
    }

    #[test]
    fn a_group_counts_by_name() {
        let group = Group::new(&["get", "put"]);
        group.add(1, Instant::now(), true);
        group.add(1, Instant::now(), false);
        group.add(2, Instant::now(), false);
        let counted: Vec<_> = group
            .iter()
            .map(|(name, timed)| (name, timed.took.times().count(), timed.failed.get()))
            .collect();
        assert_eq!(counted, [("get", 0, 0), ("put", 2, 1)]);
    }
}
