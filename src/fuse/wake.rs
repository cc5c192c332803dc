//! Waking those who watch files with inotify when the API changes them.
//!
//! The kernel tells watchers of what goes through it; forgetting what it kept fires nothing. So what
//! the API has done is done once more in the mount, by a thread of this process, and its requests
//! are answered as if it had worked, without changing anything:
//!
//! ```text
//! a file changed     open for writing, fallocate a byte, close    IN_MODIFY, IN_CLOSE_WRITE
//! a name appeared    mknod or mkdir                               IN_CREATE
//! a name went away   unlink or rmdir                              IN_DELETE
//! ```
//!
//! Setting a file's size would wake, too, but tell the kernel a size that may be outdated by then.
//!
//! The thread that makes these calls waits for answers of this very process. If the process ended
//! meanwhile, it would wait for ever, and the connection to the kernel with it, were that held open
//! by this thread's descriptors: so it has descriptors of its own. It must not log: the log's is
//! not among them.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Instant;

use nix::fcntl::{FallocateFlags, OFlag, fallocate, open, openat};
use nix::sys::stat::{Mode, SFlag, mkdirat, mknodat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use parking_lot::{Condvar, Mutex};

use crate::sys;
use crate::value::KeyPath;
use crate::view::{Caller, FileKind, Spot, View, ViewError};

/// Changes that wait to be told. Those beyond are told to nobody: a watcher of so many is told
/// enough.
const MOST: usize = 4096;

/// The inode by which the kernel is told of a name that went away. No other has it.
pub(super) const GONE: u64 = 1 << 63;

/// The handle of the own calls on a file that changed. It is none of the view's: the view would take
/// it for somebody who may write, and put what the API writes next into the file that others read.
pub(super) const TOUCHED: u64 = u64::MAX;

/// Tells watchers of what the API changes. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Waker(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// The thread that makes the calls: the kernel names threads, not processes.
    caller: AtomicI32,
    queue: Mutex<Queue>,
    queued: Condvar,
    told: Condvar,
    /// What the own calls under way are about.
    news: Mutex<Option<News>>,
}

#[derive(Debug, Default)]
struct Queue {
    changes: VecDeque<Change>,
    /// Changes queued since the beginning, and those of them that are done with.
    count_queued: u64,
    count_told: u64,
    closed: bool,
}

/// A path that the API wrote, and whether the kernel knew something there.
type Change = (KeyPath, bool);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Changed,
    Appeared,
    Gone,
}

#[derive(Clone, Debug)]
struct News {
    event: Event,
    dir: PathBuf,
    name: Box<[u8]>,
    kind: FileKind,
}

impl Default for Waker {
    fn default() -> Self {
        Self(Arc::new(Shared {
            caller: AtomicI32::new(-1),
            queue: Mutex::default(),
            queued: Condvar::new(),
            told: Condvar::new(),
            news: Mutex::default(),
        }))
    }
}

impl Waker {
    /// Starts the threads.
    pub(super) fn start(&self, view: Arc<View>, point: PathBuf) -> io::Result<()> {
        let (tell, news) = sync_channel(0);
        let (done, told) = sync_channel(0);
        let this = self.clone();
        thread::Builder::new()
            .name("kfs-touch".to_owned())
            .spawn(move || this.touch(&news, &done, &point))?;
        let this = self.clone();
        thread::Builder::new()
            .name("kfs-wake".to_owned())
            .spawn(move || this.resolve(&view, &tell, &told))?;
        Ok(())
    }

    pub(super) fn close(&self) {
        let mut queue = self.0.queue.lock();
        queue.closed = true;
        queue.changes.clear();
        self.0.queued.notify_all();
        self.0.told.notify_all();
    }

    /// Waits until everything that was queued before is told, at most until the deadline.
    pub(super) fn flush(&self, deadline: Option<Instant>) {
        let mut queue = self.0.queue.lock();
        let goal = queue.count_queued;
        while queue.count_told < goal && !queue.closed {
            match deadline {
                Some(deadline) if Instant::now() >= deadline => return,
                Some(deadline) => drop(self.0.told.wait_until(&mut queue, deadline)),
                None => self.0.told.wait(&mut queue),
            }
        }
    }

    pub(super) fn changed(&self, path: KeyPath, known: bool) {
        let mut queue = self.0.queue.lock();
        let waits = |(other, _): &Change| *other == path;
        if !queue.closed && queue.changes.len() < MOST && !queue.changes.iter().any(waits) {
            queue.changes.push_back((path, known));
            queue.count_queued += 1;
            self.0.queued.notify_one();
        }
    }

