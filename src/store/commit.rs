//! Committing a transaction: check, append to the journal, publish.
//!
//! The payload of a journal record is `[2, time, steps]`, with the steps as in [`crate::tree::Op`].
//! Version 1 is the same without [`Op::Write`]. In an encrypted store it is sealed as drawn in
//! [`crate::crypt`].

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::docs::Slot;
use super::hooks::{Hooks, Write};
use super::meters::Call;
use super::record::Doc;
use super::{API, Committed, Store, StoreError, Tx, limits, show_key};
use crate::crypt::Cipher;
use crate::journal::JournalRecord;
use crate::tree::{
    Op, Pager, Presence, Time, TreeError, is_hidden, read_ops, read_time, write_ops, write_time,
};
use crate::value::Key;
use crate::value::cbor::{Reader, Writer};

/// The version of a journal record's payload.
const PAYLOAD: u64 = 2;
/// The versions that can be read.
const KNOWN: std::ops::RangeInclusive<u64> = 1..=PAYLOAD;
/// How often a transaction runs before it gives up.
const ATTEMPTS: usize = 1000;

impl Store {
    /// Runs `f` in a transaction and commits it durably as this handle promises. `f` may run again
    /// when another write comes between.
    ///
    /// # Errors
    /// Those of `f`; of the journal; [`StoreError::Contention`].
    pub fn transact<T>(
        &self,
        f: impl FnMut(&mut Tx<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let (out, seq) = self.time(Call::Commit, || self.run_transaction(API, f))?;
        let mut told = self.telling(seq);
        if self.synced {
            self.sync()?;
        }
        told.succeeded = true;
        Ok(out)
    }

    /// Like [`Store::transact`] for an [origin](super::Observer), without waiting for the disk.
    ///
    /// # Errors
    /// As [`Store::transact`].
    pub fn transact_as<T>(
        &self,
        origin: u64,
        f: impl FnMut(&mut Tx<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let (out, seq) = self.time(Call::Commit, || self.run_transaction(origin, f))?;
        self.telling(seq).succeeded = true;
        Ok(out)
    }

    /// Tells the hooks of a record when it goes, as of one that has failed unless it is said that it
    /// has not: those behind it wait for that, whatever happens.
    fn telling(&self, seq: Option<u64>) -> Telling<'_> {
        Telling {
            hooks: &self.inner.hooks,
            seq,
            succeeded: false,
        }
    }

    fn run_transaction<T>(
        &self,
        origin: u64,
        mut f: impl FnMut(&mut Tx<'_>) -> Result<T, StoreError>,
    ) -> Result<(T, Option<u64>), StoreError> {
        self.check_open()?;
        let mut key = None;
        for _ in 0..ATTEMPTS {
            let mut tx = Tx::new(self);
            let out = match f(&mut tx) {
                Err(_) if tx.torn && !self.unchanged(&tx)? => continue,
                out => out?,
            };
            tx.settle_names()?;
            if tx.ops.is_empty() {
                return Ok((out, None));
            }
            if self.is_read_only() {
                return Err(StoreError::ReadOnly);
            }
            let keys = tx
                .drafts
                .iter()
                .filter(|(key, d)| d.changed && !is_hidden(key));
            if keys.count() > 1 && !self.is_multi_key() {
                return Err(StoreError::NotMultiKey);
            }
            key = tx.ops.first().and_then(|op| op.path().first()).cloned();
            if let Some(seq) = self.commit(origin, &mut tx)? {
                return Ok((out, seq));
            }
            self.inner.meters.conflicts.add(1);
        }
        let key = key.map_or_else(String::new, |k| show_key(&k));
        Err(StoreError::Contention {
            key,
            attempts: ATTEMPTS,
        })
    }

    /// Commits and gives the number of the record that hooks are to be told of; or gives `None` if a
    /// document that was read has another version now.
    fn commit(&self, origin: u64, tx: &mut Tx<'_>) -> Result<Option<Option<u64>>, StoreError> {
        if let Some(fork) = &self.fork {
            return Ok(self.commit_to_fork(fork, tx)?.then_some(None));
        }
        let inner = &self.inner;
        let weight = tx
            .drafts
            .iter()
            .filter(|(_, d)| d.changed)
            .map(|(key, draft)| limits::record(key, draft.entry.as_ref()))
            .sum();
        let room = self.wait_for_room(weight)?;
        // What the journal has little of may take much more in memory until it is folded.
        let in_memory = tx.ops.iter().map(Op::weight).sum();
        let mut payload =
            write_payload(tx.now, &tx.ops, &inner.pager).map_err(|e| self.in_tree(tx, e))?;
        loop {
            // What is in records only cannot change but by a fold, which raises the generation.
            let generation = inner.docs.generation();
            if generation != tx.generation && !self.unchanged(tx)? {
                return Ok(None);
            }
            let mut state = inner.commit.lock();
            let moved = tx
                .drafts
                .iter()
                .any(|(k, d)| inner.docs.unwritten_seq(k).is_some_and(|seq| seq != d.seq));
            // Only after the look at the unwritten versions: a fold that ends in between takes them
            // away, and what others committed would not be seen.
            if inner.docs.generation() != generation {
                continue;
            }
            if moved || !tx.checks.iter().all(|check| check()) {
                return Ok(None);
            }
            let seq = state.next_seq;
            if let Some(last_step) = tx.numbered.take() {
                last_step(tx, seq)?;
                let written = write_payload(tx.now, &tx.ops, &inner.pager);
                payload = written.map_err(|e| self.in_tree(tx, e))?;
            }
            if let Some(journal) = &inner.journal {
                let written = seal_payload(inner.cipher(), seq, &payload)?;
                journal.append(seq, &written)?;
                inner.meters.journal_bytes.add(written.len() as u64);
            }
            if tx.linking {
                inner.links.store(true, Ordering::Release);
            }
            state.next_seq += 1;
            state.records += weight;
            if let Some(moves) = &mut state.moves {
                moves.extend(tx.applier.displaced());
                moves.extend(tx.ops.iter().filter_map(Op::put_with_pages).cloned());
            }
            room.used();
            inner.last_seq.store(seq, Ordering::Release);
            let slots = tx
                .drafts
                .iter_mut()
                .filter(|(_, d)| d.changed)
                .map(|(key, draft)| Slot {
                    key: key.clone(),
                    seq,
                    doc: draft.entry.take().map(|entry| {
                        Arc::new(Doc {
                            entry,
                            last_write: tx.now,
                            seq,
                        })
                    }),
                });
            inner.docs.publish(slots.collect::<Vec<_>>());
            for published in tx.published.drain(..) {
                published();
            }
            let committed = Committed {
                origin,
                seq,
                time: tx.now,
                ops: &tx.ops,
                docs: &inner.docs,
                pager: &inner.pager,
            };
            for observer in inner.observers.read().iter() {
                observer.committed(&committed);
            }
            let write = inner.hooks.any().then(|| {
                let new = |key: &Key| inner.docs.unwritten_doc(key);
                Write::of(self, origin, seq, tx, new)
            });
            let told = write.flatten().map(|write| {
                inner.hooks.queue(write);
                seq
            });
            drop(state);
            self.note_unfolded(payload.len().max(in_memory));
            return Ok(Some(told));
        }
    }

    fn in_tree(&self, tx: &Tx<'_>, e: TreeError) -> StoreError {
        let key = tx.ops.first().and_then(|op| op.path().first()).cloned();
        StoreError::tree(&key.unwrap_or_else(crate::tree::root_key), e)
    }

    /// Whether every document that was read still has the version read.
    fn unchanged(&self, tx: &Tx<'_>) -> Result<bool, StoreError> {
        for (key, draft) in &tx.drafts {
            let (seq, doc) = self.version(key)?;
            // A removal is forgotten once it has been folded.
            if seq != draft.seq && !(draft.absent && doc.is_none()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Makes everything committed before this call survive a power loss.
    ///
    /// # Errors
    /// [`StoreError::Journal`], [`StoreError::Backend`]: then nothing is known to be durable that
    /// was not before, and later calls fail too.
    pub fn sync(&self) -> Result<(), StoreError> {
        let inner = &self.inner;
        self.check_open()?;
        // A private state is nobody's before it is committed.
        if inner.read_only || self.fork.is_some() {
            return Ok(());
        }
        self.time(Call::Sync, || match &inner.journal {
            Some(_) => self.sync_to(inner.last_seq()),
            None => self.fold_now(),
        })
    }

    /// Makes the journal durable up to a record that was committed before.
    pub(super) fn sync_to(&self, seq: u64) -> Result<(), StoreError> {
        // The pages first: a record must not count as durable before what it refers to.
        self.sync_pages()?;
        if let Some(journal) = &self.inner.journal {
            journal.sync_to(seq)?;
        }
        Ok(())
    }
}

/// See [`Store::telling`].
struct Telling<'s> {
    hooks: &'s Hooks,
    seq: Option<u64>,
    succeeded: bool,
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        if let Some(seq) = self.seq {
            self.hooks.settle(seq, self.succeeded);
        }
    }
}

/// A record of the journal, read back.
#[derive(Debug)]
pub(super) struct Replay {
    /// When it was committed.
    pub time: Time,
    /// Its steps.
    pub ops: Vec<Op>,
}

/// The payload of a journal record.
pub(super) fn write_payload(time: Time, ops: &[Op], pager: &Pager) -> Result<Vec<u8>, TreeError> {
    let mut payload = Vec::with_capacity(256);
    let mut w = Writer::new(&mut payload);
    w.array(3);
    w.uint(PAYLOAD);
    write_time(&mut w, time);
    write_ops(&mut w, ops, pager)?;
    Ok(payload)
}

/// The payload of the record `seq` as it stands in the journal, encrypted if there are keys.
pub(super) fn seal_payload<'a>(
    cipher: Option<&Cipher>,
    seq: u64,
    payload: &'a [u8],
) -> Result<Cow<'a, [u8]>, StoreError> {
    let Some(cipher) = cipher else {
        return Ok(Cow::Borrowed(payload));
    };
    let sealed = cipher.seal_record(seq, payload);
    sealed.map(Cow::Owned).map_err(|source| {
        let source = TreeError::malformed(format!("journal record {seq}"), source);
        StoreError::tree(&crate::tree::root_key(), source)
    })
}

/// Reads the payload of a journal record, which is encrypted if there are keys.
pub(super) fn read_payload(
    record: &JournalRecord,
    cipher: Option<&Cipher>,
) -> Result<Replay, TreeError> {
    let opened = cipher.map(|cipher| cipher.open_record(record.seq, &record.payload));
    let opened = opened.transpose();
    let opened = opened.map_err(|error| TreeError::malformed("a journal record", error))?;
    let mut r = Reader::new(opened.as_deref().unwrap_or(&record.payload));
    let fields = r.array()?;
    let version = r.uint()?;
    if !KNOWN.contains(&version) {
        let reason = format!("its version is {version}, and only up to {PAYLOAD} is known here");
        return Err(TreeError::malformed("a journal record", reason));
    }
    if fields != 3 {
        return Err(TreeError::malformed("a journal record", "not three fields"));
    }
    Ok(Replay {
        time: read_time(&mut r)?,
        ops: read_ops(&mut r)?,
    })
}

/// Whether the backend lacks a page that a step refers to.
pub(super) fn misses_page(op: &Op, presence: &mut Presence<'_>) -> Result<bool, StoreError> {
    let Op::Put { entry, path, .. } = op else {
        return Ok(false);
    };
    match presence.check(entry) {
        Ok(()) => Ok(false),
        Err(TreeError::MissingPage { .. }) => Ok(true),
        Err(e) => {
            let key = path.first().cloned().unwrap_or_else(crate::tree::root_key);
            Err(StoreError::tree(&key, e))
        }
    }
}
