//! A front before the storage of a connected store: a directory on a faster disk that keeps copies of
//! its blobs.
//!
//! ```text
//! DIR/kfs-front    "1\n": the directory is a front, of this format version
//! DIR/blobs/       an embedded storage
//! DIR/coherent     after a proper end: what the store's mark says, and the BLAKE3 of its header in hex
//! STORE/kfs.front  the mark: a UUID, made at that end and removed by whoever opens the store for writing
//! ```
//!
//! and what [`behind`] draws, where writes wait there. A front to which alone is written is another thing,
//! drawn in [`overlay`].
//!
//! What it has is believed only if its last use came to a proper end, and nobody has written to the store
//! since: then the mark is still there, and the header, for stores that were brought back from a backup,
//! is the same. Else it is emptied; nothing is lost by that, as everything is in the store itself.

pub mod behind;
pub mod overlay;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use uuid::Uuid;

use super::header::HEADER;
use super::lifecycle::JOURNAL;
use super::{ConnectOptions, FrontUse, Location, StoreError, disk_use, keys};
use crate::backend::embedded::Embedded;
use crate::backend::tiered::{Front as Known, Tally, Tiered, Writes};
use crate::backend::{Access, Backend, BackendError, Deadline, replace};
use crate::crypt::Cipher;
use crate::tree::{PATIENCE, hex};

const KIND: &str = "kfs-front";
const VERSION: &str = "1\n";
const BLOBS: &str = "blobs";
const COHERENT: &str = "coherent";
/// The mark in the directory of the store.
pub const MARK: &str = "kfs.front";

/// Where a front is, and what writes do with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrontOptions {
    /// Its directory, which is made if it is not there.
    pub dir: PathBuf,
    /// What writes do with its copies.
    pub writes: Writes,
    /// When a write is done.
    pub done: Done,
    /// How large its copies may be together, in bytes; there is no bound if it is not given.
    pub size: Option<u64>,
    /// Which copies are made.
    pub copies: Copied,
}

/// Which copies are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Copied {
    /// Of what is read, and of what is written as [`Writes`] says.
    #[default]
    AsUsed,
    /// Of everything that the store has, too: those that lack are made in the background.
    All,
}

/// When a write is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Done {
    /// When it is in the store, which has everything at any time.
    #[default]
    InStore,
    /// When it is in the front, which brings it to the store a little later (write-behind). On disk
    /// then means on the front's disk.
    InFront,
    /// When it is in the front, where it stays (frontend-only writes): nothing of the store's own is ever
    /// written to, and without the front it is as it was. There are no copies in such a front.
    OnlyInFront,
}

/// What a store is read from and written to.
pub struct Tiers {
    pub backend: Arc<dyn Backend>,
    pub front: Option<Front>,
    /// Where writes stay, if they do not go to the store.
    pub overlay: Option<overlay::Layer>,
    /// Its directory; `None` for a store in memory.
    pub journal: Option<PathBuf>,
    /// The keys to all of it, if it is encrypted.
    pub cipher: Option<Arc<Cipher>>,
}

impl Tiers {
    /// The store's own storage, and nothing else.
    pub fn plain(location: &Location, backend: Arc<dyn Backend>) -> Self {
        Self {
            backend,
            front: None,
            overlay: None,
            journal: location.directory().map(|dir| dir.join(JOURNAL)),
            cipher: None,
        }
    }

    /// The same with the keys to it, if it is encrypted.
    ///
    /// # Errors
    /// [`StoreError::KeyNeeded`], [`StoreError::NotEncrypted`], [`StoreError::Key`].
    pub fn unlocked(
        self,
        location: &Location,
        options: &ConnectOptions,
    ) -> Result<Self, StoreError> {
        let cipher = keys::unlock(&*self.backend, location, options.key.as_ref())?;
        Ok(Self { cipher, ..self })
    }

    /// What is read from it, decrypted.
    pub fn readable(&self) -> Arc<dyn Backend> {
        keys::over(Arc::clone(&self.backend), self.cipher.as_ref())
    }

    /// What waits in a queue, if there is one, over the store's own storage.
    pub fn waiting(
        location: &Location,
        backend: Arc<dyn Backend>,
        queue: Option<&behind::Queue>,
    ) -> Self {
        match queue {
            None => Self::plain(location, backend),
            Some(queue) => Self {
                backend: queue.backend(),
                front: None,
                overlay: None,
                journal: Some(queue.journal()),
                cipher: None,
            },
        }
    }