    fn next(&self) -> Option<Change> {
        let mut queue = self.0.queue.lock();
        loop {
            if queue.closed {
                return None;
            }
            if let Some(change) = queue.changes.pop_front() {
                return Some(change);
            }
            self.0.queued.wait(&mut queue);
        }
    }

    /// Finds out what happened and where it is.
    fn resolve(&self, view: &View, tell: &SyncSender<News>, told: &Receiver<()>) {
        while let Some((path, known)) = self.next() {
            let look = || {
                let spot = view.spot(&path)?;
                Ok::<_, ViewError>(spot.and_then(|spot| news(spot, known)))
            };
            // A bug met here must not leave those waiting who wait for the news.
            let news = catch_unwind(AssertUnwindSafe(look))
                .unwrap_or_else(|_| Err(ViewError::io("waking watchers", "a bug: it panicked")));
            match news {
                Ok(Some(news)) => {
                    if tell.send(news).is_err() || told.recv().is_err() {
                        return self.close();
                    }
                }
                Ok(None) => {}
                Err(error) => tracing::debug!(%error, "watchers are not woken"),
            }
            self.0.queue.lock().count_told += 1;
            self.0.told.notify_all();
        }
    }

    /// Makes the calls.
    fn touch(&self, news: &Receiver<News>, told: &SyncSender<()>, point: &Path) {
        if sys::own_descriptors().is_err() {
            return;
        }
        let thread = nix::unistd::gettid().as_raw();
        self.0.caller.store(thread, Ordering::Release);
        for news in news {
            // Whoever watches is told if it can be done: a directory that this process may not
            // write, or one that is gone again, is none of its business.
            let _untold = self.tell(point, news);
            *self.0.news.lock() = None;
            if told.send(()).is_err() {
                return;
            }
        }
    }

    fn tell(&self, point: &Path, news: News) -> nix::Result<()> {
        let at = point.join(&news.dir);
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_PATH;
        let dir = open(&at, flags, Mode::empty())?;
        let name = news.name.clone();
        let name = OsStr::from_bytes(&name);
        let (event, kind) = (news.event, news.kind);
        *self.0.news.lock() = Some(news);
        match (event, kind) {
            (Event::Changed, FileKind::File) => {
                let flags = OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let file = openat(&dir, name, flags, Mode::empty())?;
                fallocate(&file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, 1)
            }
            (Event::Appeared, FileKind::File) => {
                mknodat(&dir, name, SFlag::S_IFREG, Mode::S_IRUSR, 0)
            }
            (Event::Appeared, FileKind::Dir) => mkdirat(&dir, name, Mode::S_IRWXU),
            (Event::Gone, _) => unlinkat(&dir, name, UnlinkatFlags::NoRemoveDir),
            _ => Ok(()),
        }
    }

    /// Whether a request is one of the own calls about this event.
    fn is(&self, caller: &Caller, event: Event, name: Option<&OsStr>) -> bool {
        i32::try_from(caller.pid) == Ok(self.0.caller.load(Ordering::Acquire))
            && self.0.news.lock().as_ref().is_some_and(|news| {
                news.event == event && name.is_none_or(|name| name.as_bytes() == &*news.name)
            })
    }

    /// A name that is to look as if it were not there yet.
    pub(super) fn hides(&self, caller: &Caller, name: &OsStr) -> bool {
        self.is(caller, Event::Appeared, Some(name))
    }

    /// A name that is to look as if it were there still.
    pub(super) fn shows(&self, caller: &Caller, name: &OsStr) -> bool {
        self.is(caller, Event::Gone, Some(name))
    }

    /// A file that is to look as if it were opened for writing.
    pub(super) fn keeps(&self, caller: &Caller) -> bool {
        self.is(caller, Event::Changed, None)
    }
}

/// What happened at a place, if anything.
fn news(spot: Spot, known: bool) -> Option<News> {
    let Spot { dir, name, kind } = spot;
    let (event, kind) = match (known, kind) {
        (true, Some(kind)) => (Event::Changed, kind),
        (false, Some(kind)) => (Event::Appeared, kind),
        (true, None) => (Event::Gone, FileKind::File),
        (false, None) => return None,
    };
    Some(News {
        event,
        dir,
        name,
        kind,
    })
}
