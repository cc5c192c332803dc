//! A transaction: documents as they were read, the steps applied to them so far.

use std::sync::Arc;

use super::hooks::ApiOp;
use super::record::Doc;
use super::{Store, StoreError, limits};
use crate::tree::edit::{self, Found};
use crate::tree::{
    Applier, Attrs, Entry, Folder, Forest, Node, Op, Pager, Patch, Time, TreeError, root_key,
};
use crate::value::{Key, KeyPath};
use std::collections::BTreeMap;

/// Entries above this many bytes go into pages before the journal refers to them.
const LARGE: usize = 256 * 1024;

/// A document within a transaction.
#[derive(Debug)]
pub(super) struct Draft {
    /// The version that was read.
    pub seq: u64,
    /// There was no document.
    pub absent: bool,
    /// The document that was read.
    pub old: Option<Arc<Doc>>,
    /// The version that is being made.
    pub entry: Option<Entry>,
    /// Whether a step changed it.
    pub changed: bool,
}

/// Adds the step that contains the number of the record. It runs with the commit lock held, when it
/// is sure that there is no conflict.
pub(super) type Numbered<'a> = Box<dyn FnOnce(&mut Tx<'a>, u64) -> Result<(), StoreError> + 'a>;

/// Reads and steps that become one record of the journal, or nothing.
pub struct Tx<'a> {
    pub(super) store: &'a Store,
    pub(super) drafts: BTreeMap<Key, Draft>,
    pub(super) ops: Vec<Op>,
    pub(super) applier: Applier,
    /// What the steps bring to documents and take from them, as far as it may hold names of linked
    /// files.
    pub(super) moved: Vec<super::links::Moved>,
    /// It makes a linked file.
    pub(super) linking: bool,
    /// It met a name of a linked file that is not there.
    pub(super) torn: bool,
    pub(super) checks: Vec<Box<dyn Fn() -> bool + 'a>>,
    pub(super) published: Vec<Box<dyn FnOnce() + 'a>>,
    /// The last step, which contains the number of the record.
    pub(super) numbered: Option<Numbered<'a>>,
    /// What hooks are told of it; else what its steps amount to.
    pub(super) api_op: Option<ApiOp>,
    /// The state of the records when the transaction began.
    pub(super) generation: u64,
    /// The store's time of this transaction, later than that of every one begun before.
    pub now: Time,
}

impl std::fmt::Debug for Tx<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tx")
            .field("ops", &self.ops)
            .finish_non_exhaustive()
    }
}

