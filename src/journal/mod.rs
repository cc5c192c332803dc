//! Acknowledged operations, in order, until they are folded into pages.
//!
//! A journal is a directory of segment files. Records have consecutive sequence numbers; a
//! segment is named after its first one and holds up to 16 MiB (one record may make it longer).
//!
//! ```text
//! 00000000000000000001.journal:                                 synced:
//!
//!  0       8        12    16           32          40      56   64          0        8       24
//!  +-------+--------+-----+------------+-----------+-------+----+--------   +--------+-------+
//!  | magic | format | 0   | store UUID | first seq | check | 0  | frames …  | synced | check |
//!  | 8 B   | u32: 2 | u32 | 16 B       | u64       | 16 B  | 8 B|           | u64    | 16 B  |
//!  +-------+--------+-----+------------+-----------+-------+----+--------   +--------+-------+
//!
//!  frame, at a multiple of 8:
//!  +-------------+-------+-----+--------+---------+------------+
//!  | payload len | check | seq | synced | payload | 0 to the   |
//!  | u32         | 16 B  | u64 | u64    |         | next 8     |
//!  +-------------+-------+-----+--------+---------+------------+
//! ```
//!
//! Numbers are little-endian. A *check* is the first 16 bytes of BLAKE3, keyed with a key derived
//! from the store's UUID, over everything else in its structure and, for frames, over the
//! segment's first sequence number and the position in the file: a copy of a frame is valid
//! nowhere else. The frames end with 36 zeroes or the end of the file. What follows the zeroes
//! belongs to nothing: a segment of which everything is folded becomes the file `spare`, and the
//! next segment is made of that, because writing over blocks makes a sync much cheaper. In format 1,
//! which is read, too, there are only zeroes.
//!
//! # What a crash leaves
//!
//! An append is one write(2), so it survives the process; [`Journal::sync`] makes it survive a
//! power loss. What a power loss leaves of the records not yet synced is any part of them, so the
//! end may be torn: recovery takes the longest unbroken run of records and drops the rest, which
//! nobody was promised. But each frame says up to which record everything was *synced* when it
//! was written, and the file `synced` says so for the last sync. If a record at or below that mark is
//! missing, this is no torn end but [`JournalError::Damage`], and nothing is dropped.
//!
//! # What a failure leaves
//!
//! An append that failed leaves nothing behind. After a failed sync nobody knows what is on disk,
//! and asking again would get a false "yes" from the kernel: every later append and sync fails
//! until the journal is opened again. Opening writes the records that it found once more, and
//! syncs them, because a page whose writing failed counts as clean.

mod check;
mod error;
pub(crate) mod faults;
mod frame;
mod marks;
mod note;
mod recover;
pub(crate) mod regular;
mod segment;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use uuid::Uuid;

use crate::meter::{Histogram, Times};
pub use check::{Inspection, JournalFlaw, inspect, owner, salvage};
pub use error::JournalError;
use frame::Key;
pub use frame::MAX_PAYLOAD;
use note::Note;
use segment::{Closed, Segment, SegmentFile, sync_dir};

/// What the journal's methods give back.
pub type Result<T, E = JournalError> = std::result::Result<T, E>;

/// A segment of which everything is folded is removed at once, rather than filled up, when it is
/// at least this long.
const RESET_LENGTH: u64 = 1024 * 1024;

/// One operation, as it was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalRecord {
    /// Its sequence number.
    pub seq: u64,
    /// What the store wrote.
    pub payload: Vec<u8>,
}

/// A journal that is open for appending. All methods may be called from any thread.
#[derive(Debug)]
pub struct Journal {
    dir: PathBuf,
    store: Uuid,
    key: Key,
    note: Note,
    writer: Mutex<Writer>,
    /// The last record known to be durable.
    synced: AtomicU64,
    syncing: Mutex<Syncing>,
    synced_more: Condvar,
}

/// What appending changes.
#[derive(Debug)]
struct Writer {
    /// The last record.
    last: u64,
    /// The segment being filled. Made by the first append that needs it.
    current: Option<Segment>,
    /// Full segments, in order.
    closed: Vec<Closed>,
    /// Why nothing can be appended any more.
    failed: Option<String>,
}

/// Whether somebody is syncing for everybody.
#[derive(Debug, Default)]
struct Syncing {
    under_way: bool,
    /// How many times files were synced.
    rounds: u64,
    /// How long each time took.
    took: Histogram,
    failed: Option<String>,
}

/// What a journal holds, before it is opened for appending.
#[derive(Debug)]
pub struct Recovery {
    dir: PathBuf,
    store: Uuid,
    key: Key,
    recovered: recover::Recovered,
}