    /// Puts a front before it, whose copies are believed if they are those that `mark` tells of, which
    /// was in the directory `store`.
    ///
    /// # Errors
    /// [`StoreError::Front`].
    pub fn with_front(
        self,
        copies: Copies,
        options: &FrontOptions,
        (store, mark): (&Path, Option<String>),
        queue: Option<behind::Queue>,
    ) -> Result<Self, StoreError> {
        let front = Front::open(
            copies,
            options,
            Arc::clone(&self.backend),
            store,
            mark,
            queue,
        )?;
        Ok(Self {
            backend: front.backend(),
            front: Some(front),
            ..self
        })
    }
}

/// The directory of a front, which is nobody else's from here on.
pub struct Copies {
    dir: PathBuf,
    blobs: Arc<dyn Backend>,
}

impl Copies {
    /// Takes a front, or makes one.
    ///
    /// # Errors
    /// [`StoreError::Front`] if the directory is none, or does not open.
    pub fn take(options: &FrontOptions) -> Result<Self, StoreError> {
        let dir = options.dir.clone();
        let refuse = |reason: String| refuse(&dir, reason);
        prepare(&dir).map_err(refuse)?;
        let blobs = dir.join(BLOBS);
        let open = || match Embedded::exists(&blobs)? {
            true => Embedded::open(&blobs, Access::ReadWrite, Duration::ZERO),
            false => Embedded::create(&blobs, Duration::ZERO),
        };
        let opened = match open() {
            // Copies are no reason to keep anybody from the store.
            Err(BackendError::Damage { reason, .. }) => {
                tracing::warn!(dir = %dir.display(), reason, "the copies in the front are removed");
                fs::remove_dir_all(&blobs).map_err(|e| refuse(e.to_string()))?;
                open()
            }
            opened => opened,
        };
        let blobs = Arc::new(opened.map_err(|e| refuse(e.to_string()))?);
        Ok(Self { dir, blobs })
    }
}

/// The front of a connected store.
#[derive(Debug)]
pub struct Front {
    dir: PathBuf,
    store: PathBuf,
    tiered: Arc<Tiered>,
    blobs: Arc<dyn Backend>,
    back: Arc<dyn Backend>,
    queue: Option<behind::Queue>,
    filling: Mutex<Option<Filling>>,
}

/// A thread that makes the copies that lack.
#[derive(Debug)]
struct Filling {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Filling {
    fn start(tiered: &Arc<Tiered>) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (tiered, told) = (Arc::clone(tiered), Arc::clone(&stop));
        let fill = move || {
            let go_on = || !told.load(Ordering::Acquire);
            match tiered.populate(b"", &go_on, Deadline::of_operation()) {
                Ok(count) => tracing::info!(count, "copies were made in the front"),
                Err(error) => tracing::warn!(%error, "no more copies are made in the front"),
            }
        };
        let thread = std::thread::Builder::new()
            .name("kfs-fill".to_owned())
            .spawn(fill)?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // It has nothing to say but what it has logged.
            let _ = thread.join();
        }
    }
}

impl Front {
    fn open(
        copies: Copies,
        options: &FrontOptions,
        back: Arc<dyn Backend>,
        store: &Path,
        mark: Option<String>,
        queue: Option<behind::Queue>,
    ) -> Result<Self, StoreError> {
        let Copies { dir, blobs } = copies;
        let coherent = take(&dir, COHERENT).map_err(|e| refuse(&dir, e))?;
        let expected = mark.map(|mark| with_header(&mark, &*back)).transpose()?;
        let known = match coherent {
            Some(coherent) if Some(&coherent) == expected.as_ref() => Known::Coherent,
            _ => Known::Unknown,
        };
        let tiered = Tiered::open(
            Arc::clone(&blobs),
            Arc::clone(&back),
            options.writes,
            known,
            Deadline::after(PATIENCE),
        );
        let tiered = tiered.and_then(|tiered| match options.size {
            Some(bytes) => tiered.bounded(bytes, Deadline::after(PATIENCE)),
            None => Ok(tiered),
        });
        let tiered = Arc::new(tiered.map_err(|e| refuse(&dir, e))?);
        let filling = match options.copies {
            Copied::AsUsed => None,
            Copied::All => Some(Filling::start(&tiered).map_err(|e| refuse(&dir, e))?),
        };
        Ok(Self {
            dir,
            store: store.to_owned(),
            tiered,
            blobs,
            back,
            queue,
            filling: Mutex::new(filling),
        })
    }

