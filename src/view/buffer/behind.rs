//! Chunks that become pages while the file is written on: hashing, compressing and writing them takes
//! longer than it takes the kernel to bring the next ones.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use parking_lot::{Condvar, Mutex};

use super::{Buffer, CHUNK_LEN, Written};
use crate::backend::{Deadline, Operation};
use crate::store::{Store, StoreError};
use crate::tree::{Folder, PageRef};

/// The thread that makes pages of chunks. It starts with the first of them and ends with this.
#[derive(Debug, Default)]
pub struct Behind {
    jobs: Mutex<Option<SyncSender<Job>>>,
    busy: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Job {
    store: Store,
    batch: Arc<Batch>,
}

/// Chunks of one file that are being made pages of.
#[derive(Debug)]
pub(super) struct Batch {
    chunks: Vec<Chunk>,
    outcome: Mutex<Option<Outcome>>,
    ended: Condvar,
}

/// Its index and its bytes.
type Chunk = (u64, Arc<Vec<u8>>);

/// Pages in the order of the chunks; nothing if they could not be written.
type Outcome = Option<Vec<Arc<PageRef>>>;

impl Behind {
    /// Hands chunks over if the thread has nothing else to do, and there are any.
    fn take(&self, store: &Store, chunks: impl FnOnce() -> Vec<Chunk>) -> Option<Arc<Batch>> {
        if self.busy.swap(true, Ordering::AcqRel) {
            return None;
        }
        let chunks = chunks();
        if chunks.is_empty() {
            self.busy.store(false, Ordering::Release);
            return None;
        }
        let batch = Arc::new(Batch {
            chunks,
            outcome: Mutex::default(),
            ended: Condvar::new(),
        });
        let job = Job {
            store: store.clone(),
            batch: Arc::clone(&batch),
        };
        let mut jobs = self.jobs.lock();
        if jobs.is_none() {
            *jobs = start(Arc::clone(&self.busy));
        }
        let taken = jobs.as_ref().is_some_and(|jobs| jobs.try_send(job).is_ok());
        if !taken {
            // There is no thread, and it stays busy: who writes makes the pages from now on.
            *batch.outcome.lock() = Some(None);
        }
        Some(batch)
    }
}

fn start(busy: Arc<AtomicBool>) -> Option<SyncSender<Job>> {
    let (sender, jobs) = sync_channel::<Job>(1);
    let thread = thread::Builder::new().name("kfs-spill".to_owned());
    let started = thread.spawn(move || {
        for Job { store, batch } in jobs {
            let bytes: Vec<&[u8]> = batch.chunks.iter().map(|(_, b)| b.as_slice()).collect();
            let outcome = match catch_unwind(AssertUnwindSafe(|| pages(&store, &bytes))) {
                Ok(Ok(pages)) => Some(pages),
                Ok(Err(e)) => {
                    tracing::warn!(error = %e, "what was written could not be put into pages; it is tried again");
                    None
                }
                Err(_) => {
                    tracing::error!("a bug: putting what was written into pages panicked");
                    None
                }
            };
            // Who waits may be about to close the store.
            drop(store);
            busy.store(false, Ordering::Release);
            *batch.outcome.lock() = Some(outcome);
            batch.ended.notify_all();
        }
    });
    started.is_ok().then_some(sender)
}

/// Puts chunks into pages that nothing refers to yet.
fn pages(store: &Store, chunks: &[&[u8]]) -> Result<Vec<Arc<PageRef>>, StoreError> {
    let fail = |e| StoreError::tree(&crate::tree::root_key(), e);
    let mut folder = Folder::new(store.pager(), store.last_seq());
    let pages = folder.chunks(chunks).map_err(fail)?;
    store.write_pages(folder.finish())?;
    Ok(pages)
}

impl Batch {
    fn is_over(&self) -> bool {
        self.outcome.lock().is_some()
    }

    /// Waits until it is over, as long as the operation may.
    fn wait(&self) -> Result<(), StoreError> {
        let deadline = Deadline::of_operation();
        let mut outcome = self.outcome.lock();
        while outcome.is_none() {
            deadline.check(Operation::Apply, b"")?;
            self.ended.wait_until(&mut outcome, deadline.glance());
        }
        Ok(())
    }

    /// Bytes of them.
    pub(super) fn len(&self) -> u64 {
        self.chunks.len() as u64 * CHUNK_LEN
    }
}

impl Buffer {
    /// Puts written chunks into pages that nothing refers to yet, to free their memory.
    ///
    /// # Errors
    /// Those of the store; the chunks stay in memory then.
    pub fn spill(&mut self, store: &Store) -> Result<(), StoreError> {
        self.settle()?;
        let in_memory = self
            .written
            .iter()
            .filter_map(|(index, written)| match written {
                Written::Memory(bytes) if !bytes.is_empty() => Some((*index, bytes.as_slice())),
                _ => None,
            });
        let (indexes, chunks): (Vec<u64>, Vec<&[u8]>) = in_memory.unzip();
        let pages = pages(store, &chunks)?;
        for (index, page) in indexes.into_iter().zip(pages) {
            self.set(index, Written::Page(page));
        }
        Ok(())
    }