impl Recovery {
    /// Reads the records after `folded`, changing nothing. There are none where there is no
    /// directory.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn read(dir: &Path, store: &Uuid, folded: u64) -> Result<Self> {
        let key = Key::new(store);
        let recovered = recover::recover(dir, &key, store, folded)?;
        Ok(Self {
            dir: dir.to_owned(),
            store: *store,
            key,
            recovered,
        })
    }

    /// The records after what is folded; the second time, none.
    pub fn take_records(&mut self) -> Vec<JournalRecord> {
        std::mem::take(&mut self.recovered.records)
    }

    /// The last record that was known to be durable when a later one was written. What later
    /// records refer to may have been lost with the power.
    #[must_use]
    pub fn durable(&self) -> u64 {
        self.recovered.durable
    }

    /// Opens the journal for appending after the record `last`; records after it are given up.
    ///
    /// # Errors
    /// A failure of the system.
    pub fn open(mut self, last: u64) -> Result<Journal> {
        create_dir(&self.dir)?;
        self.recovered.cut_after(last);
        let closed = recover::clean(&self.dir, &self.recovered)?;
        let note = Note::new(&self.dir);
        if !closed.is_empty() {
            note.write(&self.key, last);
        }
        Ok(Journal {
            dir: self.dir,
            store: self.store,
            key: self.key,
            note,
            writer: Mutex::new(Writer {
                last,
                current: None,
                closed,
                failed: None,
            }),
            synced: AtomicU64::new(last),
            syncing: Mutex::default(),
            synced_more: Condvar::new(),
        })
    }
}

impl Journal {
    /// Opens the journal in `dir` of the store `store`, of which everything up to and including
    /// `folded` stands in pages; makes the directory if there is none. Gives back the records
    /// after `folded`, all of them durable.
    ///
    /// Segments that hold nothing after `folded` are removed, and so is a torn end.
    ///
    /// # Errors
    /// [`JournalError::Damage`] if a record that was once synced is missing or wrong, or follows
    /// `folded` with a gap; [`JournalError::WrongStore`], [`JournalError::UnknownFormat`], or a
    /// failure of the system.
    pub fn open(dir: &Path, store: &Uuid, folded: u64) -> Result<(Self, Vec<JournalRecord>)> {
        let mut recovery = Recovery::read(dir, store, folded)?;
        let records = recovery.take_records();
        let last = records.last().map_or(folded, |record| record.seq);
        Ok((recovery.open(last)?, records))
    }

    /// Appends the record `seq`, which must follow the last one. When this returns, the record
    /// survives the death of the process.
    ///
    /// # Errors
    /// [`JournalError::Sequence`], [`JournalError::TooLarge`], or a failure of the system, in
    /// which case nothing was appended and the same record may be tried again;
    /// [`JournalError::Failed`] if that is no use.
    pub fn append(&self, seq: u64, payload: &[u8]) -> Result<()> {
        self.append_parts(seq, &[payload])
    }

