//! Telling the kernel that what it keeps is no longer true.
//!
//! The kernel takes locks while it forgets a name or a page, and these are held by whoever waits
//! for an answer of this filesystem. So a thread of its own does the telling, which holds no lock:
//! operations on files only queue and never wait; callers from outside the mount may wait for the queue
//! to drain, holding no lock either, and so may operations beside the files, for a bounded time.
//!
//! An answer with attributes may be under way while they change. Of an inode that the kernel has it
//! leaves out an answer to what it asked before it was told; but where a name led to one that is new
//! to it, it would keep outdated attributes. To forget a name it waits for those who look in the
//! directory, so it is told of the names of an inode first, and then of the inode.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use fuser::{INodeNo, Notifier};
use parking_lot::{Condvar, Mutex};

use super::wake::Waker;
use crate::value::KeyPath;
use crate::view::{Ino, Invalidate};

/// How long an operation waits for the kernel at most.
const MOMENT: Duration = Duration::from_secs(5);

/// The queue of what the kernel has to forget. Clones are the same queue.
#[derive(Clone, Default)]
pub struct Invalidator(Arc<Shared>);

/// The kernel has not forgotten everything yet: somebody holds a file or directory for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the kernel still keeps outdated names or pages after {waited:?}")]
pub struct StillCached {
    /// How long was waited.
    pub waited: Duration,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    queued: Condvar,
    told: Condvar,
    waker: Waker,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Arc<Item>>,
    /// The items in the queue and where they stand, counted from the beginning: one that waits there
    /// also covers a second change. An inode is there again if it stands before the last name.
    waiting: HashMap<Arc<Item>, u64>,
    /// Where the last name stands.
    last_name: u64,
    /// What the kernel is being told.
    telling: Option<Arc<Item>>,
    /// Items queued since the beginning.
    count_queued: u64,
    /// Items told since the beginning, in the order of the queue.
    count_told: u64,
    closed: bool,
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) enum Item {
    Inode(Ino),
    Entry(Ino, Box<[u8]>),
    /// After what is queued about a path: who watches it is to be woken.
    Watchers(KeyPath, bool),
}

thread_local! {
    static ANSWERS_KERNEL: Cell<bool> = const { Cell::new(false) };
}

/// Marks this thread as one that answers the kernel: it must never wait for the queue.
pub(super) fn mark_as_answering() {
    ANSWERS_KERNEL.set(true);
}

impl Invalidator {
    /// Waits until the kernel has forgotten everything that was queued before this call. Returns
    /// at once on a thread that answers the kernel, and if there is no mount any more.
    ///
    /// # Errors
    /// [`StillCached`] after `timeout`. The rest is forgotten as soon as it can be.
    pub fn flush(&self, timeout: Duration) -> Result<(), StillCached> {
        if ANSWERS_KERNEL.get() {
            return Ok(());
        }
        let deadline = Instant::now().checked_add(timeout);
        if !self.wait(deadline) {
            return Err(StillCached { waited: timeout });
        }
        // While watchers are woken this process has a directory of the mount open.
        self.0.waker.flush(deadline);
        Ok(())
    }

    /// Waits until all is told that was queued before; false at the deadline.
    fn wait(&self, deadline: Option<Instant>) -> bool {
        let mut state = self.0.state.lock();
        let goal = state.count_queued;
        while state.count_told < goal && !state.closed {
            match deadline {
                Some(deadline) if Instant::now() >= deadline => return false,
                Some(deadline) => drop(self.0.told.wait_until(&mut state, deadline)),
                None => self.0.told.wait(&mut state),
            }
        }
        true
    }

    /// What wakes watchers.
    pub(super) fn waker(&self) -> Waker {
        self.0.waker.clone()
    }

    /// Starts the thread that empties the queue.
    pub(super) fn start(&self, kernel: Notifier) -> io::Result<()> {
        let waker = self.waker();
        self.start_with(move |item| tell(&kernel, &waker, item))
    }

