//! The moment by which a call has to come back.

use std::time::{Duration, Instant};

use super::{BackendError, Operation};

/// The moment by which a call has to come back, with an error if need be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// The deadline at `instant`.
    #[must_use]
    pub fn at(instant: Instant) -> Self {
        Self(instant)
    }

    /// The deadline `duration` from now; a duration beyond the clock's range means 30 years.
    #[must_use]
    pub fn after(duration: Duration) -> Self {
        const LONG: Duration = Duration::from_secs(30 * 365 * 86_400);
        let now = Instant::now();
        Self(now.checked_add(duration.min(LONG)).unwrap_or(now))
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

    /// An error once the deadline has passed.
    ///
    /// # Errors
    /// [`BackendError::Deadline`], naming `operation` and `address`.
    pub fn check(self, operation: Operation, address: &[u8]) -> Result<(), BackendError> {
        if self.expired() {
            return Err(BackendError::Deadline {
                operation,
                address: address.into(),
            });
        }
        Ok(())
    }
}
