//! Evicting keys that were not written for long.
//!
//! A key goes if its last write was before a cutoff, if it has no `user.kfs.keep`, is not among the
//! names to keep, and nobody is working on it: an open file that was written to, or one that is open
//! for writing. It goes in a transaction of its own, which is repeated when another write comes
//! between and then sees the new last write. So no key goes that was written at the cutoff or later.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use super::GcError;
use crate::store::{SWEEP, Store, StoreError};
use crate::tree::Time;
use crate::value::{Key, KeyPath};

/// The extended attribute that keeps a key.
pub const KEEP: &[u8] = b"user.kfs.keep";

/// Keys looked at between two looks whether to stop.
const BATCH: usize = 1000;

/// Which keys go.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// Those last written before this moment; those written at it stay.
    pub cutoff: Time,
    /// These stay in any case.
    pub keep: HashSet<Key>,
    /// Only find out which they are.
    pub dry_run: bool,
}

/// What a part of a sweep has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// The keys that went, or would go.
    pub keys: Vec<Key>,
    /// Where to go on; `None` at the end.
    pub next: Option<Key>,
}

/// Evicts keys, and gives them. The evictions are durable when it returns.
///
/// # Errors
/// Damage, or a failure of the store; what was evicted before stays so. [`GcError::Stopped`] when
/// `stop` is set.
pub fn sweep(store: &Store, sweep: &Sweep, stop: &AtomicBool) -> Result<Vec<Key>, GcError> {
    let mut keys = Vec::new();
    let mut after = None;
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(GcError::Stopped);
        }
        let mut part = sweep_part(store, sweep, after.as_ref(), BATCH)?;
        keys.append(&mut part.keys);
        after = part.next;
        if after.is_none() {
            return Ok(keys);
        }
    }
}

/// Looks at about `limit` keys after one, in the order of listing.
///
/// # Errors
/// As [`sweep`].
pub fn sweep_part(
    store: &Store,
    sweep: &Sweep,
    after: Option<&Key>,
    limit: usize,
) -> Result<Swept, GcError> {
    let (docs, more) = store.docs_after(after, limit)?;
    let mut swept = Swept::default();
    for (key, doc) in docs {
        let is_old = doc.last_write < sweep.cutoff && !sweep.keep.contains(&key);
        if is_old && evict(store, &key, sweep)? {
            swept.keys.push(key.clone());
        }
        swept.next = more.then_some(key);
    }
    if !swept.keys.is_empty() && !sweep.dry_run {
        store.meters().evicted.add(swept.keys.len() as u64);
        store.sync()?;
    }
    Ok(swept)
}

/// Evicts a key unless something speaks against it now.
fn evict(store: &Store, key: &Key, sweep: &Sweep) -> Result<bool, StoreError> {
    let path = [key.clone()];
    store.transact_as(SWEEP, |tx| {
        let Some(last_write) = tx.last_write(key)? else {
            return Ok(false);
        };
        let Some(found) = tx.find(&path)? else {
            return Ok(false);
        };
        let kept = found
            .entry
            .attrs
            .as_ref()
            .is_some_and(|attrs| attrs.xattrs.contains_key(KEEP));
        if kept || last_write >= sweep.cutoff || store.is_in_use(key) {
            return Ok(false);
        }
        if !sweep.dry_run {
            let (store, key) = (store.clone(), key.clone());
            tx.require(move || !store.is_in_use(&key));
            let now = tx.now;
            tx.remove(KeyPath::from(path.to_vec()), Some(now))?;
        }
        Ok(true)
    })
}