    /// The storage with the front before it.
    pub fn backend(&self) -> Arc<dyn Backend> {
        Arc::clone(&self.tiered) as _
    }

    /// What became of reads.
    pub fn tally(&self) -> &Tally {
        self.tiered.tally()
    }

    /// How it does.
    pub fn standing(&self) -> FrontUse {
        let tally = self.tally();
        FrontUse {
            hits: tally.hits.get(),
            misses: tally.misses.get(),
            failures: tally.failures.get(),
            stale: self.tiered.stale() as u64,
            evicted: tally.evicted.get(),
            bytes: disk_use(&self.dir),
            queue: self.queue.as_ref().map(behind::Queue::standing),
        }
    }

    /// Brings what waits into the store, once nothing is written any more, and notes that the copies can
    /// be believed. Where that fails, it waits until the next time, or they are removed then.
    pub fn close(&self) {
        drop(self.filling.lock().take());
        if let Some(Err(error)) = self.queue.as_ref().map(behind::Queue::detach) {
            let dir = self.dir.display();
            tracing::warn!(%dir, %error, "what was written last waits in the front");
            return;
        }
        if !self.tiered.is_coherent() {
            return;
        }
        let noted = || -> Result<(), String> {
            let deadline = Deadline::after(PATIENCE);
            self.blobs.sync(deadline).map_err(|e| e.to_string())?;
            let mark = Uuid::new_v4().to_string();
            let coherent = with_header(&mark, &*self.back).map_err(|e| e.to_string())?;
            replace(&self.dir, COHERENT, coherent.as_bytes())
                .and_then(|()| replace(&self.store, MARK, mark.as_bytes()))
                .map_err(|e| e.to_string())
        };
        if let Err(error) = noted() {
            tracing::warn!(dir = %self.dir.display(), error, "the front is emptied the next time");
        }
    }
}

/// That a directory cannot be the front.
pub fn refuse(dir: &Path, reason: impl ToString) -> StoreError {
    StoreError::Front {
        dir: dir.display().to_string(),
        reason: reason.to_string(),
    }
}

/// Makes a directory a front, if it is new or empty; refuses one that is something else, for what is
/// in a front is removed without asking.
fn prepare(dir: &Path) -> Result<(), String> {
    make_dir(dir).map_err(|e| e.to_string())?;
    match fs::read_to_string(dir.join(KIND)) {
        Ok(version) if version == VERSION => return Ok(()),
        Ok(version) => {
            let version = version.trim().to_owned();
            return Err(format!(
                "its format is {version:?} and only 1 is known here; give another directory"
            ));
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e.to_string()),
    }
    let mut entries = fs::read_dir(dir).map_err(|e| e.to_string())?;
    if entries.next().is_some() {
        return Err(
            "there is something in it that is no front; give an empty directory".to_owned(),
        );
    }
    replace(dir, KIND, VERSION.as_bytes()).map_err(|e| e.to_string())
}

/// Makes a directory, durably, and those above it: what waits in it must not go with its name.
fn make_dir(dir: &Path) -> io::Result<()> {
    match fs::create_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            make_dir(dir.parent().ok_or(e)?)?;
            fs::create_dir(dir)?;
        }
        made => made?,
    }
    let above = dir.parent().filter(|above| !above.as_os_str().is_empty());
    fs::File::open(above.unwrap_or(Path::new(".")))?.sync_all()
}

/// Takes the mark of a store away, durably, and gives what it said. From then on no front that was
/// used before is believed. To be done by whoever is to write to the store, before anything else.
///
/// # Errors
/// What kept it from being taken away.
pub fn take_mark(store: &Path) -> Result<Option<String>, StoreError> {
    take(store, MARK).map_err(|source| StoreError::Io {
        what: format!("removing {}", store.join(MARK).display()),
        source,
    })
}

/// The content of a file, which is removed, durably.
fn take(dir: &Path, name: &str) -> io::Result<Option<String>> {
    let path = dir.join(name);
    let content = match fs::read(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        content => content?,
    };
    fs::remove_file(&path)?;
    fs::File::open(dir)?.sync_all()?;
    Ok(Some(String::from_utf8_lossy(&content).into_owned()))
}

/// A mark and the store's header as it is now.
fn with_header(mark: &str, back: &dyn Backend) -> Result<String, StoreError> {
    let header = back.get(HEADER, Deadline::after(PATIENCE))?;
    let bytes = header.map(|blob| blob.bytes).unwrap_or_default();
    Ok(format!("{mark} {}\n", hex(blake3::hash(&bytes).as_bytes())))
}