    fn start_with(
        &self,
        tell: impl Fn(&Item) -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let queue = self.clone();
        thread::Builder::new()
            .name("kfs-invalidate".to_owned())
            .spawn(move || queue.run(&tell))?;
        Ok(())
    }

    /// The mount is gone: nothing is to be told any more. The thread ends by itself, later if the
    /// kernel holds it up.
    pub(super) fn close(&self) {
        let mut state = self.0.state.lock();
        state.closed = true;
        state.queue.clear();
        state.waiting.clear();
        self.0.queued.notify_all();
        self.0.told.notify_all();
        self.0.waker.close();
    }

    fn run(&self, tell: &dyn Fn(&Item) -> io::Result<()>) {
        while let Some(item) = self.next() {
            if let Err(error) = tell(&item) {
                tracing::debug!(?item, %error, "the kernel did not take an invalidation");
            }
            let mut state = self.0.state.lock();
            state.telling = None;
            state.count_told += 1;
            drop(state);
            self.0.told.notify_all();
        }
    }

    /// Waits for the next item; `None` once closed. A change after this moment is queued anew.
    fn next(&self) -> Option<Arc<Item>> {
        let mut state = self.0.state.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(item) = state.queue.pop_front() {
                let position = state.count_queued - state.queue.len() as u64;
                if state.waiting.get(&item) == Some(&position) {
                    state.waiting.remove(&item);
                }
                state.telling = Some(Arc::clone(&item));
                return Some(item);
            }
            self.0.queued.wait(&mut state);
        }
    }

    fn queue(&self, item: Item) {
        let item = Arc::new(item);
        let mut state = self.0.state.lock();
        let covers =
            |position: &u64| !matches!(*item, Item::Inode(_)) || *position > state.last_name;
        if state.closed || state.waiting.get(&item).is_some_and(covers) {
            return;
        }
        state.count_queued += 1;
        let position = state.count_queued;
        if matches!(*item, Item::Entry(..)) {
            state.last_name = position;
        }
        state.waiting.insert(Arc::clone(&item), position);
        state.queue.push_back(item);
        self.0.queued.notify_one();
    }
}

impl Invalidate for Invalidator {
    fn inode(&self, ino: Ino) {
        self.queue(Item::Inode(ino));
    }

    fn entry(&self, parent: Ino, name: &[u8]) {
        self.queue(Item::Entry(parent, name.into()));
    }

    fn written(&self, path: KeyPath, known: bool) {
        self.queue(Item::Watchers(path, known));
    }

    fn is_behind(&self, ino: Ino) -> bool {
        let item = Item::Inode(ino);
        let state = self.0.state.lock();
        state.waiting.contains_key(&item) || state.telling.as_deref() == Some(&item)
    }

    /// The crew has others who answer what the kernel may wait for meanwhile.
    fn catch_up(&self) {
        if !self.wait(Instant::now().checked_add(MOMENT)) {
            tracing::warn!("the kernel still keeps outdated names or pages after {MOMENT:?}");
        }
    }
}

impl fmt::Debug for Invalidator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.state.lock();
        f.debug_struct("Invalidator")
            .field("waiting", &state.queue.len())
            .field("closed", &state.closed)
            .finish()
    }
}

