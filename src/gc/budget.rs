//! How much of the machine a round may take.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::GcError;
use crate::backend::metered::read_by_this_thread;

/// A round that is ahead of its budget by less goes on.
const NAP: Duration = Duration::from_millis(10);
/// How often a round that pauses looks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);

/// What a round may take while others work, on the average since it began. It has one thread, which does
/// one thing after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Bytes read in a second; `None`: any.
    pub read: Option<u64>,
    /// It pauses for so many times as long as it works: with 1, it has at most half of a CPU and of what
    /// the disk can do for one who asks for one thing after the other.
    pub rest: u32,
}

impl Budget {
    /// That of the rounds that a daemon makes by itself: 64 MiB/s, half of the time.
    pub const ASIDE: Self = Self {
        read: Some(64 << 20),
        rest: 1,
    };

    /// How long it should have taken until now to read so much and to work so long.
    fn due(&self, read: u64, worked: Duration) -> Duration {
        let rate = self.read.unwrap_or(0);
        let micros = u128::from(read) * 1_000_000;
        let micros = micros.checked_div(u128::from(rate)).unwrap_or(0);
        let reading = Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
        reading.max(worked.saturating_mul(self.rest.saturating_add(1)))
    }
}

/// Keeps a round within its budget.
#[derive(Debug)]
pub(super) struct Throttle<'a> {
    budget: Budget,
    stop: &'a AtomicBool,
    began: Instant,
    read_before: u64,
    paused: Duration,
}

impl<'a> Throttle<'a> {
    /// The work of this thread counts from now on.
    pub(super) fn new(budget: Budget, stop: &'a AtomicBool) -> Self {
        Self {
            budget,
            stop,
            began: Instant::now(),
            read_before: read_by_this_thread(),
            paused: Duration::ZERO,
        }
    }

    /// Waits until the budget allows for more. To be called after each small piece of work, with no
    /// lock held.
    ///
    /// # Errors
    /// [`GcError::Stopped`].
    pub(super) fn pause(&mut self) -> Result<(), GcError> {
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(GcError::Stopped);
            }
            let passed = self.began.elapsed();
            let read = read_by_this_thread().saturating_sub(self.read_before);
            let due = self.budget.due(read, passed.saturating_sub(self.paused));
            let ahead = due.saturating_sub(passed);
            if ahead <= NAP {
                return Ok(());
            }
            let begun = Instant::now();
            thread::sleep(ahead.min(LOOK));
            self.paused += begun.elapsed();
        }
    }

    /// How long the round has taken.
    pub(super) fn passed(&self) -> Duration {
        self.began.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_kept_by_what_takes_longer() {
        let second = Duration::from_secs(1);
        let budget = Budget {
            read: Some(1000),
            rest: 3,
        };
        assert_eq!(budget.due(0, Duration::ZERO), Duration::ZERO);
        assert_eq!(budget.due(5000, second), second * 5);
        assert_eq!(budget.due(3000, second), second * 4);
        assert_eq!(Budget::default().due(u64::MAX, second), second);
        // It has worked for a second and rested for three: nothing more is due.
        assert_eq!(
            budget.due(3000, second).saturating_sub(second * 4),
            Duration::ZERO
        );
        assert_eq!(Budget::ASIDE.due(128 << 20, second / 2), second * 2);
    }

    #[test]
    fn who_works_is_made_to_rest() {
        let never = AtomicBool::new(false);
        let budget = Budget {
            read: None,
            rest: 4,
        };
        let mut throttle = Throttle::new(budget, &never);
        for _ in 0..5 {
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_millis(10) {}
            throttle.pause().unwrap();
        }
        // 50 ms and more of work, and but for a nap four times as much rest.
        let rest = throttle.paused + NAP;
        assert!(rest >= Duration::from_millis(4 * 50), "{throttle:?}");
        never.store(true, Ordering::Relaxed);
        assert!(matches!(throttle.pause(), Err(GcError::Stopped)));
    }
}
