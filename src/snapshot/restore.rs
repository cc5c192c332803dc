//! Bringing back what a snapshot has, as one write.

use std::collections::BTreeMap;

use super::SnapshotError;
use crate::store::{Changed, Store, StoreError, Tx};
use crate::tree::{Attrs, Entry, Node, Time, Times, TreeError, edit, is_hidden, links};
use crate::value::{Key, KeyPath};

/// Documents looked at in one go.
const DOCS: usize = 256;

/// Puts what stands at a path in a snapshot there again, with its attributes, in one write: what is
/// in pages is shared, so that its size does not matter. A file with several names gets its content
/// back under all of them; within a directory such names become names of a file of their own.
///
/// # Errors
/// [`SnapshotError::NotThen`] if nothing was there; [`StoreError::NothingThere`] if the directory
/// that it was in is gone; [`StoreError::EmptyPath`]; those of the journal.
pub fn restore(store: &Store, then: &Store, path: &[Key]) -> Result<(), SnapshotError> {
    let (Some(top), Some((_, above))) = (path.first(), path.split_last()) else {
        return Err(StoreError::EmptyPath.into());
    };
    let fail = |e: TreeError| StoreError::tree(top, e);
    let not_then = || SnapshotError::NotThen {
        path: path.to_vec().into(),
    };
    let doc = then.doc(top)?.ok_or_else(not_then)?;
    let found = edit::find(&doc.entry, path.get(1..).unwrap_or_default(), then.pager());
    let found = match found {
        Err(TreeError::ThroughScalar { .. }) => None,
        found => found.map_err(fail)?,
    };
    let found = found.ok_or_else(not_then)?;
    let mut entry = super::diff::followed(then, top, Some(found.entry.clone()))?
        .unwrap_or_else(|| found.entry.clone());
    let names = detach(then, top, &mut entry)?;
    store.transact(|tx| {
        if !above.is_empty() && !tx.find(above)?.is_some_and(|above| above.entry.is_dir()) {
            let path = KeyPath::from(above.to_vec()).to_string();
            return Err(StoreError::NothingThere { path });
        }
        let now = tx.now;
        let entry = entry.clone().with_attrs(restored(&entry, found.stamp, now));
        // A name of a linked file that is still one leads to the file.
        let there = tx.find(path)?;
        let home = match &found.entry.node {
            Node::Ref(_) => Tx::home(path, there.as_ref()),
            _ => path.to_vec().into(),
        };
        let listed = (there.is_none() || *home == *path).then_some(now);
        tx.put(home, entry, listed)?;
        for names in names.values() {
            let Some((first, others)) = names.split_first() else {
                continue;
            };
            let full = |name: &[Key]| KeyPath::from([path, name].concat());
            let from = full(first);
            let found = tx.find(&from)?;
            let attrs = found.map_or_else(Attrs::default, |found| found.entry.attrs());
            let id = attrs.ino.unwrap_or(u64::from(now.nanos));
            for other in others {
                tx.link(&from, full(other), attrs.clone(), id, now)?;
            }
        }
        Ok(())
    })?;
    Ok(())
}

/// The attributes that something had, with what it inherited then; that it changed is told by its
/// ctime alone.
fn restored(entry: &Entry, stamp: Time, now: Time) -> Attrs {
    let mut attrs = entry.attrs();
    attrs.times = Some(Times {
        ctime: now,
        ..edit::times_of(entry, stamp)
    });
    attrs.stamp.get_or_insert(stamp);
    attrs
}

/// Names of linked files below an entry, by file, with the first of each replaced by the file and the
/// others removed: they are given to the file again where it stands then.
type Names = BTreeMap<u64, Vec<Vec<Key>>>;

fn detach(then: &Store, top: &Key, entry: &mut Entry) -> Result<Names, SnapshotError> {
    let pager = then.pager();
    let mut names = Names::new();
    // Without linked files nothing is gone through.
    if !entry.is_dir() || then.doc(&crate::tree::links_key())?.is_none() {
        return Ok(names);
    }
    let fail = |e: TreeError| StoreError::tree(top, e);
    for (mut path, id) in links::names_below(top, entry, pager).map_err(fail)? {
        path.remove(0);
        names.entry(id).or_default().push(path);
    }
    for (id, paths) in &names {
        let file = then.linked(*id)?;
        let file = file.ok_or_else(|| fail(links::dangling(*id)))?.entry;
        for (nth, path) in paths.iter().enumerate() {
            let Some((key, above)) = path.split_last() else {
                continue;
            };
            let mut put = |parent: &mut Entry, _| {
                if let Node::Map(map) | Node::Vector(map) = &mut parent.node {
                    match nth {
                        0 => map.insert(key, file.clone(), pager)?,
                        _ => map.remove(key, pager)?,
                    };
                }
                Ok(())
            };
            edit::change(entry, above, pager, &mut put).map_err(fail)?;
        }
    }
    Ok(names)
}

/// Makes the whole store what it was in a snapshot, in one write; takes as long as what has changed
/// since. Writers that go on may keep it from happening.
///
/// # Errors
/// [`StoreError::Contention`]; a failure of the backend that says so if more has changed than one
/// write can hold: then restore documents one by one.
pub fn roll_back(store: &Store, then: &Store) -> Result<(), SnapshotError> {
    let Some(epoch) = then.epoch() else {
        return Ok(());
    };
    store.transact(|tx| {
        let seen = store.last_seq();
        let mut hidden = Vec::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let (changed, next) = store.changes_after(epoch, None, after.as_deref(), DOCS)?;
            for changed in changed {
                match is_hidden(&changed.key) {
                    true => hidden.push(changed),
                    false => put_back(tx, changed)?,
                }
            }
            after = next;
            if after.is_none() {
                break;
            }
        }
        // Last, for the steps before count in them.
        hidden
            .into_iter()
            .try_for_each(|changed| put_back(tx, changed))?;
        tx.all_put_back();
        let watched = store.clone();
        tx.require(move || watched.last_seq() == seen);
        Ok(())
    })?;
    Ok(())
}

fn put_back(tx: &mut Tx<'_>, Changed { key, old, new }: Changed) -> Result<(), StoreError> {
    tx.put_back(&key, old.map(|doc| doc.entry.clone()), new.is_some())
}
