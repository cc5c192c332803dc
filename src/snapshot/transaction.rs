//! Many changes as one: made in a private state, and brought into the store in one write, all or none.
//!
//! What is read within is the store as it was at the beginning, with the transaction's own changes
//! (snapshot isolation): two transactions that write the same entry exclude each other, and whoever is
//! second is refused, with every such entry named. What a transaction has read and not written may
//! have changed meanwhile; so may other entries of a directory that it has written in. An entry within a
//! document that it has written just as it was counts as read; a document counts as written.

use std::fmt;

use super::SnapshotError;
use crate::store::{Changed, Store, StoreError, Tx};
use crate::tree::diff::{Diff, Difference, both_are_dirs_of_a_kind};
use crate::tree::{Attrs, Entry, Map, Node, Op, Time, Times, TreeError, is_hidden, root_key};
use crate::value::{Key, KeyPath};

/// Not more conflicts than this are named.
const NAMED: usize = 100;

/// A private state of a store.
#[derive(Debug)]
pub struct Transaction {
    live: Store,
    private: Store,
}

/// An entry that the transaction has changed, and somebody else too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Which.
    pub path: KeyPath,
    /// What has happened to it outside of the transaction.
    pub clash: Clash,
}

/// What has happened to an entry since a transaction began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clash {
    /// It was made.
    Made,
    /// It was changed.
    Changed,
    /// It was removed.
    Removed,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.clash {
            Clash::Made => "made",
            Clash::Changed => "changed",
            Clash::Removed => "removed",
        };
        write!(f, "{} was {what} since the transaction began", self.path)
    }
}

impl Transaction {
    /// Begins: what the store holds now is what the transaction sees.
    ///
    /// # Errors
    /// Those of the journal; [`StoreError::ReadOnly`].
    pub fn begin(live: &Store) -> Result<Self, SnapshotError> {
        Ok(Self {
            live: live.clone(),
            private: live.fork()?,
        })
    }

    /// The private state, a store like any other: what is written to it is nobody else's business
    /// before [`Transaction::commit`], and is lost without.
    pub fn store(&self) -> &Store {
        &self.private
    }

    /// Brings all changes into the store, in one write, or says what keeps them from it; then the
    /// transaction is as it was. Once it is committed it takes no more changes.
    ///
    /// # Errors
    /// Damage; those of the journal, which say so if one write cannot hold as much.
    pub fn commit(&self) -> Result<Vec<Conflict>, SnapshotError> {
        let done = self.try_commit();
        if !matches!(&done, Ok(conflicts) if conflicts.is_empty()) {
            self.private.unseal();
        }
        Ok(done?)
    }

    /// Ends it without a trace.
    ///
    /// # Errors
    /// Those of the journal.
    pub fn abort(&self) -> Result<(), SnapshotError> {
        self.private.seal()?;
        Ok(self
            .live
            .unsynced()
            .transact(|tx| tx.end_fork(&self.private))?)
    }

    fn try_commit(&self) -> Result<Vec<Conflict>, StoreError> {
        let mut steps = Vec::new();
        for Changed { key, old, new } in self.private.seal()? {
            let entry =
                |doc: Option<std::sync::Arc<crate::store::Doc>>| doc.map(|d| d.entry.clone());
            let (old, new) = (entry(old), entry(new));
            // The hidden documents are there as soon as somebody needs them.
            let old = old.or_else(|| is_hidden(&key).then(blank));
            if key == root_key() {
                let path = KeyPath::from(Vec::new());
                steps.push(Difference {
                    path,
                    in_vector: Vec::new(),
                    old: old.as_ref().map(as_dir),
                    new: new.as_ref().map(as_dir),
                });
                continue;
            }
            let pager = self.live.pager();
            let before = steps.len();
            for step in Diff::new(&key, old.clone(), new.clone(), pager).exactly() {
                steps.push(step.map_err(|e| StoreError::tree(&key, e))?);
            }
            // A document that was written just as it was has been written all the same: nobody may
            // have evicted it, and its last write is now.
            if steps.len() == before && old.is_some() && new.is_some() && !is_hidden(&key) {
                steps.push(Difference {
                    path: vec![key].into(),
                    in_vector: vec![false],
                    old,
                    new,
                });
            }
        }
        self.live.transact(|tx| {
            let mut conflicts = Vec::new();
            for step in &steps {
                conflicts.extend(clash(tx, step)?);
                if conflicts.len() >= NAMED {
                    break;
                }
            }
            if conflicts.is_empty() {
                apply(tx, &steps)?;
                tx.end_fork(&self.private)?;
            }
            Ok(conflicts)
        })
    }
}