impl<'a> Tx<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self {
            store,
            drafts: BTreeMap::new(),
            ops: Vec::new(),
            applier: Applier::default(),
            moved: Vec::new(),
            linking: false,
            torn: false,
            checks: Vec::new(),
            published: Vec::new(),
            numbered: None,
            api_op: None,
            generation: store.inner.docs.generation(),
            now: store.inner.clock.tick(),
        }
    }

    /// The pages of the store.
    pub fn pager(&self) -> &'a Pager {
        &self.store.inner.pager
    }

    pub(super) fn draft(&mut self, key: &Key) -> Result<&mut Draft, StoreError> {
        use std::collections::btree_map::Entry as Place;
        match self.drafts.entry(key.clone()) {
            Place::Occupied(o) => Ok(o.into_mut()),
            Place::Vacant(v) => {
                let (seq, doc) = self.store.version(key)?;
                let entry = doc.as_ref().map(|d| d.entry.clone());
                Ok(v.insert(Draft {
                    seq,
                    old: doc,
                    absent: entry.is_none(),
                    entry,
                    changed: false,
                }))
            }
        }
    }

    /// What stands at a path, as the transaction sees it: a name of a linked file as such. The empty
    /// path is the root directory's attributes under an empty map.
    pub fn find_name(&mut self, path: &[Key]) -> Result<Option<Found>, StoreError> {
        let pager = self.pager();
        let Some((key, rest)) = path.split_first() else {
            let attrs = self
                .draft(&root_key())?
                .entry
                .as_ref()
                .and_then(|e| e.attrs.clone());
            let entry = Entry {
                attrs,
                node: Node::Map(crate::tree::Map::new()),
            };
            let stamp = edit::stamp_of(&entry, self.store.inner.created);
            return Ok(Some(Found {
                entry,
                stamp,
                link: None,
            }));
        };
        match &self.draft(key)?.entry {
            Some(root) => edit::find(root, rest, pager).map_err(|e| StoreError::tree(key, e)),
            None => Ok(None),
        }
    }

    /// What hooks are told that this is; else it is what its steps amount to.
    pub fn called(&mut self, api_op: ApiOp) {
        self.api_op = Some(api_op);
    }

    /// Adds a step.
    pub fn push(&mut self, op: Op) -> Result<(), StoreError> {
        let pager = self.pager();
        limits::check(&op, &self.ops, &self.applier, pager)?;
        let op = self.unload(op)?;
        self.note_names(&op)?;
        let key = op.path().first().cloned().unwrap_or_else(root_key);
        let mut applier = std::mem::take(&mut self.applier);
        let done = {
            let mut forest = Drafts {
                tx: self,
                error: None,
            };
            let done = applier.step(&op, &mut forest, pager);
            match forest.error {
                Some(e) => Err(e),
                None => done.map_err(|e| StoreError::tree(&key, e)),
            }
        };
        self.applier = applier;
        done?;
        self.ops.push(op);
        Ok(())
    }

    /// Puts what is large into pages, so that journal records stay small.
    fn unload(&mut self, op: Op) -> Result<Op, StoreError> {
        match op {
            Op::Put { path, entry, time } if rough_weight(&entry, LARGE) > LARGE => {
                let entry = self.write_pages(&path, &entry)?;
                Ok(Op::Put { path, entry, time })
            }
            other => Ok(other),
        }
    }

    /// Writes an entry's large parts into pages now.
    pub fn write_pages(&mut self, path: &[Key], entry: &Entry) -> Result<Entry, StoreError> {
        let key = path.first().cloned().unwrap_or_else(root_key);
        let pager = self.pager();
        let mut folder = Folder::new(pager, self.store.inner.last_seq());
        let entry = folder.entry(entry).map_err(|e| StoreError::tree(&key, e))?;
        self.store.write_pages(folder.finish())?;
        Ok(entry)
    }

    /// When the document under a key was written before this transaction.
    ///
    /// # Errors
    /// Damage, or a failure of the backend.
    pub fn last_write(&mut self, key: &Key) -> Result<Option<Time>, StoreError> {
        Ok(self.draft(key)?.old.as_ref().map(|doc| doc.last_write))
    }

    /// Commits only if `check` holds at that moment; else the transaction runs again. It runs with
    /// the commit lock held: it must be quick and not call the store.
    pub fn require(&mut self, check: impl Fn() -> bool + 'a) {
        self.checks.push(Box::new(check));
    }

    /// Runs `f` together with the commit, before anyone else can commit. It must be quick and not
    /// call the store.
    pub fn on_commit(&mut self, f: impl FnOnce() + 'a) {
        self.published.push(Box::new(f));
    }

    /// Puts an entry at a path whose parent is there. `time`: the parent's listing changes.
    pub fn put(
        &mut self,
        path: KeyPath,
        entry: Entry,
        time: Option<Time>,
    ) -> Result<(), StoreError> {
        self.push(Op::Put { path, entry, time })
    }

    /// Removes the entry at a path.
    pub fn remove(&mut self, path: KeyPath, time: Option<Time>) -> Result<(), StoreError> {
        self.push(Op::Take { path, time })
    }

    /// Replaces the attributes at a path.
    pub fn set_attrs(&mut self, path: KeyPath, attrs: Attrs) -> Result<(), StoreError> {
        self.push(Op::SetAttrs { path, attrs })
    }

    /// Writes into the content at a path.
    pub fn write(&mut self, path: KeyPath, patch: Patch) -> Result<(), StoreError> {
        self.push(Op::Write { path, patch })
    }

    /// Number of entries taken so far: the index that the next `Take` gets.
    pub fn taken(&self) -> u64 {
        self.ops
            .iter()
            .filter(|op| matches!(op, Op::Take { .. }))
            .count() as u64
    }
}

/// The drafts of a transaction as a forest. An error of the store is kept beside, for the forest
/// speaks of trees.
struct Drafts<'t, 'a> {
    tx: &'t mut Tx<'a>,
    error: Option<StoreError>,
}

impl Forest for Drafts<'_, '_> {
    fn document(&mut self, key: &Key) -> Result<&mut Option<Entry>, TreeError> {
        match self.tx.draft(key) {
            Ok(draft) => {
                draft.changed = true;
                Ok(&mut draft.entry)
            }
            Err(e) => {
                let text = e.to_string();
                self.error = Some(e);
                Err(TreeError::malformed("a document", text))
            }
        }
    }
}

/// Bytes that an entry holds in memory, counted up to a limit.
fn rough_weight(entry: &Entry, limit: usize) -> usize {
    let mut total = 0;
    weigh(entry, limit, &mut total);
    total
}

fn weigh(entry: &Entry, limit: usize, total: &mut usize) {
    *total += 16;
    match &entry.node {
        Node::Text(c) | Node::Bytes(c) => match c {
            crate::tree::Content::Inline(b) => *total += b.len(),
            crate::tree::Content::Page(_) => *total += 64,
            crate::tree::Content::Chunked(c) => {
                c.chunks.visit_loaded(&mut |_, e| {
                    weigh(e, limit, total);
                    *total <= limit
                });
            }
        },
        Node::Map(m) | Node::Vector(m) => {
            m.visit_loaded(&mut |_, e| {
                weigh(e, limit, total);
                *total <= limit
            });
        }
        Node::Scalar(_) | Node::ScalarPage(_) | Node::Ref(_) => *total += 64,
    }
}
