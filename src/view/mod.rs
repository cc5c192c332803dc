//! Files and directories over a store.
//!
//! `table` holds the inodes that the kernel knows and where they are; an inode's `Work` is its
//! working copy, shared by all handles. `ops` has one file per family of operations. A name operation
//! is one transaction of the store; it moves the inodes in the table within the commit, so both always
//! agree. The view knows neither fuser nor error numbers. A snapshot is a view over the store as it
//! was; `control` puts `.kfs` beside the live view and hands each operation to the view that it is of.
//!
//! Lock order: an inode's working copy (of two, the one with the smaller number first), then the
//! store's commit lock, then the table. No lock but a working copy's is held during input or output,
//! so an inode whose pages are slow keeps nobody else waiting.

mod absent;
mod attr;
mod buffer;
mod control;
mod directory;
mod error;
pub mod events;
mod failure;
mod handles;
mod hints;
mod inode;
pub mod names;
mod ops;
pub mod render;
mod special;
pub mod stats;
mod table;
#[cfg(test)]
mod tests;
mod timer;
mod types;
mod typing;
mod watch;
mod work;
mod xattrs;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

pub use control::Namespace;
pub use error::{Name, ViewError};
pub use ops::Spot;
pub use types::{
    Attr, Caller, DirItem, FileKind, Ino, Invalidate, Lasting, Opened, ROOT, SetAttr, SetTime,
    StatFs, Time,
};

use crate::meter::Group;
use crate::store::Store;
use handles::Handles;
use table::Table;

type Result<T, E = ViewError> = std::result::Result<T, E>;

/// How entries without attributes look, and how content is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewOptions {
    /// Owner of entries that have none.
    pub uid: u32,
    /// Group of entries that have none.
    pub gid: u32,
    /// Permissions of files that have none.
    pub file_mode: u32,
    /// Permissions of directories that have none.
    pub dir_mode: u32,
    /// Content that does not parse as the declared type is refused.
    pub strict: bool,
    /// New files are given the type that their content looks like.
    pub infer: bool,
    /// Nothing may change.
    pub read_only: bool,
}

impl Default for ViewOptions {
    fn default() -> Self {
        Self {
            uid: 0,
            gid: 0,
            file_mode: 0o644,
            dir_mode: 0o755,
            strict: false,
            infer: false,
            read_only: false,
        }
    }
}

/// A store as files and directories.
#[derive(Debug)]
pub struct View {
    store: Store,
    options: ViewOptions,
    /// Tells this view's commits from those of others.
    origin: u64,
    table: Arc<Table>,
    handles: Handles,
    hints: hints::Hints,
    dirty: timer::Dirty,
    behind: buffer::Behind,
    absent: Arc<absent::Absent>,
    kernel: Arc<OnceLock<Box<dyn Invalidate>>>,
    last_error: Mutex<Option<String>>,
    events: Arc<events::Events>,
    /// Where operations of the kernel are counted.
    operations: OnceLock<Arc<Group>>,
    closed: AtomicBool,
}

impl std::fmt::Debug for dyn Invalidate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Invalidate")
    }
}

impl View {
    /// A view of a store's present state, or of a snapshot.
    ///
    /// # Errors
    /// If the thread cannot be started that commits what programs leave open.
    pub fn new(store: Store, options: ViewOptions) -> Result<Arc<Self>> {
        static VIEWS: AtomicU64 = AtomicU64::new(1);
        let origin = VIEWS.fetch_add(1, Ordering::Relaxed);
        let table = Arc::new(Table::new());
        let kernel: Arc<OnceLock<Box<dyn Invalidate>>> = Arc::default();
        let absent = Arc::default();
        // Nobody else changes a snapshot or a private state.
        if store.epoch().is_none() {
            store.observe(Arc::new(watch::Watch::new(
                origin,
                Arc::clone(&table),
                Arc::clone(&absent),
                Arc::clone(&kernel),
            )));
        }
        let options = ViewOptions {
            read_only: options.read_only || store.is_read_only(),
            ..options
        };
        let events = Arc::new(events::Events::new(store.clone(), origin));
        let view = Arc::new(Self {
            store,
            options,
            origin,
            table,
            handles: Handles::default(),
            hints: hints::Hints::default(),
            dirty: timer::Dirty::default(),
            behind: buffer::Behind::default(),
            absent,
            kernel,
            last_error: Mutex::default(),
            events,
            operations: OnceLock::new(),
            closed: AtomicBool::new(false),
        });
        if !view.options.read_only {
            timer::start(&view)?;
        }
        Ok(view)
    }

    /// The store behind the view.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Registers who is told that the kernel's caches are out of date; only the first one counts.
    pub fn set_invalidator(&self, kernel: Box<dyn Invalidate>) {
        let _ = self.kernel.set(kernel);
    }

    /// Registers where operations of the kernel are counted; only the first one counts.
    pub fn set_operations(&self, operations: Arc<Group>) {
        let _ = self.operations.set(operations);
    }

    /// What changes.
    pub fn events(&self) -> &Arc<events::Events> {
        &self.events
    }

    /// Commits everything and makes it durable. No operation may follow.
    pub fn shutdown(&self) {
        self.closed.store(true, Ordering::Release);
        if self.options.read_only {
            return;
        }
        for inode in self.dirty.take_all() {
            if let Err(e) = self.commit(&inode) {
                tracing::error!(ino = inode.ino, error = %e, "a file could not be committed at shutdown");
            }
        }
        if let Err(e) = self.store.sync() {
            tracing::error!(error = %e, "the store could not be synced at shutdown");
        }
    }

    /// Commits everything that programs have written; the error is that of the first file that could
    /// not be.
    fn commit_all(&self) -> Result<()> {
        let mut done = Ok(());
        for inode in self.dirty.all() {
            done = done.and(self.commit(&inode));
        }
        done
    }

    /// The reason of the last operation that failed on a file's content or a document, or of what the
    /// daemon does by itself.
    pub fn last_error(&self) -> Option<String> {
        self.last_error.lock().clone()
    }

    /// Keeps the reason of such a failure.
    pub fn keep_error(&self, reason: String) {
        *self.last_error.lock() = Some(reason);
    }

    /// How much the view keeps in mind: inodes beside the root, names that are not committed, open
    /// handles, inodes with something to commit.
    #[doc(hidden)]
    pub fn known(&self) -> [usize; 4] {
        let (inodes, pending) = self.table.counts();
        [inodes, pending, self.handles.count(), self.dirty.count()]
    }

    fn writable(&self) -> Result<()> {
        if self.options.read_only {
            return Err(ViewError::ReadOnly {
                what: "the filesystem".into(),
            });
        }
        Ok(())
    }
}