fn blank() -> Entry {
    Entry::plain(Node::Map(Map::new()))
}

/// The root directory, of which only the attributes stand in its document.
fn as_dir(root: &Entry) -> Entry {
    blank().with_attrs(root.attrs())
}

/// What stands at a path of the store now; nothing where something above it is no directory any more.
fn now_at(tx: &mut Tx<'_>, path: &[Key]) -> Result<Option<Entry>, StoreError> {
    match tx.find_name(path) {
        Err(StoreError::Tree {
            source: TreeError::ThroughScalar { .. },
            ..
        }) => Ok(None),
        Err(error) => Err(error),
        Ok(None) if matches!(path, [key] if is_hidden(key)) => Ok(Some(blank())),
        Ok(found) => Ok(found.map(|found| found.entry)),
    }
}

/// Whether somebody else has changed what a step changes.
fn clash(tx: &mut Tx<'_>, step: &Difference) -> Result<Option<Conflict>, StoreError> {
    let now = now_at(tx, &step.path)?;
    let conflict = |path: &KeyPath, clash| {
        Some(Conflict {
            path: path.clone(),
            clash,
        })
    };
    let clash = match (&step.old, &now) {
        (None, Some(_)) => Clash::Made,
        (Some(_), None) => Clash::Removed,
        (None, None) => {
            let Some((_, above)) = step.path.split_last().filter(|(_, a)| !a.is_empty()) else {
                return Ok(None);
            };
            let above = KeyPath::from(above.to_vec());
            return Ok(match now_at(tx, &above)? {
                Some(dir) if dir.is_dir() => None,
                Some(_) => conflict(&above, Clash::Changed),
                None => conflict(&above, Clash::Removed),
            });
        }
        (Some(old), Some(now)) => {
            let same = match both_are_dirs_of_a_kind(Some(old), step.new.as_ref()) {
                // Only what the directory itself is was changed.
                true => both_are_dirs_of_a_kind(Some(old), Some(now)) && beside(old) == beside(now),
                false => is_same(tx, step, old, now)?,
            };
            if same {
                return Ok(None);
            }
            Clash::Changed
        }
    };
    Ok(conflict(&step.path, clash))
}

/// Whether two versions are the very same, with all that is in them.
fn is_same(tx: &Tx<'_>, step: &Difference, old: &Entry, now: &Entry) -> Result<bool, StoreError> {
    let (Some(top), Some(key)) = (step.path.first(), step.path.last()) else {
        return Ok(true);
    };
    let (old, now) = (Some(old.clone()), Some(now.clone()));
    match Diff::new(key, old, now, tx.pager()).exactly().next() {
        None => Ok(true),
        Some(Ok(_)) => Ok(false),
        Some(Err(error)) => Err(StoreError::tree(top, error)),
    }
}

/// What a directory has beside its entries that does not follow from changes of these.
fn beside(dir: &Entry) -> Attrs {
    Attrs {
        times: None,
        atime: None,
        stamp: None,
        ..dir.attrs()
    }
}

fn apply(tx: &mut Tx<'_>, steps: &[Difference]) -> Result<(), StoreError> {
    let now = tx.now;
    let mut dirs = Vec::new();
    for step in steps {
        let path = &step.path;
        let listed = (!path.first().is_some_and(is_hidden)).then_some(now);
        match &step.new {
            Some(new) if both_are_dirs_of_a_kind(step.old.as_ref(), Some(new)) => {
                let there = tx.find_name(path)?.map(|found| found.entry.attrs());
                if there.is_none() {
                    tx.put(path.clone(), blank(), None)?;
                }
                if step.old.as_ref().map(Entry::attrs) != Some(new.attrs()) {
                    let touched = there != step.old.as_ref().map(Entry::attrs);
                    dirs.push((path, new.attrs(), touched));
                } else if path.len() == 1 {
                    tx.push(Op::Touch { path: path.clone() })?;
                }
            }
            Some(new) => tx.put(path.clone(), new.clone(), listed)?,
            None => tx.remove(path.clone(), listed)?,
        }
    }
    for (path, mut attrs, touched) in dirs {
        if touched {
            attrs.times = attrs.times.map(|times| later(times, now));
        }
        tx.set_attrs(path.clone(), attrs)?;
    }
    // The counts of names are among what was changed.
    tx.all_put_back();
    Ok(())
}

/// The times of a directory in which others have changed something, too.
fn later(times: Times, now: Time) -> Times {
    Times {
        mtime: now,
        ctime: now,
        ..times
    }
}