    /// [`Journal::append`] of a payload that stands in several places.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub fn append_parts(&self, seq: u64, payload: &[&[u8]]) -> Result<()> {
        let size = payload.iter().map(|part| part.len()).sum();
        if size > MAX_PAYLOAD {
            return Err(JournalError::TooLarge {
                size,
                limit: MAX_PAYLOAD,
            });
        }
        let mut writer = self.writer.lock();
        if let Some(reason) = &writer.failed {
            return Err(JournalError::Failed {
                dir: self.dir.clone(),
                reason: reason.clone(),
            });
        }
        if writer.last.checked_add(1) != Some(seq) {
            return Err(JournalError::Sequence {
                last: writer.last,
                seq,
            });
        }
        let synced = self.synced.load(Ordering::Acquire);
        let outcome = self
            .segment_for(&mut writer, seq, size)
            .and_then(|segment| segment.append(&self.key, seq, synced, payload));
        match outcome {
            Ok(()) => writer.last = seq,
            Err(JournalError::Failed { ref reason, .. }) => writer.failed = Some(reason.clone()),
            Err(_) => {}
        }
        outcome
    }

    /// Returns once everything appended before the call is durable. Concurrent callers share the
    /// work, and appending goes on meanwhile.
    ///
    /// # Errors
    /// A failure of the system, and from then on [`JournalError::Failed`].
    pub fn sync(&self) -> Result<()> {
        self.sync_to(self.last())
    }

    /// Returns once everything up to the record `wanted` is durable, and claims no more: what
    /// later records refer to may not be durable yet.
    ///
    /// # Errors
    /// As [`Journal::sync`].
    pub fn sync_to(&self, wanted: u64) -> Result<()> {
        let mut syncing = self.syncing.lock();
        loop {
            if let Some(reason) = &syncing.failed {
                return Err(JournalError::Failed {
                    dir: self.dir.clone(),
                    reason: reason.clone(),
                });
            }
            if self.synced.load(Ordering::Acquire) >= wanted {
                return Ok(());
            }
            if !syncing.under_way {
                break;
            }
            self.synced_more.wait(&mut syncing);
        }
        syncing.under_way = true;
        drop(syncing);

        let begun = Instant::now();
        let outcome = self.sync_files(wanted);

        let mut syncing = self.syncing.lock();
        syncing.took.add(begun.elapsed());
        syncing.under_way = false;
        syncing.rounds += 1;
        if let Err(error) = &outcome {
            syncing.failed = Some(error.to_string());
        }
        drop(syncing);
        self.synced_more.notify_all();
        outcome
    }

    /// Forgets the records up to and including `folded`: segments that hold no later ones are
    /// removed. The pages they were folded into must be durable.
    ///
    /// # Errors
    /// A failure of the system; what could not be removed is tried again the next time.
    pub fn release(&self, folded: u64) -> Result<()> {
        let mut writer = self.writer.lock();
        let folded = folded.min(writer.last);
        let all = folded == writer.last;
        if let Some(segment) = writer
            .current
            .take_if(|s| all && s.length() >= RESET_LENGTH)
        {
            writer.closed.push(segment.close());
        }
        let count = writer
            .closed
            .iter()
            .take_while(|segment| segment.last() <= folded)
            .count();
        let (mut removed, mut outcome) = (0, Ok(()));
        for segment in writer.closed.iter().take(count) {
            outcome = segment.retire(&self.dir);
            if outcome.is_err() {
                break;
            }
            removed += 1;
        }
        writer.closed.drain(..removed);
        if let Some(segment) = &mut writer.current {
            segment.release(folded);
        }
        for segment in &mut writer.closed {
            segment.release(folded);
        }
        drop(writer);
        outcome?;
        if removed == 0 {
            Ok(())
        } else {
            sync_dir(&self.dir)
        }
    }

    /// Gives back the space of the spare segment. The next one that is needed is a fresh one.
    ///
    /// # Errors
    /// A failure of the system.
    pub fn tidy(&self) -> Result<()> {
        let _nobody_takes_it = self.writer.lock();
        segment::remove_spare(&self.dir)
    }

    /// The bytes that the records not yet released take up, to within 64 KiB a segment.
    #[must_use]
    pub fn size(&self) -> u64 {
        let writer = self.writer.lock();
        let current = writer.current.as_ref().map_or(0, Segment::live);
        writer.closed.iter().map(Closed::live).sum::<u64>() + current
    }

    /// The last record's sequence number, or what was folded when the journal was opened.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.writer.lock().last
    }

    /// How many times files were synced.
    #[must_use]
    pub fn sync_rounds(&self) -> u64 {
        self.syncing.lock().rounds
    }

    /// How long each of these times took.
    #[must_use]
    pub fn sync_times(&self) -> Times {
        self.syncing.lock().took.times()
    }

    /// The last record known to survive a power loss.
    #[must_use]
    pub fn synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    /// The segment for a record, a fresh one if the current one is full.
    fn segment_for<'w>(
        &self,
        writer: &'w mut Writer,
        seq: u64,
        payload: usize,
    ) -> Result<&'w mut Segment> {
        if let Some(full) = writer.current.take_if(|segment| !segment.has_room(payload)) {
            writer.closed.push(full.close());
        }
        match writer.current {
            Some(ref mut segment) => Ok(segment),
            None => {
                let segment = Segment::create(&self.dir, &self.key, &self.store, seq)?;
                Ok(writer.current.insert(segment))
            }
        }
    }

    /// Syncs every file that has something unsynced, older ones first, so that at any moment
    /// what is durable is a prefix.
    fn sync_files(&self, wanted: u64) -> Result<()> {
        let mut writer = self.writer.lock();
        let last = writer.last.min(wanted);
        let mut files: Vec<Arc<SegmentFile>> = writer
            .closed
            .iter_mut()
            .filter_map(Closed::take_unsynced)
            .collect();
        files.extend(writer.current.as_ref().map(Segment::file));
        drop(writer);

        let outcome = files.iter().try_for_each(|file| file.sync());
        match outcome {
            Ok(()) => {
                self.synced.fetch_max(last, Ordering::AcqRel);
                self.note.write(&self.key, last);
            }
            Err(ref error) => self.writer.lock().failed = Some(error.to_string()),
        }
        outcome
    }
}

/// Makes the directory, durably, unless it is there.
fn create_dir(dir: &Path) -> Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir).map_err(|source| JournalError::io("create", dir, source))?;
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
        Some(_) => sync_dir(Path::new(".")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
