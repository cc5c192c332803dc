//! Hooks: who is told of every write that has succeeded, in the order of the commits.
//!
//! A commit puts what it did into a queue while it holds the commit lock, so the queue is in the order
//! of the journal. Once the write has succeeded, which for a handle that waits for the disk is after
//! that, its entry is ready; whoever made it so runs the hooks for all that is ready at the front. An
//! entry behind one that still waits is left to the thread that waits.
//!
//! A write from within a hook is queued behind, and its hooks run when those at work have returned.

use std::cell::Cell;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};

use super::record::Doc;
use super::{SWEEP, Store, StoreError, Tx};
use crate::tree::{Op, Time, is_hidden};
use crate::value::{Key, KeyPath, Value};

/// What was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiOp {
    /// A value was put at a path, by the API or through a mount.
    AssocIn,
    /// A value was replaced by a function of it.
    UpdateIn,
    /// A path was removed.
    Dissoc,
    /// A byte string was put.
    Bassoc,
    /// An element was appended to a log.
    Append,
    /// Several keys were put.
    MultiAssoc,
    /// Several keys were removed.
    MultiDissoc,
    /// Something was moved.
    Rename,
    /// Two things were exchanged.
    Swap,
    /// A key was evicted.
    Sweep,
    /// Several steps of another kind.
    Transaction,
}

impl ApiOp {
    /// Its name, as in konserve's `:api-op` where there is one.
    pub fn name(self) -> &'static str {
        match self {
            Self::AssocIn => "assoc-in",
            Self::UpdateIn => "update-in",
            Self::Dissoc => "dissoc",
            Self::Bassoc => "bassoc",
            Self::Append => "append",
            Self::MultiAssoc => "multi-assoc",
            Self::MultiDissoc => "multi-dissoc",
            Self::Rename => "rename",
            Self::Swap => "swap",
            Self::Sweep => "sweep",
            Self::Transaction => "transaction",
        }
    }

    /// What steps amount to that nobody has named.
    fn of(ops: &[Op], paths: usize) -> Self {
        let count = |is: fn(&Op) -> bool| ops.iter().filter(|op| is(op)).count();
        let taken = count(|op| matches!(op, Op::Take { .. }));
        let placed = count(|op| matches!(op, Op::Place { .. }));
        match (taken, placed, paths) {
            (0, 0, 1) => Self::AssocIn,
            (1, 0, 1) => Self::Dissoc,
            (1 | 2, 1, 2) => Self::Rename,
            (2, 2, 2) => Self::Swap,
            _ => Self::Transaction,
        }
    }
}

/// A write that has succeeded. Values are read when they are asked for; they are those of this
/// write, whatever came after it.
#[derive(Clone, Debug)]
pub struct Write {
    /// What was called.
    pub api_op: ApiOp,
    /// By whom: see [`Committed::origin`](super::Committed::origin).
    pub origin: u64,
    /// The number of the write: later ones have larger numbers.
    pub seq: u64,
    /// When, by the store's clock.
    pub time: Time,
    /// The paths that were written or removed, in the order of the steps.
    pub paths: Vec<KeyPath>,
    store: Store,
    docs: BTreeMap<Key, Versions>,
}

/// A document before and after.
#[derive(Clone, Debug)]
struct Versions {
    old: Option<Arc<Doc>>,
    new: Option<Arc<Doc>>,
}

