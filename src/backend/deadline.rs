//! The moment by which a call has to come back.
//!
//! Below one operation of a user there may be many calls. [`Patience`] bounds all of them together,
//! and says whether anybody still waits.

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use super::{BackendError, Operation};

/// How long a waiting call goes on without asking whether anybody still waits for it.
const GLANCE: Duration = Duration::from_millis(50);

thread_local! {
    static PATIENCE: Cell<Option<Patience>> = const { Cell::new(None) };
}

/// What bounds an operation of a user, on the thread that does it: every deadline that is made
/// meanwhile is at most its end.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    end: Instant,
    who: u32,
    abandoned: fn(who: u32) -> bool,
}

impl Patience {
    /// Patience until `end`; none any more once `abandoned` gives true for `who` waits. It is asked
    /// while a call waits, several times a second.
    #[must_use]
    pub fn until(end: Instant, who: u32, abandoned: fn(who: u32) -> bool) -> Self {
        Self {
            end,
            who,
            abandoned,
        }
    }

    /// Runs `f` with this patience on this thread.
    pub fn bound<T>(self, f: impl FnOnce() -> T) -> T {
        struct Back(Option<Patience>);
        impl Drop for Back {
            fn drop(&mut self) {
                PATIENCE.set(self.0);
            }
        }
        let _back = Back(PATIENCE.replace(Some(self)));
        f()
    }

    fn current() -> Option<Self> {
        PATIENCE.get()
    }
}

/// The moment by which a call has to come back, with an error if need be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

/// What stands for "never".
const LONG: Duration = Duration::from_secs(30 * 365 * 86_400);

impl Deadline {
    /// The end of the [`Patience`] that bounds this thread; 30 years if nothing does.
    #[must_use]
    pub fn of_operation() -> Self {
        Self::after(LONG)
    }

    /// The deadline at `instant`.
    #[must_use]
    pub fn at(instant: Instant) -> Self {
        Self(instant)
    }

    /// The deadline `duration` from now, or the end of the [`Patience`] that bounds this thread; a
    /// duration beyond the clock's range means 30 years.
    #[must_use]
    pub fn after(duration: Duration) -> Self {
        let now = Instant::now();
        let own = now.checked_add(duration.min(LONG)).unwrap_or(now);
        Self(Patience::current().map_or(own, |patience| patience.end.min(own)))
    }

    /// Waits for `duration`. Whoever waits within a call of a backend waits like this, or asks
    /// [`Deadline::check`] from time to time.
    ///
    /// # Errors
    /// As [`Deadline::check`], as soon as one of them holds.
    pub fn wait(
        self,
        duration: Duration,
        operation: Operation,
        address: &[u8],
    ) -> Result<(), BackendError> {
        let end = Instant::now().checked_add(duration);
        loop {
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(());
            }
            thread::sleep(GLANCE.min(left.unwrap_or(GLANCE)).min(self.remaining()));
            self.check(operation, address)?;
        }
    }

    /// Locks a mutex whose holder may take long.
    ///
    /// # Errors
    /// As [`Deadline::check`], as soon as one of them holds.
    pub fn lock<'m, T>(
        self,
        mutex: &'m Mutex<T>,
        operation: Operation,
        address: &[u8],
    ) -> Result<MutexGuard<'m, T>, BackendError> {
        loop {
            if let Some(guard) = mutex.try_lock_until(self.glance()) {
                return Ok(guard);
            }
            self.check(operation, address)?;
        }
    }

    /// Until when to wait before the next [`Deadline::check`].
    #[must_use]
    pub fn glance(self) -> Instant {
        let now = Instant::now();
        now.checked_add(GLANCE).unwrap_or(now).min(self.0)
    }

    /// The moment itself.
    #[must_use]
    pub fn instant(self) -> Instant {
        self.0
    }

    /// Whether it has passed.
    #[must_use]
    pub fn expired(self) -> bool {
        Instant::now() >= self.0
    }

    /// How long is left; zero once it has passed.
    #[must_use]
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// An error once the deadline has passed, or nobody waits any more.
    ///
    /// # Errors
    /// [`BackendError::Deadline`], [`BackendError::Abandoned`], naming `operation` and `address`.
    pub fn check(self, operation: Operation, address: &[u8]) -> Result<(), BackendError> {
        if self.expired() {
            return Err(BackendError::Deadline {
                operation,
                address: address.into(),
            });
        }
        if Patience::current().is_some_and(|patience| (patience.abandoned)(patience.who)) {
            return Err(BackendError::Abandoned {
                operation,
                address: address.into(),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(duration: Duration) -> Result<(), BackendError> {
        Deadline::after(LONG).wait(duration, Operation::Get, b"a")
    }

    #[test]
    fn what_is_over_in_time_is_no_error() {
        assert!(wait(Duration::from_millis(1)).is_ok());
    }

    #[test]
    fn an_operation_ends_all_of_its_calls() {
        let end = Instant::now() + Duration::from_millis(10);
        let waited = Patience::until(end, 0, |_| false).bound(|| wait(LONG));
        assert!(matches!(waited, Err(BackendError::Deadline { .. })));
        assert!(Deadline::after(LONG).instant() > end, "it is over");
    }

    #[test]
    fn what_nobody_waits_for_is_given_up() {
        thread_local! {
            static ASKED: Cell<u32> = const { Cell::new(0) };
        }
        let end = Instant::now() + LONG;
        let gone = |who| ASKED.replace(ASKED.get() + 1) == who;
        let waited = Patience::until(end, 2, gone).bound(|| wait(LONG));
        assert!(matches!(waited, Err(BackendError::Abandoned { .. })));
        assert_eq!(ASKED.get(), 3);
    }
}
