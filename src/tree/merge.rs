//! Two versions of a map beside each other, key by key. What is the very same in both is passed over
//! unread.

use std::sync::Arc;

use super::entry::{Entry, PageRef};
use super::error::TreeError;
use super::map::{Body, Link, Map};
use super::pager::Pager;
use crate::value::Key;

/// Hears of a page of the new map before it is gone into, and says whether to do so.
pub(super) type Enter<'e> = &'e mut dyn FnMut(&Arc<PageRef>) -> bool;

/// What is left of two maps, the next on top.
#[derive(Debug, Default)]
pub(super) struct Both {
    old: Vec<Item>,
    new: Vec<Item>,
}

/// A part of a map.
#[derive(Debug)]
enum Item {
    Run(Option<Key>, Link),
    Entry(Key, Entry),
}

/// What stands under a key of two maps.
pub(super) type Pair = (Key, Option<Entry>, Option<Entry>);

impl Both {
    /// What stands under one key.
    pub(super) fn under(key: &Key, old: Option<Entry>, new: Option<Entry>) -> Self {
        let item = |entry: Option<Entry>| {
            let items = entry.map(|entry| Item::Entry(key.clone(), entry));
            items.into_iter().collect()
        };
        Self {
            old: item(old),
            new: item(new),
        }
    }

    /// What stands in two maps.
    pub(super) fn of(old: Option<Map>, new: Option<Map>) -> Self {
        let item = |map: Option<Map>| map.map(|map| Item::Run(None, map.0)).into_iter().collect();
        Self {
            old: item(old),
            new: item(new),
        }
    }

    /// Whether nothing is left of the new one.
    pub(super) fn is_passed(&self) -> bool {
        self.new.is_empty()
    }

    /// The next key under which not the very same entry stands in both. Of what is new the pages are
    /// told that are gone into; those of which `enter` is false are passed over.
    pub(super) fn next(
        &mut self,
        pager: &Pager,
        enter: Enter<'_>,
    ) -> Result<Option<Pair>, TreeError> {
        loop {
            match (self.old.last(), self.new.last()) {
                (None, None) => return Ok(None),
                (Some(Item::Run(_, old)), Some(Item::Run(_, new))) => {
                    if same_link(old, new) {
                        self.old.pop();
                        self.new.pop();
                        continue;
                    }
                    let (level_old, level_new) = (old.run(pager)?.level(), new.run(pager)?.level());
                    let ahead = match (self.old.last(), self.new.last()) {
                        (Some(Item::Run(a, _)), Some(Item::Run(b, _))) => a.cmp(b),
                        _ => std::cmp::Ordering::Equal,
                    };
                    // The taller first; of equal ones that which begins before the other.
                    let which = level_new.cmp(&level_old).then(ahead);
                    if which.is_le() {
                        open(&mut self.old, pager, &mut |_| true)?;
                    }
                    if which.is_ge() {
                        open(&mut self.new, pager, enter)?;
                    }
                }
                (Some(Item::Run(..)), Some(Item::Entry(key, _)))
                    if begins_after(self.old.last(), key) =>
                {
                    return Ok(take(&mut self.new).map(|(key, new)| (key, None, Some(new))));
                }
                (Some(Item::Entry(key, _)), Some(Item::Run(..)))
                    if begins_after(self.new.last(), key) =>
                {
                    return Ok(take(&mut self.old).map(|(key, old)| (key, Some(old), None)));
                }
                (Some(Item::Run(..)), _) => open(&mut self.old, pager, &mut |_| true)?,
                (_, Some(Item::Run(..))) => open(&mut self.new, pager, enter)?,
                (Some(Item::Entry(a, _)), Some(Item::Entry(b, _))) => {
                    let which = a.cmp(b);
                    let old = which.is_le().then(|| take(&mut self.old)).flatten();
                    let new = which.is_ge().then(|| take(&mut self.new)).flatten();
                    if let Some((key, _)) = old.as_ref().or(new.as_ref()) {
                        let key = key.clone();
                        return Ok(Some((key, old.map(|(_, e)| e), new.map(|(_, e)| e))));
                    }
                }
                (Some(Item::Entry(..)), None) => {
                    return Ok(take(&mut self.old).map(|(key, old)| (key, Some(old), None)));
                }
                (None, Some(Item::Entry(..))) => {
                    return Ok(take(&mut self.new).map(|(key, new)| (key, None, Some(new))));
                }
            }
        }
    }
}

fn begins_after(item: Option<&Item>, key: &Key) -> bool {
    matches!(item, Some(Item::Run(Some(first), _)) if first > key)
}

fn take(items: &mut Vec<Item>) -> Option<(Key, Entry)> {
    match items.pop() {
        Some(Item::Entry(key, entry)) => Some((key, entry)),
        _ => None,
    }
}

/// Puts what is in the run on top in its place.
fn open(items: &mut Vec<Item>, pager: &Pager, enter: Enter<'_>) -> Result<(), TreeError> {
    let Some(Item::Run(_, link)) = items.pop() else {
        return Ok(());
    };
    if page_of(&link).is_some_and(|page| !enter(&page)) {
        return Ok(());
    }
    match &link.run(pager)?.body {
        Body::Leaf(entries) => {
            let entries = entries.iter().rev();
            items.extend(entries.map(|(key, entry)| Item::Entry(key.clone(), entry.clone())));
        }
        Body::Branch { children, .. } => {
            let children = children.iter().rev();
            items.extend(children.map(|c| Item::Run(Some(c.first.clone()), c.link.clone())));
        }
    }
    Ok(())
}

/// Whether two links lead to the very same run.
pub(super) fn same_link(a: &Link, b: &Link) -> bool {
    match (a, b) {
        (Link::Mem(a), Link::Mem(b)) if Arc::ptr_eq(a, b) => true,
        _ => page_of(a)
            .zip(page_of(b))
            .is_some_and(|(a, b)| a.addr == b.addr),
    }
}

/// The page that a run stands in.
fn page_of(link: &Link) -> Option<Arc<PageRef>> {
    match link {
        Link::Page(page) => Some(Arc::clone(page)),
        Link::Mem(run) => run.saved.get().cloned(),
    }
}