impl Write {
    /// What a commit did, if it wrote values.
    pub(super) fn of(
        store: &Store,
        origin: u64,
        seq: u64,
        tx: &Tx<'_>,
        new: impl Fn(&Key) -> Option<Arc<Doc>>,
    ) -> Option<Self> {
        let of_a_value = |op: &&Op| {
            let of_attributes = matches!(op, Op::SetAttrs { .. } | Op::Touch { .. });
            !of_attributes && op.path().first().is_some_and(|key| !is_hidden(key))
        };
        let paths: Vec<KeyPath> = once(tx.ops.iter().filter(of_a_value).map(Op::path))
            .into_iter()
            .cloned()
            .collect();
        if paths.is_empty() {
            return None;
        }
        let of_document = |(key, draft): (&Key, &super::tx::Draft)| {
            let old = draft.old.clone();
            (key.clone(), Versions { old, new: new(key) })
        };
        let changed = tx.drafts.iter().filter(|(_, draft)| draft.changed);
        let api_op = match tx.api_op {
            _ if origin == SWEEP => ApiOp::Sweep,
            Some(api_op) => api_op,
            None => ApiOp::of(&tx.ops, paths.len()),
        };
        Some(Self {
            api_op,
            origin,
            seq,
            time: tx.now,
            paths,
            // Not what keeps the store open.
            store: Store {
                _life: None,
                synced: false,
                ..store.clone()
            },
            docs: changed.map(of_document).collect(),
        })
    }

    /// The first path.
    pub fn key_path(&self) -> &[Key] {
        self.paths.first().map_or(&[], |path| path.as_slice())
    }

    /// The first path's key.
    pub fn key(&self) -> Option<&Key> {
        self.key_path().first()
    }

    /// The keys written, without repetition.
    pub fn keys(&self) -> Vec<&Key> {
        once(self.paths.iter().filter_map(|path| path.first()))
    }

    /// The value at the first path after the write; `None` if it was removed.
    ///
    /// # Errors
    /// As [`Store::get_in`].
    pub fn value(&self) -> Result<Option<Value>, StoreError> {
        self.new_at(self.key_path())
    }

    /// The value at the first path before the write; `None` if there was none.
    ///
    /// # Errors
    /// As [`Store::get_in`].
    pub fn old_value(&self) -> Result<Option<Value>, StoreError> {
        self.old_at(self.key_path())
    }

    /// The keys written with their values after the write; removed ones are not among them.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn kvs(&self) -> Result<Vec<(Key, Value)>, StoreError> {
        let mut kvs = Vec::new();
        for key in self.keys() {
            if let Some(value) = self.new_at(std::slice::from_ref(key))? {
                kvs.push((key.clone(), value));
            }
        }
        Ok(kvs)
    }

    /// The value at a path of a key written, after the write.
    ///
    /// # Errors
    /// As [`Store::get_in`].
    pub fn new_at(&self, path: &[Key]) -> Result<Option<Value>, StoreError> {
        self.read(path, |versions| versions.new.as_ref())
    }

    /// The value at a path of a key written, before the write.
    ///
    /// # Errors
    /// As [`Store::get_in`].
    pub fn old_at(&self, path: &[Key]) -> Result<Option<Value>, StoreError> {
        self.read(path, |versions| versions.old.as_ref())
    }

    fn read(
        &self,
        path: &[Key],
        side: impl Fn(&Versions) -> Option<&Arc<Doc>>,
    ) -> Result<Option<Value>, StoreError> {
        let key = path.first().ok_or(StoreError::EmptyPath)?;
        match self.docs.get(key).and_then(side) {
            Some(doc) => self.store.value_of(path, doc),
            None => Ok(None),
        }
    }
}

/// Each of these once, where it comes first.
fn once<'t, T: Eq + Hash>(all: impl Iterator<Item = &'t T>) -> Vec<&'t T> {
    let mut seen = HashSet::new();
    all.filter(|one| seen.insert(*one)).collect()
}

/// Told of every write that has succeeded.
pub trait WriteHook: Send + Sync {
    /// A write has succeeded. Later writes are told of when this returns. It may use the store, but not
    /// a mount of it: what writes there may be waiting for this. A panic is logged, and ends nothing.
    fn written(&self, write: &Write);
}

impl<F: Fn(&Write) + Send + Sync> WriteHook for F {
    fn written(&self, write: &Write) {
        self(write);
    }
}

#[derive(Debug)]
enum State {
    /// Not known yet whether it has succeeded.
    Waits,
    Succeeded,
    Failed,
}

