//! The store's clock: the machine's, but strictly monotone.

use parking_lot::Mutex;

use crate::tree::Time;

/// Gives stamps that are later than every stamp before.
#[derive(Debug)]
pub struct Clock(Mutex<Time>);

impl Clock {
    /// A clock that goes on after `last`.
    pub fn after(last: Time) -> Self {
        Self(Mutex::new(last))
    }

    /// A new stamp: the time, or just after the last stamp where the machine's clock stands still
    /// or was set back.
    pub fn tick(&self) -> Time {
        let mut last = self.0.lock();
        *last = Time::now().max(last.next());
        *last
    }

    /// The last stamp given.
    pub fn last(&self) -> Time {
        *self.0.lock()
    }

    /// Goes on after `time`, if that is later.
    pub fn at_least(&self, time: Time) {
        let mut last = self.0.lock();
        *last = time.max(*last);
    }
}