/// Attributes and all pages of an inode, or a name, positive or negative.
fn tell(kernel: &Notifier, waker: &Waker, item: &Item) -> io::Result<()> {
    match item {
        Item::Watchers(path, known) => {
            waker.changed(path.clone(), *known);
            Ok(())
        }
        Item::Inode(ino) => kernel.inval_inode(INodeNo(*ino), 0, 0),
        Item::Entry(parent, name) => kernel.inval_entry(INodeNo(*parent), OsStr::from_bytes(name)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(50);

    /// An invalidator whose kernel waits for a word before each item.
    fn held() -> (Invalidator, mpsc::Sender<()>, Arc<Mutex<Vec<String>>>) {
        let (go, gone) = mpsc::channel();
        let told = Arc::new(Mutex::new(vec![]));
        let invalidator = Invalidator::default();
        let log = Arc::clone(&told);
        invalidator
            .start_with(move |item| {
                let _hung_up = gone.recv();
                log.lock().push(format!("{item:?}"));
                Ok(())
            })
            .unwrap();
        (invalidator, go, told)
    }

    #[test]
    fn flush_waits_for_what_was_queued_before_it() {
        let (invalidator, go, told) = held();
        invalidator.inode(7);
        assert!(invalidator.flush(SHORT).is_err());
        go.send(()).unwrap();
        invalidator.flush(LONG).unwrap();
        assert_eq!(*told.lock(), ["Inode(7)"]);
    }

    #[test]
    fn queueing_never_waits_and_repetitions_are_told_once() {
        let (invalidator, go, told) = held();
        for _ in 0..1000 {
            invalidator.inode(1);
            invalidator.entry(1, b"a");
        }
        drop(go);
        invalidator.flush(LONG).unwrap();
        // The first may have been taken out of the queue before the second came.
        assert!(told.lock().len() <= 3, "{:?}", told.lock());
    }

    #[test]
    fn an_inode_is_told_after_each_of_its_names() {
        let (invalidator, go, told) = held();
        invalidator.inode(1);
        while !invalidator.0.state.lock().queue.is_empty() {
            thread::yield_now();
        }
        for name in [b"a", b"b"] {
            invalidator.entry(9, name);
            invalidator.inode(2);
            invalidator.inode(2);
        }
        assert!(invalidator.is_behind(2));
        drop(go);
        invalidator.flush(LONG).unwrap();
        assert!(!invalidator.is_behind(2));
        let (a, b) = ("Entry(9, [97])", "Entry(9, [98])");
        let all = ["Inode(1)", a, "Inode(2)", b, "Inode(2)"];
        assert_eq!(*told.lock(), all);
        assert!(invalidator.0.state.lock().waiting.is_empty());
    }

    #[test]
    fn a_change_while_the_kernel_is_being_told_is_told_again() {
        let (invalidator, go, told) = held();
        invalidator.inode(1);
        while !invalidator.0.state.lock().queue.is_empty() {
            thread::yield_now();
        }
        invalidator.inode(1);
        drop(go);
        invalidator.flush(LONG).unwrap();
        assert_eq!(told.lock().len(), 2);
    }

    #[test]
    fn the_kernel_is_behind_until_it_has_been_told() {
        let (invalidator, go, _told) = held();
        assert!(!invalidator.is_behind(1));
        invalidator.inode(1);
        assert!(invalidator.is_behind(1) && !invalidator.is_behind(2));
        while !invalidator.0.state.lock().queue.is_empty() {
            thread::yield_now();
        }
        assert!(invalidator.is_behind(1), "it is being told");
        drop(go);
        invalidator.flush(LONG).unwrap();
        assert!(!invalidator.is_behind(1));
    }

    #[test]
    fn a_thread_that_answers_the_kernel_does_not_wait() {
        let (invalidator, _go, _told) = held();
        invalidator.inode(1);
        let other = invalidator.clone();
        let waited = thread::spawn(move || {
            mark_as_answering();
            other.flush(LONG)
        });
        assert_eq!(waited.join().unwrap(), Ok(()));
    }

    #[test]
    fn closing_frees_those_who_wait() {
        let (invalidator, _go, _told) = held();
        invalidator.inode(1);
        let other = invalidator.clone();
        let waiting = thread::spawn(move || other.flush(LONG));
        thread::sleep(SHORT);
        invalidator.close();
        assert_eq!(waiting.join().unwrap(), Ok(()));
        assert_eq!(invalidator.flush(LONG), Ok(()));
    }
}