#[derive(Debug)]
struct Queued {
    write: Write,
    state: State,
}

/// The hooks of a store.
#[derive(Default)]
pub(super) struct Hooks {
    hooks: RwLock<BTreeMap<String, Arc<dyn WriteHook>>>,
    any: AtomicBool,
    queue: Mutex<VecDeque<Queued>>,
    /// Who runs hooks.
    turn: Mutex<()>,
}

impl std::fmt::Debug for Hooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.hooks.read().keys()).finish()
    }
}

thread_local! {
    /// Whether this thread runs a hook.
    static IN_HOOK: Cell<bool> = const { Cell::new(false) };
}

impl Hooks {
    /// Whether there are any.
    pub fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// Puts a write behind the others. With the commit lock held.
    pub fn queue(&self, write: Write) {
        let state = State::Waits;
        self.queue.lock().push_back(Queued { write, state });
    }

    /// A write has succeeded or failed.
    pub fn settle(&self, seq: u64, succeeded: bool) {
        {
            let mut queue = self.queue.lock();
            let Ok(at) = queue.binary_search_by_key(&seq, |queued| queued.write.seq) else {
                return;
            };
            if let Some(queued) = queue.get_mut(at) {
                queued.state = if succeeded {
                    State::Succeeded
                } else {
                    State::Failed
                };
            }
        }
        self.deliver();
    }

    /// Runs the hooks for what is ready.
    fn deliver(&self) {
        // From within a hook nobody waits: the one who runs this store's hooks may wait for that hook.
        let inside = IN_HOOK.get();
        while self.is_ready() {
            let turn = if inside {
                self.turn.try_lock()
            } else {
                Some(self.turn.lock())
            };
            // Who has the turn looks again after giving it back.
            let Some(_turn) = turn else { return };
            while let Some(write) = self.take() {
                let hooks: Vec<_> = self
                    .hooks
                    .read()
                    .iter()
                    .map(|(id, hook)| (id.clone(), Arc::clone(hook)))
                    .collect();
                IN_HOOK.set(true);
                for (id, hook) in hooks {
                    let ran = catch_unwind(AssertUnwindSafe(|| hook.written(&write)));
                    if ran.is_err() {
                        let op = write.api_op.name();
                        tracing::error!(hook = id, seq = write.seq, op, "a write hook panicked");
                    }
                }
                IN_HOOK.set(inside);
            }
        }
    }

    fn is_ready(&self) -> bool {
        let queue = self.queue.lock();
        let first = queue.front();
        first.is_some_and(|queued| !matches!(queued.state, State::Waits))
    }

    fn take(&self) -> Option<Write> {
        let mut queue = self.queue.lock();
        loop {
            match queue.front()?.state {
                State::Waits => return None,
                State::Succeeded => return queue.pop_front().map(|queued| queued.write),
                State::Failed => drop(queue.pop_front()),
            }
        }
    }
}

impl Store {
    /// Has a hook told of every write from now on, in place of the one that had this id.
    pub fn add_write_hook(&self, id: &str, hook: Arc<dyn WriteHook>) {
        let hooks = &self.inner.hooks;
        let mut all = hooks.hooks.write();
        all.insert(id.to_owned(), hook);
        hooks.any.store(true, Ordering::Release);
    }

    /// Tells a hook of nothing any more, and says whether there was one of this id. Of what is under
    /// way it may still be told.
    pub fn remove_write_hook(&self, id: &str) -> bool {
        let hooks = &self.inner.hooks;
        let mut all = hooks.hooks.write();
        let there = all.remove(id).is_some();
        hooks.any.store(!all.is_empty(), Ordering::Release);
        there
    }

    /// Removes all hooks, which may hold the store.
    pub(super) fn remove_write_hooks(&self) {
        let hooks = &self.inner.hooks;
        let mut all = hooks.hooks.write();
        hooks.any.store(false, Ordering::Release);
        let gone = std::mem::take(&mut *all);
        drop(all);
        drop(gone);
    }
}