    /// The same, but leaves it to `behind` if that has nothing else to do. A chunk in whose middle
    /// the writer may be stays then.
    ///
    /// # Errors
    /// As [`Buffer::spill`].
    pub fn spill_behind(&mut self, store: &Store, behind: &Behind) -> Result<(), StoreError> {
        self.settle()?;
        match behind.take(store, || self.full_chunks()) {
            Some(batch) => self.leaving = Some(batch),
            None => self.spill(store)?,
        }
        Ok(())
    }

    fn full_chunks(&mut self) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        for (index, written) in &mut self.written {
            if let Written::Memory(bytes) = written
                && bytes.len() as u64 == CHUNK_LEN
            {
                let bytes = Arc::new(std::mem::take(bytes));
                self.unsaved -= CHUNK_LEN;
                *written = Written::Leaving(Arc::clone(&bytes));
                chunks.push((*index, bytes));
            }
        }
        chunks
    }

    /// Takes the pages of chunks that have become some, if they have.
    pub fn settle_if_over(&mut self) {
        if self.leaving.as_ref().is_some_and(|batch| batch.is_over()) {
            // It does not wait, so it cannot fail.
            let _ = self.settle();
        }
    }

    /// Waits for chunks that are becoming pages. Those that could not be written are in memory again.
    fn settle(&mut self) -> Result<(), StoreError> {
        let Some(batch) = &self.leaving else {
            return Ok(());
        };
        batch.wait()?;
        let Some(batch) = self.leaving.take() else {
            return Ok(());
        };
        let outcome = batch.outcome.lock();
        let mut pages = outcome.iter().flatten().flatten();
        for (index, bytes) in &batch.chunks {
            let page = pages.next();
            // It may have been written over, or cut off.
            let written = match self.written.get(index) {
                Some(Written::Leaving(left)) if Arc::ptr_eq(left, bytes) => match page {
                    Some(page) => Written::Page(Arc::clone(page)),
                    None => Written::Memory(bytes.to_vec()),
                },
                _ => continue,
            };
            self.set(*index, written);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;
    use crate::backend::faulty::{Faults, Faulty};
    use crate::backend::memory::Memory;

    #[test]
    fn nothing_is_lost_whatever_becomes_of_the_pages() {
        let faults = [
            ("nothing", Faults::default()),
            (
                "an error",
                Faults {
                    error: 1000,
                    ..Faults::default()
                },
            ),
            (
                "a full disk",
                Faults {
                    no_space: 1000,
                    ..Faults::default()
                },
            ),
            (
                "a panic",
                Faults {
                    panic: 1000,
                    ..Faults::default()
                },
            ),
            (
                "a delay",
                Faults {
                    delay: 1000,
                    longest_delay: Duration::from_millis(20),
                    ..Faults::default()
                },
            ),
        ];
        for (what, faults) in faults {
            let backend = Arc::new(Faulty::new(Arc::new(Memory::new()), Faults::default()));
            let store = Store::over(Arc::clone(&backend) as _, Uuid::from_u128(1)).unwrap();
            let store = std::mem::ManuallyDrop::new(store.unsynced());
            let (pager, behind) = (store.pager(), Behind::default());
            let mut buffer = Buffer::empty();
            let mut model: Vec<u8> = (0..10 * CHUNK_LEN + 5).map(|n| (n / 7) as u8).collect();
            buffer.write(0, &model, pager).unwrap();

            backend.set_faults(faults);
            buffer.spill_behind(&store, &behind).unwrap();
            let all = model.len() as u64;
            assert_eq!(buffer.unsaved(), all, "{what}: it is not on its way");
            assert_eq!(
                buffer.staying(),
                5,
                "{what}: what is not full is left alone"
            );
            // Written over, and cut off, while they leave.
            let at = 3 * CHUNK_LEN + 9;
            buffer.write(at, b"new", pager).unwrap();
            model[at as usize..][..3].copy_from_slice(b"new");
            buffer.truncate(9 * CHUNK_LEN + 1, pager).unwrap();
            model.truncate(9 * CHUNK_LEN as usize + 1);
            while buffer.leaving.is_some() {
                buffer.settle_if_over();
            }

            let fails = !matches!(what, "nothing" | "a delay");
            let pages = buffer.written.values();
            let pages = pages.filter(|w| matches!(w, Written::Page(_))).count();
            assert_eq!(pages, if fails { 0 } else { 8 }, "{what}");
            backend.set_faults(Faults::default());
            assert!(buffer.read_all(pager).unwrap() == model, "{what}");
            buffer.spill(&store).unwrap();
            assert_eq!(buffer.unsaved(), 0, "{what}");
            assert!(buffer.read_all(pager).unwrap() == model, "{what}");
        }
    }

    #[test]
    fn who_finds_it_busy_makes_the_pages_itself() {
        let store = Store::over(Arc::new(Memory::new()), Uuid::from_u128(1)).unwrap();
        let store = std::mem::ManuallyDrop::new(store.unsynced());
        let (pager, behind) = (store.pager(), Behind::default());
        behind.busy.store(true, Ordering::Release);
        let mut buffer = Buffer::empty();
        buffer
            .write(0, &[1; 2 * CHUNK_LEN as usize], pager)
            .unwrap();
        buffer.spill_behind(&store, &behind).unwrap();
        assert!(buffer.leaving.is_none());
        assert_eq!(buffer.unsaved(), 0);
        assert_eq!(buffer.read(0, 3, pager).unwrap(), [1; 3]);
    }
}
