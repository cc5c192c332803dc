//! What changes in a store, told as lines of JSON while it happens: `.kfs/events` and `kfs watch`.
//!
//! Every record of the journal, that is every change that was committed, through whatever, gives at
//! least one line with its number, so the numbers have no gap:
//!
//! ```text
//! {"seq":41,"time":"2026-01-02T03:04:05.678901234Z","kind":"start"}
//! {"seq":42,"time":"…","kind":"assoc","origin":"mount","path":"user/:age","key":"[\"user\" :age]","type":"int"}
//! {"seq":43,"time":"…","kind":"rename","origin":"mount","path":"b","key":"[\"b\"]","from":"a","from-key":"[\"a\"]"}
//! ```
//!
//! | field | |
//! |---|---|
//! | `seq` | the number of the record in the journal |
//! | `time` | when it was committed, by the store's clock |
//! | `more` | true in every line of a record but its last one |
//! | `kind` | `assoc` a value was put; `dissoc` it was removed; `rename`, from `from` to `path`; `swap` of both; `write` into a text or bytes; `attrs` attributes only; `snapshot`, `snapshot-drop`; `internal` housekeeping; `start` and `lost`, see below |
//! | `origin` | `mount`; `api`: commands, transactions and the library; `sweep` |
//! | `path` | where, as the mount names it; bytes that are not UTF-8 are U+FFFD here. The root is empty |
//! | `key` | the same as keys: an EDN vector |
//! | `type`, `size` | of what was put: its type; bytes, or entries of a directory |
//! | `link`, `documents` | instead of a path: the content of a file with several names, and the top-level names that hold some |
//! | `name`, `epoch` | of a snapshot: its name and number |
//!
//! What is told is kept in memory, the last 65536 records or 16 MiB of lines, from the first time that
//! anybody asks; before that, nothing is kept and a commit costs nothing more. The first line says so:
//! `start`, with the number of the last record before. Who was there up to record N and reads on has
//! missed nothing if the next line's `seq` is N or N + 1. Otherwise records are not told any more, or
//! were never: `kfs watch --since N` begins with a line of the kind `lost`, `.kfs/events` with one of
//! `start` or `lost` whose `seq` is greater than N. What changed is then to be looked for.
//!
//! Nobody who watches can hold up a writer: a commit notes what it did, with the lock of the store held
//! that it has anyway, and the oldest go if there are too many. Lines are made of it by who reads them.

mod change;
mod line;
mod reader;
mod ring;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use change::Change;
pub use reader::Reader;
use ring::{Pending, Ring};

use crate::snapshot;
use crate::store::{Committed, Observer, Store};
use crate::tree::Time;
use crate::value::Key;

/// The changes of a store.
#[derive(Debug)]
pub struct Events {
    store: Store,
    /// The origin of what comes through the mount.
    mount: u64,
    told: OnceLock<Arc<Told>>,
}

/// What was told.
#[derive(Debug)]
struct Told {
    mount: u64,
    /// The only one that a commit waits for.
    pending: Mutex<Pending>,
    grown: Condvar,
    /// Locked before `pending`, if both are.
    ring: Mutex<Ring>,
    /// The names of the snapshots, by their number.
    snapshots: Mutex<HashMap<u64, String>>,
}

impl Told {
    /// The lines, with those of all that has changed.
    fn lines(&self) -> MutexGuard<'_, Ring> {
        let mut ring = self.ring.lock();
        let (changes, gone) = self.pending.lock().take();
        if let Some(seq) = gone {
            ring.lose(seq);
        }
        let mut snapshots = self.snapshots.lock();
        for change in changes {
            let text = line::lines(&change, self.mount, &mut snapshots);
            ring.push(change.seq, change.time, text);
        }
        ring
    }
}

/// Lines that follow a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Following {
    /// The lines, each with its end.
    pub text: String,
    /// The record that they go up to.
    pub seq: u64,
    /// Whether no more will come.
    pub closed: bool,
}

impl Events {
    /// The changes of a store, nobody having asked yet. `mount` is the origin of what comes through the
    /// mount.
    pub fn new(store: Store, mount: u64) -> Self {
        Self {
            store,
            mount,
            told: OnceLock::new(),
        }
    }

    /// From now on what changes is told.
    fn begin(&self) -> &Told {
        self.told.get_or_init(|| {
            // Without their names, they are told by number.
            let listed = snapshot::list(&self.store).unwrap_or_default();
            let names = listed.into_iter().map(|s| (s.epoch, s.name)).collect();
            let told = Arc::new(Told {
                mount: self.mount,
                pending: Mutex::default(),
                grown: Condvar::new(),
                ring: Mutex::default(),
                snapshots: Mutex::new(names),
            });
            // No lines are made of what is committed meanwhile before this one.
            let mut ring = told.ring.lock();
            let seq = self.store.observe(Arc::clone(&told) as Arc<dyn Observer>);
            let time = Time::now();
            ring.push(seq, time, line::start(seq, time));
            told.pending.lock().begin(seq);
            drop(ring);
            told
        })
    }

    /// How many bytes were told in all, and when last; nothing if nobody has asked yet.
    pub fn told(&self) -> Option<(u64, Time)> {
        let ring = self.told.get()?.lines();
        Some((ring.end(), ring.time()))
    }

    /// Where the file ends now. From now on what changes is told.
    fn end(&self) -> u64 {
        self.begin().lines().end()
    }

    /// A reader of the file. From now on what changes is told.
    pub fn reader(self: &Arc<Self>) -> Reader {
        self.begin();
        Reader::new(Arc::clone(self))
    }

    /// The last record. From now on what changes is told.
    pub fn last(&self) -> u64 {
        self.begin().pending.lock().last()
    }

    /// Waits until there is a record after this one, and gives the last; `None` when no more will come.
    pub fn wait_after(&self, seq: u64) -> Option<u64> {
        let told = self.begin();
        let mut pending = told.pending.lock();
        while pending.last() <= seq && !pending.is_closed() {
            told.grown.wait(&mut pending);
        }
        (!pending.is_closed()).then(|| pending.last())
    }

    /// The lines of the records after one, or of those from now on; waits for some no longer than
    /// `patience`.
    pub fn after(&self, seq: Option<u64>, patience: Duration) -> Following {
        let told = self.begin();
        let give_up = Instant::now().checked_add(patience);
        let seq = seq.unwrap_or_else(|| told.lines().last());
        loop {
            // What comes after this is seen when it is waited for.
            let before = told.pending.lock().last();
            let (text, last) = told.lines().after(seq);
            let mut pending = told.pending.lock();
            if text.is_empty() && pending.last() > before {
                continue;
            }
            let in_time = give_up.is_none_or(|end| Instant::now() < end);
            if !text.is_empty() || pending.is_closed() || !in_time {
                return Following {
                    text,
                    seq: last,
                    closed: pending.is_closed(),
                };
            }
            match give_up {
                Some(end) => drop(told.grown.wait_until(&mut pending, end)),
                None => told.grown.wait(&mut pending),
            }
        }
    }

    /// Frees those who wait: no more will come.
    pub fn close(&self) {
        if let Some(told) = self.told.get() {
            told.pending.lock().close();
            told.grown.notify_all();
        }
    }
}

impl Observer for Told {
    fn committed(&self, commit: &Committed<'_>) {
        self.pending.lock().push(Change::of(commit));
        self.grown.notify_all();
    }

    fn is_in_use(&self, _: &Key) -> bool {
        false
    }
}
