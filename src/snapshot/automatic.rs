//! Snapshots that are taken by a timer, and dropped by a policy.
//!
//! One is named `auto-` and the time in UTC by the machine's clock, as `auto-2026-01-31T04:00:00Z`. What
//! has another name is never dropped, nor does it keep anything from being dropped.
//!
//! None is taken while nothing has changed since the last one.
//!
//! The clock may be set meanwhile. A snapshot is due when its time has passed by a clock that is never
//! set, or by the machine's, which goes on while the machine sleeps: so a step forward brings at most one
//! snapshot too early, and a step back none and keeps none back. What stays is decided by the order in
//! which snapshots were taken ([`Retention`]): not by how old they seem to be.

use std::time::{Duration, Instant};

use super::{Retention, Snapshot, SnapshotError, list, remove, take};
use crate::store::{Store, StoreError};
use crate::tree::Time;
use crate::value;

/// What the names begin with.
const PREFIX: &str = "auto-";
/// After a failure it is tried again when so much time has passed.
const AGAIN: Duration = Duration::from_secs(60);
/// Changes looked at at once.
const CHANGES: usize = 64;

/// When snapshots are taken, and which of them stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The time from one to the next, of a second or more.
    pub every: Duration,
    /// Which stay; all of them if it keeps nothing at all.
    pub keep: Retention,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// The snapshot that was taken.
    pub taken: Option<Snapshot>,
    /// The names of those that were dropped.
    pub dropped: Vec<String>,
}

/// Takes snapshots and drops them.
#[derive(Debug)]
pub struct Automatic {
    schedule: Schedule,
    next: Option<Due>,
}

/// When the next one is due.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Due {
    at: Instant,
    by_clock: Time,
}

/// When a snapshot was taken by the machine's clock, if its name is one of those that are given here.
#[must_use]
pub fn time_of(name: &str) -> Option<Time> {
    let time = value::Instant::parse(name.strip_prefix(PREFIX)?)?;
    let time = Time {
        secs: time.seconds(),
        nanos: 0,
    };
    (name_at(time) == name).then_some(time)
}

fn name_at(time: Time) -> String {
    let text = value::Instant::new(time.secs, 0).and_then(value::Instant::to_rfc3339);
    format!("{PREFIX}{}", text.unwrap_or_else(|| time.secs.to_string()))
}

impl Automatic {
    /// Keeps to a schedule from now on.
    #[must_use]
    pub fn new(schedule: Schedule) -> Self {
        Self {
            schedule,
            next: None,
        }
    }

