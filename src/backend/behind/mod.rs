//! Writing behind: a storage, the back, with a queue of writes on another disk before it.
//!
//! A write is done when it is in the queue, and goes on to the back a little later. It is for a back
//! that is slow, far away or not always there, beside a disk that is none of these.
//!
//! ```text
//! DIR/log/       the queue: a journal, whose records are drawn in `log::record`; one record is one
//!                write, or all writes of a batch
//! DIR/applied    up to which record everything is in the back, for good: drawn in `number`
//! ```
//!
//! ```text
//!   put, delete, apply                        get, list
//!         |  append (write(2))                    |   what waits, and below it the back
//!         v                                       v
//!   +-----------+-----------+-----------+-----------+
//!   | record 12 | record 11 | record 10 | record 9  |  ->  one batch  ->  back, sync, `applied` = 10
//!   +-----------+-----------+-----------+-----------+
//!     in the log and in memory            \_ a portion _/
//! ```
//!
//! The format is that of the journal and of its records, which have versions; of another one nothing is
//! taken.
//!
//! # What holds
//!
//! * **Acknowledged is queued.** A write that returned is one record of the log, so it survives the
//!   process; [`sync`](Backend::sync) syncs the log, which is all that makes it durable: it says nothing
//!   of the back. Opening reads the log again, and reads find in it what waits, before they ask the back.
//! * **In order.** The back gets the records in the order of the log, each only once it is durable in
//!   the log, and is synced before the log forgets them. Where the back does batches, the records of
//!   a portion (8 MiB) go there as one, of which only the last write of each address is sent: what a
//!   crash leaves in the back is always what it was after some record. Elsewhere the writes go one by
//!   one, and a crash may leave a part of a batch there, which the log has whole.
//! * **Bounded.** Up to [`Bound`] bytes wait, in memory and in the log alike. Then writers wait until the
//!   back has taken some, and fail at their deadline with what it failed with.
//! * **A back that fails** is tried again, at first after a second, at most every 64. What is in the queue
//!   stays there, and it can be read; what is in the back only cannot be.
//! * **Judged by both.** Preconditions are judged against what waits and, for what does not, the back.
//!   Batches and preconditions are possible whatever the back can do. The version of a blob is that of its
//!   content: the back must be one that assigns none, and nobody else may write to it.
//!
//! What waits is only here: who opens the back without it sees an older state, and must not write to it.
//! To keep them from that is the business of who opens both.

mod carry;
mod ops;
mod queue;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use uuid::Uuid;

use super::log::{applied, from_log, record};
use super::replace::sync_dir;
use super::{Backend, BackendError, Deadline, Operation, Result};
use crate::journal::{Journal, JournalRecord, Recovery};
use carry::{Carrier, Shared};
use queue::Queue;

/// The directory of the log in that of the queue.
pub const LOG_DIR: &str = "log";

/// How much may wait, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound(pub u64);

impl Default for Bound {
    fn default() -> Self {
        Self(64 * 1024 * 1024)
    }
}

/// When writes go on to the back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrying {
    /// A second after the first of them, or when much has come together; on a thread.
    InBackground,
    /// When [`Behind::carry`] is called.
    WhenTold,
}

/// How a queue does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Bytes that wait.
    pub bytes: u64,
    /// Records that wait: writes and batches.
    pub records: u64,
    /// Records that the back has taken since the queue was opened.
    pub carried: u64,
    /// How often the back failed to.
    pub failures: u64,
    /// Why it did the last time, if it has not taken anything since.
    pub failure: Option<String>,
}

/// A back with a queue before it.
#[derive(Debug)]
pub struct Behind {
    /// `None` if it is open for reading only. Ends its work first.
    writing: Option<Writing>,
    shared: Arc<Shared>,
}

/// What writes need.
#[derive(Debug)]
struct Writing {
    /// The log's last record. Held by the one writer, so that a precondition and its write are one
    /// step.
    last: Mutex<u64>,
    log: Arc<Journal>,
    bound: Bound,
    _carrier: Option<Carrier>,
}

impl Behind {
    /// Opens or makes the queue in `dir`, with the UUID `id`, before `back`.
    ///
    /// # Errors
    /// [`BackendError::Damage`] if the queue is, or has another UUID, or a failure of the system.
    pub fn open(
        dir: &Path,
        id: Uuid,
        back: Arc<dyn Backend>,
        bound: Bound,
        carrying: Carrying,
    ) -> Result<Self> {
        let failed = |error| BackendError::io(Operation::Open, bytes(dir), error);
        if !dir.exists() {
            fs::create_dir_all(dir)
                .and_then(|()| sync_dir(dir))
                .map_err(failed)?;
        }
        let up_to = applied::read(dir)?;
        let log = dir.join(LOG_DIR);
        let (journal, records) = Journal::open(&log, &id, up_to)
            .map_err(|error| from_log(Operation::Open, bytes(&log), error))?;
        let shared = Arc::new(Shared::new(dir.to_owned(), back, queued(&log, records)?));
        let journal = Arc::new(journal);
        let carrier = match carrying {
            Carrying::InBackground => {
                Some(Carrier::start(&shared, Arc::clone(&journal)).map_err(failed)?)
            }
            Carrying::WhenTold => None,
        };
        let writing = Writing {
            last: Mutex::new(journal.last()),
            log: journal,
            bound,
            _carrier: carrier,
        };
        Ok(Self {
            writing: Some(writing),
            shared,
        })
    }

    /// Looks through the queue in `dir` at `back`, changing nothing.
    ///
    /// # Errors
    /// As [`Behind::open`].
    pub fn open_to_read(dir: &Path, id: Uuid, back: Arc<dyn Backend>) -> Result<Self> {
        let up_to = applied::read(dir)?;
        let log = dir.join(LOG_DIR);
        let mut recovery = Recovery::read(&log, &id, up_to)
            .map_err(|error| from_log(Operation::Open, bytes(&log), error))?;
        let queue = queued(&log, recovery.take_records())?;
        Ok(Self {
            writing: None,
            shared: Arc::new(Shared::new(dir.to_owned(), back, queue)),
        })
    }

    /// Carries a portion of what waits to the back; gives whether there was anything.
    ///
    /// # Errors
    /// What the back or the log failed with. Everything is in the queue as before.
    pub fn carry(&self, deadline: Deadline) -> Result<bool> {
        match &self.writing {
            Some(writing) => self.shared.carry(&writing.log, deadline),
            None => Ok(false),
        }
    }

    /// Returns once everything that was written before is in the back, for good.
    ///
    /// # Errors
    /// What the back failed with, or that it takes longer.
    pub fn drain(&self, deadline: Deadline) -> Result<()> {
        while self.carry(deadline)? {}
        Ok(())
    }

    /// How the queue does.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.shared.standing()
    }

    /// The log's last record that a loss of power leaves, for certain.
    #[must_use]
    pub fn synced(&self) -> u64 {
        self.writing
            .as_ref()
            .map_or(0, |writing| writing.log.synced())
    }
}

/// What the records of the log leave to be done.
fn queued(log: &Path, records: Vec<JournalRecord>) -> Result<Queue> {
    let mut queue = Queue::default();
    for JournalRecord { seq, payload } in records {
        let Some(writes) = record::decode(&payload) else {
            return Err(BackendError::Damage {
                operation: Operation::Open,
                address: bytes(log).into(),
                reason: format!("record {seq} has no valid content"),
            });
        };
        queue.push(seq, &writes);
    }
    Ok(queue)
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_encoded_bytes()
}
