//! A store that is written behind: what it was told last waits in its front, in a queue that is carried
//! to its own storage (see [`crate::backend::behind`]).
//!
//! ```text
//! STORE/kfs.behind  the mark, "1 UUID DIR\n": what was written last is in the queue UUID of the front DIR
//! DIR/behind        the same line, for the queue that is here
//! DIR/queue/        the queue
//! DIR/journal/      the store's journal, which is here meanwhile, and not in the store: so that what waits
//!                   for it waits for the front's disk only
//! ```
//!
//! The mark is made, durably, when the queue is there and before anything is in it, and removed when
//! everything is in the store and the queue is gone. While it is there, the store is opened for writing with
//! this front only, and without it for reading only where the caller says that an older state will do. In
//! the store is then what it was after some fold, whole, if its storage does batches.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::{refuse, take};
use crate::backend::behind::{Behind, Bound, Carrying, Standing};
use crate::backend::{Backend, Deadline, replace};
use crate::store::lifecycle::JOURNAL;
use crate::store::{Location, StoreError};
use crate::tree::PATIENCE;

/// The mark in the directory of the store.
pub const MARK: &str = "kfs.behind";
const HERE: &str = "behind";
const QUEUE: &str = "queue";
const VERSION: &str = "1";

/// Where what was written last is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    id: Uuid,
    /// As it was called when it was opened.
    front: String,
}

impl Mark {
    /// The mark of the store in a directory.
    ///
    /// # Errors
    /// [`StoreError::Io`]; a mark that cannot be understood is one.
    pub fn read(store: &Path) -> Result<Option<Self>, StoreError> {
        Self::read_file(&store.join(MARK))
    }

    fn read_file(path: &Path) -> Result<Option<Self>, StoreError> {
        let failed = |source| StoreError::Io {
            what: format!("reading {}", path.display()),
            source,
        };
        let text = match fs::read(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => String::from_utf8_lossy(&read.map_err(failed)?).into_owned(),
        };
        let mut words = text.trim_end_matches('\n').splitn(3, ' ');
        let parts = (words.next(), words.next(), words.next());
        if let (Some(VERSION), Some(id), Some(front)) = parts
            && let Ok(id) = Uuid::parse_str(id)
        {
            let front = front.to_owned();
            return Ok(Some(Self { id, front }));
        }
        Err(failed(io::Error::other(
            "it is not what this kfs writes: it was changed, or a newer kfs wrote it",
        )))
    }

    fn text(&self) -> String {
        format!("{VERSION} {} {}\n", self.id, self.front)
    }

    /// That the store at `location`, which has a mark, cannot be opened like this.
    pub fn refusal_of(location: &Location) -> Result<StoreError, StoreError> {
        let mark = location.directory().map(Self::read).transpose()?.flatten();
        let reason = "what waits in its journal is not brought into the store".to_owned();
        Ok(mark.map_or(StoreError::Backlog { reason }, |mark| {
            mark.refusal(location)
        }))
    }

    /// That a store cannot be opened like this.
    pub fn refusal(&self, location: &Location) -> StoreError {
        let dir = location.directory().unwrap_or(Path::new(""));
        StoreError::Behind {
            location: location.to_string(),
            front: self.front.clone(),
            mark: dir.join(MARK).display().to_string(),
        }
    }
}

/// The queue of a connected store.
#[derive(Debug)]
pub struct Queue {
    behind: Arc<Behind>,
    front: PathBuf,
    store: PathBuf,
}

impl Queue {
    /// Opens the queue that the mark of the store at `location` names, which must be in `front`.
    ///
    /// # Errors
    /// [`StoreError::Behind`] if it is not there, [`StoreError::Front`] if it does not open.
    pub fn resume(
        (location, store): (&Location, &Path),
        mark: &Mark,
        front: &Path,
        back: Arc<dyn Backend>,
        read_only: bool,
    ) -> Result<Self, StoreError> {
        let here = Mark::read_file(&front.join(HERE))?;
        if here.is_none_or(|here| here.id != mark.id) {
            return Err(mark.refusal(location));
        }
        let dir = front.join(QUEUE);
        let opened = if read_only {
            Behind::open_to_read(&dir, mark.id, back)
        } else {
            Behind::open(
                &dir,
                mark.id,
                back,
                Bound::default(),
                Carrying::InBackground,
            )
        };
        Ok(Self {
            behind: Arc::new(opened.map_err(|e| refuse(front, e))?),
            front: front.to_owned(),
            store: store.to_owned(),
        })
    }

    /// Makes a queue in `front` for a store that has no mark, and the mark.
    ///
    /// # Errors
    /// [`StoreError::Front`], also if something waits there for another store, or for one that was
    /// brought back from a backup.
    pub fn attach(front: &Path, store: &Path, back: Arc<dyn Backend>) -> Result<Self, StoreError> {
        let failed = |e: io::Error| refuse(front, e);
        let queue = front.join(QUEUE);
        if Mark::read_file(&front.join(HERE))?.is_some() {
            let waits = [
                queue.join(crate::backend::behind::LOG_DIR),
                front.join(JOURNAL),
            ];
            for dir in waits {
                if !is_empty(&dir).map_err(failed)? {
                    let reason = "in it is what another store was told, or this one before it was brought \
                        back from a backup; remove it to give that up, or give another directory";
                    return Err(refuse(front, reason));
                }
            }
        }
        let id = Uuid::new_v4();
        let mark = Mark {
            id,
            front: front.display().to_string(),
        };
        Self::clear(front).map_err(failed)?;
        let behind = Behind::open(&queue, id, back, Bound::default(), Carrying::InBackground);
        let behind = behind.map_err(|e| refuse(front, e))?;
        replace(front, HERE, mark.text().as_bytes())
            .and_then(|()| replace(store, MARK, mark.text().as_bytes()))
            .map_err(failed)?;
        Ok(Self {
            behind: Arc::new(behind),
            front: front.to_owned(),
            store: store.to_owned(),
        })
    }

    /// The storage with the queue before it.
    pub fn backend(&self) -> Arc<dyn Backend> {
        Arc::clone(&self.behind) as _
    }

    /// Where the store's journal is.
    pub fn journal(&self) -> PathBuf {
        self.front.join(JOURNAL)
    }

    /// How it does.
    pub fn standing(&self) -> Standing {
        self.behind.standing()
    }

    /// Brings everything into the store, which then needs its front no more. To be done when its
    /// journal has been folded and nothing is written any more.
    ///
    /// # Errors
    /// What keeps it from being brought there: it then is where it was, and the mark stays.
    pub fn detach(&self) -> Result<(), StoreError> {
        let failed = |e: io::Error| refuse(&self.front, e);
        self.behind.drain(Deadline::after(PATIENCE))?;
        Self::clear(&self.front).map_err(failed)?;
        take(&self.store, MARK).map_err(failed)?;
        take(&self.front, HERE).map_err(failed)?;
        Ok(())
    }

    /// Removes a queue and a journal that nothing is in.
    fn clear(front: &Path) -> io::Result<()> {
        let queue = front.join(QUEUE);
        // What says that the records of the log are in the store goes after these.
        let log = queue.join(crate::backend::behind::LOG_DIR);
        for dir in [front.join(JOURNAL), log, queue] {
            match fs::remove_dir_all(&dir) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                done => done?,
            }
        }
        fs::File::open(front)?.sync_all()
    }
}

fn is_empty(dir: &Path) -> io::Result<bool> {
    match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        entries => Ok(entries?.next().is_none()),
    }
}