    /// Does what is due at `now`. To be called every few seconds.
    ///
    /// # Errors
    /// What kept a snapshot from being taken or dropped. It is tried again later.
    pub fn turn(&mut self, store: &Store, now: Instant) -> Result<Turn, SnapshotError> {
        let clock = Time::now();
        let is_later = |due: &Due| now < due.at && clock < due.by_clock;
        if self.next.as_ref().is_some_and(is_later) {
            return Ok(Turn::default());
        }
        let mut taken = own(store)?;
        let due = *self
            .next
            .get_or_insert_with(|| first(&self.schedule, taken.last(), now, clock));
        if is_later(&due) {
            return Ok(Turn::default());
        }
        // Set before anything can fail.
        self.next = Some(due.after(self.schedule.every.min(AGAIN), now, clock));
        let mut turn = Turn::default();
        let failed = match take_one(store, taken.last(), clock) {
            Ok(Some(snapshot)) => {
                taken.push(Snapshot {
                    time: clock,
                    ..snapshot.clone()
                });
                turn.taken = Some(snapshot);
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        // Also then: it may have failed for want of space.
        turn.dropped = prune(store, &self.schedule.keep, &taken)?;
        failed?;
        self.next = Some(due.after(self.schedule.every, now, clock));
        Ok(turn)
    }
}

impl Due {
    fn after(self, pause: Duration, now: Instant, clock: Time) -> Self {
        Self {
            at: now.checked_add(pause).unwrap_or(now),
            // It never goes back: a clock that goes to and fro makes nothing due again and again.
            by_clock: later(clock, pause).max(self.by_clock),
        }
    }
}

/// When the first one is due: at once, unless the last one was taken less than the whole time ago. If it
/// seems to come from the future, nobody knows when that was.
fn first(schedule: &Schedule, last: Option<&Snapshot>, now: Instant, clock: Time) -> Due {
    let due = last.map(|last| later(last.time, schedule.every));
    let wait = due.and_then(|due| u64::try_from(due.secs.checked_sub(clock.secs)?).ok());
    let wait = wait.map_or(Duration::ZERO, Duration::from_secs);
    match due {
        Some(due) if wait <= schedule.every => Due {
            at: now.checked_add(wait).unwrap_or(now),
            by_clock: due,
        },
        _ => Due {
            at: now,
            by_clock: clock,
        },
    }
}

fn later(time: Time, by: Duration) -> Time {
    let seconds = i64::try_from(by.as_secs()).unwrap_or(i64::MAX);
    Time {
        secs: time.secs.saturating_add(seconds),
        ..time
    }
}

/// The snapshots that were taken by a timer, in that order, with the times of their names: the store's
/// clock stands still where the machine's was set back.
fn own(store: &Store) -> Result<Vec<Snapshot>, SnapshotError> {
    let all = list(store)?.into_iter();
    let own = all.filter_map(|snapshot| {
        let time = time_of(&snapshot.name)?;
        Some(Snapshot { time, ..snapshot })
    });
    Ok(own.collect())
}

/// Takes a snapshot, if there is something new. Where the clock was set back by whole hours, there may be
/// one of the same second: then this one is named by the next second that is free.
fn take_one(
    store: &Store,
    last: Option<&Snapshot>,
    clock: Time,
) -> Result<Option<Snapshot>, SnapshotError> {
    if let Some(last) = last
        && !has_changed(store, last.epoch)?
    {
        return Ok(None);
    }
    let mut second = Duration::ZERO;
    loop {
        match take(store, &name_at(later(clock, second))) {
            Err(SnapshotError::Store(StoreError::SnapshotExists { .. })) if second < AGAIN => {
                second += Duration::from_secs(1);
            }
            taken => return taken.map(Some),
        }
    }
}

/// Whether anything was written since a snapshot, but for snapshots taken and dropped.
fn has_changed(store: &Store, epoch: u64) -> Result<bool, SnapshotError> {
    let mut after = None;
    loop {
        let (changed, next) = store.changes_after(epoch, None, after.as_deref(), CHANGES)?;
        if !changed.is_empty() {
            return Ok(true);
        }
        after = next;
        if after.is_none() {
            return Ok(false);
        }
    }
}

fn prune(
    store: &Store,
    keep: &Retention,
    taken: &[Snapshot],
) -> Result<Vec<String>, SnapshotError> {
    let mut dropped = Vec::new();
    if keep.is_empty() {
        return Ok(dropped);
    }
    for snapshot in keep.expired(taken) {
        match remove(store, &snapshot.name) {
            Ok(()) => dropped.push(snapshot.name.clone()),
            // Somebody else has dropped it.
            Err(SnapshotError::Store(StoreError::NoSnapshot { .. })) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(dropped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{CreateOptions, Location};
    use crate::tree::SET_FORWARD;
    use crate::value::{Key, Value};

    const HOUR: Duration = Duration::from_secs(3600);

    /// A store with a schedule, and two clocks: one that is never set, and the machine's.
    struct World {
        store: Store,
        automatic: Automatic,
        begun: Instant,
        passed: Duration,
        written: i64,
    }

    impl World {
        fn new(keep: Retention) -> Self {
            SET_FORWARD.set(0);
            let location = Location::parse("mem:").unwrap();
            let mut world = Self {
                store: Store::create(&location, &CreateOptions::default()).unwrap(),
                automatic: Automatic::new(Schedule { every: HOUR, keep }),
                begun: Instant::now(),
                passed: Duration::ZERO,
                written: 0,
            };
            world.write();
            world
        }

        fn write(&mut self) {
            self.written += 1;
            let value = Value::Int(self.written);
            self.store.assoc(&Key::text("a"), &value).unwrap();
        }

        /// Both clocks go on.
        fn pass(&mut self, time: Duration) {
            self.passed += time;
            self.set_clock(i64::try_from(time.as_secs()).unwrap());
        }

        /// The machine's clock is set.
        fn set_clock(&self, seconds: i64) {
            let forward = i64::from(SET_FORWARD.get()) + seconds;
            SET_FORWARD.set(u32::try_from(forward).unwrap());
        }

        /// How many are taken and dropped in this many hours, with a write in each minute.
        fn hours(&mut self, hours: u32) -> (usize, usize) {
            let (mut taken, mut dropped) = (0, 0);
            for _ in 0..hours * 60 {
                self.pass(Duration::from_secs(60));
                self.write();
                let turn = self.turn();
                taken += usize::from(turn.taken.is_some());
                dropped += turn.dropped.len();
            }
            (taken, dropped)
        }

        fn turn(&mut self) -> Turn {
            let now = self.begun + self.passed;
            self.automatic.turn(&self.store, now).unwrap()
        }

        fn restart(&mut self) {
            self.automatic = Automatic::new(self.automatic.schedule);
        }

        fn names(&self) -> Vec<String> {
            let all = list(&self.store).unwrap().into_iter();
            all.map(|snapshot| snapshot.name).collect()
        }
    }

    fn hourly(hourly: u32) -> Retention {
        Retention {
            hourly,
            ..Retention::default()
        }
    }

    #[test]
    fn one_is_taken_at_once_and_then_one_every_hour_if_something_has_changed() {
        let mut w = World::new(Retention::default());
        let name = w.turn().taken.unwrap().name;
        assert!(time_of(&name).is_some(), "{name}");
        assert_eq!(w.turn(), Turn::default());
        assert_eq!(w.hours(5), (5, 0));
        // Nothing has changed: neither now, nor by the taking and dropping of others.
        w.pass(HOUR);
        w.write();
        assert!(w.turn().taken.is_some());
        take(&w.store, "mine").unwrap();
        remove(&w.store, &name).unwrap();
        for _ in 0..3 {
            w.pass(HOUR);
            assert_eq!(w.turn(), Turn::default());
        }
        // What changes then is in one at the next hour, not at once.
        w.write();
        assert_eq!(w.turn(), Turn::default());
        w.pass(HOUR);
        assert!(w.turn().taken.is_some());
    }

    #[test]
    fn those_that_need_not_stay_are_dropped_but_none_that_was_made_by_hand() {
        let mut w = World::new(hourly(3));
        let by_hand = [
            "auto-",
            "auto-2000",
            "auto-2000-01-01",
            "auto-2000-01-01T00:00:00.5Z",
            "auto-2000-01-01T00:00:00+00:00",
            "2000-01-01T00:00:00Z",
            "xauto-2000-01-01T00:00:00Z",
        ];
        for name in by_hand {
            take(&w.store, name).unwrap();
        }
        let (taken, dropped) = w.hours(10);
        // One at the beginning, and one in each hour that follows.
        assert_eq!((taken, dropped), (10, 7));
        assert_eq!(w.names().len(), by_hand.len() + 3);
        assert!(
            by_hand
                .iter()
                .all(|name| w.names().contains(&(*name).to_owned()))
        );
        // Without a policy, all stay.
        w.automatic.schedule.keep = Retention::default();
        assert_eq!(w.hours(10), (10, 0));
    }

    #[test]
    fn a_restart_neither_brings_one_nor_puts_one_off() {
        let mut w = World::new(Retention::default());
        assert!(w.turn().taken.is_some());
        for _ in 0..2 {
            w.pass(Duration::from_secs(1700));
            w.write();
            w.restart();
            assert_eq!(w.turn(), Turn::default());
        }
        w.pass(Duration::from_secs(210));
        assert!(w.turn().taken.is_some());
        w.pass(HOUR * 30);
        w.write();
        w.restart();
        assert!(w.turn().taken.is_some());
    }

    #[test]
    fn a_step_of_the_clock_brings_no_flood_no_gap_and_drops_nothing_too_early() {
        const DAY: i64 = 86_400;
        let mut w = World::new(hourly(24));
        w.set_clock(400 * DAY);
        assert_eq!(w.hours(24), (24, 0));
        let before = w.names();
        // Forward: one too early, and all of the day before that fit stay.
        w.set_clock(365 * DAY);
        w.write();
        assert!(w.turn().taken.is_some());
        assert_eq!(w.names()[..23], before[1..]);
        assert_eq!(w.hours(1).0, 1);
        // Back: the store's own clock stands still for a year. One an hour all the same, and each of
        // the last 24 stays.
        w.set_clock(-365 * DAY);
        assert_eq!(w.turn(), Turn::default());
        assert_eq!(w.hours(12), (12, 12));
        let last = w.names();
        assert_eq!(w.hours(11), (11, 11));
        assert_eq!(w.names()[..13], last[11..]);
        // Back by less: hours that were there before come again, and drop none of the first time.
        w.set_clock(-DAY / 4);
        let last = w.names();
        assert_eq!(w.hours(5), (5, 5));
        assert_eq!(w.names()[..19], last[5..]);
        // To and fro.
        let mut taken = 0;
        for n in 0..180 {
            w.set_clock(if n % 2 == 0 { DAY } else { -DAY });
            w.pass(Duration::from_secs(1200));
            w.write();
            taken += usize::from(w.turn().taken.is_some());
        }
        assert!((60..=62).contains(&taken), "{taken}");
        // Over restarts.
        w.set_clock(-3 * DAY);
        w.restart();
        w.write();
        assert!(w.turn().taken.is_some());
        w.restart();
        w.write();
        assert_eq!(w.turn(), Turn::default());
    }

    #[test]
    fn what_cannot_be_taken_is_tried_again_after_a_while() {
        let mut w = World::new(Retention::default());
        assert!(w.turn().taken.is_some());
        let read_only = w.store.at(w.store.snapshots().unwrap()[0].epoch);
        let store = std::mem::replace(&mut w.store, read_only);
        w.automatic.next = Some(Due {
            at: w.begun,
            by_clock: Time::now(),
        });
        store.assoc(&Key::text("b"), &Value::Nil).unwrap();
        let now = w.begun + w.passed;
        assert!(w.automatic.turn(&w.store, now).is_err());
        assert_eq!(w.turn(), Turn::default());
        w.store = store;
        w.pass(AGAIN);
        assert!(w.turn().taken.is_some());
    }
}
