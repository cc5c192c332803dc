//! Writes through the API, or another view, as this view's kernel must hear of them.

use std::sync::{Arc, OnceLock};

use super::absent::Absent;
use super::inode::Inode;
use super::names::{NameContext, name_of};
use super::table::Table;
use super::types::{Invalidate, ROOT};
use crate::store::{Committed, Observer};
use crate::tree::{Op, is_hidden, links};
use crate::value::Key;

/// Hears of commits. It is called with the store's commit lock held, so it only marks inodes and
/// queues what the kernel is told.
pub struct Watch {
    origin: u64,
    table: Arc<Table>,
    absent: Arc<Absent>,
    kernel: Arc<OnceLock<Box<dyn Invalidate>>>,
}

impl Watch {
    /// Watches on behalf of the view `origin`.
    pub fn new(
        origin: u64,
        table: Arc<Table>,
        absent: Arc<Absent>,
        kernel: Arc<OnceLock<Box<dyn Invalidate>>>,
    ) -> Self {
        Self {
            origin,
            table,
            absent,
            kernel,
        }
    }

    /// `removed`: there was something, which the kernel may have forgotten.
    fn changed(&self, path: &[Key], removed: bool) {
        // Before its names go: with them the kernel lets go of it.
        let known = self.table.known(path).is_some();
        for inode in self.table.below(path) {
            self.replaced(&inode);
        }
        let (Some((key, above)), Some(kernel)) = (path.split_last(), self.kernel.get()) else {
            return;
        };
        // The listing and times of the directory above, if the kernel knows it, and the name.
        let Some(parent) = self.table.known(above) else {
            return;
        };
        kernel.inode(parent);
        if !known {
            kernel.written(path.to_vec().into(), removed);
        }
        let contexts = if above.is_empty() {
            [NameContext::Root, NameContext::Root]
        } else {
            [NameContext::Map, NameContext::Vector]
        };
        for context in contexts {
            kernel.entry(parent, &name_of(key, context));
        }
    }

    /// What the write did to it is found out when it is used next: that may take reading pages.
    fn replaced(&self, inode: &Arc<Inode>) {
        if inode.ino == ROOT {
            return;
        }
        inode.mark();
        let Some(kernel) = self.kernel.get() else {
            return;
        };
        self.absent.tell(inode.ino, &**kernel);
        let places = inode.names();
        for place in &places {
            for context in [NameContext::Map, NameContext::Vector] {
                kernel.entry(place.parent, &name_of(&place.key, context));
            }
        }
        // After its names: only then no answer with what it was before is under way any more.
        kernel.inode(inode.ino);
        for path in places.iter().filter_map(|place| self.table.path_at(place)) {
            kernel.written(path.into(), true);
        }
    }
}

impl Observer for Watch {
    fn committed(&self, commit: &Committed<'_>) {
        if commit.origin == self.origin {
            return;
        }
        for op in commit.ops {
            match (op, links::id_of(op.path())) {
                // What happened stands in the other steps.
                (Op::Touch { .. }, _) => {}
                (_, Some(id)) => {
                    if let Some(inode) = self.table.linked(id) {
                        self.replaced(&inode);
                    }
                }
                (_, None) if op.path().first().is_some_and(is_hidden) => {}
                (_, None) => self.changed(op.path(), matches!(op, Op::Take { .. })),
            }
        }
    }

    fn is_in_use(&self, key: &Key) -> bool {
        let known = self.table.below(std::slice::from_ref(key));
        known.iter().any(|inode| inode.may_be_written())
    }
}
