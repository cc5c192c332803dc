//! Making a stream of a snapshot: see [`stream`](super::stream) for what it is.

use std::collections::VecDeque;

use super::frame::{Framer, Kind};
use super::stream::{self, Begin, Item, Named};
use super::{SnapshotError, find};
use crate::store::{Changed, Doc, Position, Store, StoreError, parts};
use crate::tree::snapshots::Listed;
use crate::tree::{Fresh, PageSet, TreeError};
use crate::value::Key;

/// Documents looked at in one go.
const DOCS: usize = 256;
/// A frame with at least so many bytes is full.
const FRAME: usize = 1 << 20;

/// A snapshot on its way out, a frame at a time.
///
/// Takes time and makes bytes by what has changed between two snapshots: both are compared page by
/// page, and what is the same is passed over unread. What only moved, as to another key, is known by
/// the pages that went elsewhere, of which 17 bytes each are held in memory, as of those sent.
#[derive(Debug)]
pub struct Sender {
    to: Store,
    from: Option<Store>,
    begin: Option<Begin>,
    framer: Framer,
    /// Pages that the receiver has.
    known: PageSet,
    sent: PageSet,
    docs: VecDeque<Changed>,
    after: Option<Vec<u8>>,
    /// All documents were looked at.
    listed: bool,
    current: Option<Current>,
    position: Position,
    resume: Position,
    ended: bool,
}

/// The document whose pages are being sent.
#[derive(Debug)]
struct Current {
    key: Key,
    fresh: Fresh,
    new: Option<std::sync::Arc<Doc>>,
}

impl Sender {
    /// What `to` has otherwise than `from`, or all that it has. `resume`: without what a receiver
    /// has already.
    ///
    /// # Errors
    /// [`StoreError::NoSnapshot`]; [`SnapshotError::BadRange`] if `from` is not before `to`;
    /// [`SnapshotError::NotResumable`], now or later; damage.
    pub fn new(
        store: &Store,
        from: Option<&str>,
        to: &str,
        resume: Option<Position>,
    ) -> Result<Self, SnapshotError> {
        if !store.is_read_only() {
            // What is in pages is the same whenever it is asked for.
            store.fold_now()?;
        }
        let last = listed(store, to)?;
        let first = from.map(|name| listed(store, name)).transpose()?;
        if let (Some(from), Some(first)) = (from, &first)
            && first.epoch >= last.epoch
        {
            return Err(SnapshotError::BadRange {
                from: from.to_owned(),
                to: to.to_owned(),
                why: "the first was not taken before the other",
            });
        }
        let named = |listed: &Listed| -> Result<Named, SnapshotError> {
            let taken = listed.taken.clone().zip(listed.identity(store.id()));
            let ((name, _), id) = taken.ok_or_else(|| super::no_snapshot(to))?;
            Ok(Named { name, id })
        };
        let from = first.as_ref().map(named).transpose()?;
        let to = named(&last)?;
        let start = stream::origin(from.as_ref().map(|from| &from.id), &to.id);
        let mut sender = Self {
            to: store.at(last.epoch),
            from: first.map(|first| store.at(first.epoch)),
            begin: Some(Begin {
                store: store.id(),
                pages: store.page_id(),
                created: store.created(),
                settings: store.settings(),
                clock: store.now(),
                from,
                to,
                position: resume.unwrap_or(start),
            }),
            framer: Framer::default(),
            known: PageSet::default(),
            sent: PageSet::default(),
            docs: VecDeque::new(),
            after: None,
            listed: false,
            current: None,
            position: start,
            resume: resume.unwrap_or(start),
            ended: false,
        };
        sender.note_known()?;
        Ok(sender)
    }

    /// The next part of the stream; `None` at its end.
    ///
    /// # Errors
    /// [`SnapshotError::NotResumable`]; [`StoreError::NoSnapshot`] if one is dropped meanwhile;
    /// damage; a failure of the backend.
    pub fn next_part(&mut self) -> Result<Option<Vec<u8>>, SnapshotError> {
        if self.ended {
            return Ok(None);
        }
        if let Some(begin) = self.begin.take() {
            return self.frame(Kind::Begin, &begin.encode());
        }
        let mut items = Vec::new();
        while items.len() < FRAME && self.item(&mut items)? {}
        if !items.is_empty() {
            return self.frame(Kind::Items, &items);
        }
        if self.position.items < self.resume.items {
            return Err(not_resumable());
        }
        self.ended = true;
        self.frame(Kind::End, &stream::write_end(&self.position))
    }

    fn frame(&mut self, kind: Kind, payload: &[u8]) -> Result<Option<Vec<u8>>, SnapshotError> {
        match self.framer.frame(kind, payload) {
            Some(frame) => Ok(Some(frame)),
            None => {
                let key = self.current.as_ref().map(|current| current.key.clone());
                let reason = "it is too large for a stream; open the store once for writing";
                let source = TreeError::malformed("a record", reason);
                let key = key.unwrap_or_else(crate::tree::root_key);
                Err(StoreError::tree(&key, source).into())
            }
        }
    }

    /// Adds the next item, unless the receiver has it; false if there is none.
    fn item(&mut self, out: &mut Vec<u8>) -> Result<bool, SnapshotError> {
        if self.current.is_none() {
            self.current = self.next_doc()?;
        }
        let Some(current) = &mut self.current else {
            return Ok(false);
        };
        let pager = self.to.pager();
        let fail = |e: TreeError| StoreError::tree(&current.key, e);
        let (known, sent) = (&self.known, &mut self.sent);
        let mut wanted = |page: &_| !known.has(page) && sent.add(page);
        if let Some(page) = current.fresh.next(pager, &mut wanted).map_err(fail)? {
            self.position = stream::after_page(self.position, &page.addr);
            if self.position.items > self.resume.items {
                let bytes = pager.read(&page).map_err(fail)?;
                stream::write_item(out, &Item::Page(page.addr, &bytes));
            }
        } else {
            let (meta, value) = parts(&current.key, current.new.as_deref(), pager)?;
            self.position = stream::after_record(self.position, &meta, &value);
            if self.position.items > self.resume.items {
                let (meta, value) = (&meta, &value);
                stream::write_item(out, &Item::Record { meta, value });
            }
            self.current = None;
        }
        if self.position.items == self.resume.items && self.position != self.resume {
            return Err(not_resumable());
        }
        Ok(true)
    }

    fn next_doc(&mut self) -> Result<Option<Current>, SnapshotError> {
        while self.docs.is_empty() && !self.listed {
            let (docs, after) = self.changes(self.after.as_deref())?;
            self.docs.extend(docs);
            self.listed = after.is_none();
            self.after = after;
        }
        Ok(self.docs.pop_front().map(|Changed { key, old, new }| {
            let entry = |doc: Option<&std::sync::Arc<Doc>>| doc.map(|doc| doc.entry.clone());
            Current {
                fresh: Fresh::new(&key, entry(old.as_ref()), entry(new.as_ref())),
                key,
                new,
            }
        }))
    }

    /// Notes the pages that documents no longer have: they may be in others now.
    fn note_known(&mut self) -> Result<(), SnapshotError> {
        let mut after: Option<Vec<u8>> = None;
        while self.from.is_some() {
            let (docs, next) = self.changes(after.as_deref())?;
            for Changed { key, old, new } in docs {
                let entry = |doc: Option<std::sync::Arc<Doc>>| doc.map(|doc| doc.entry.clone());
                let mut gone = Fresh::new(&key, entry(new), entry(old));
                let known = &mut self.known;
                let pager = self.to.pager();
                let mut next = || gone.next(pager, &mut |page| known.add(page));
                while next().map_err(|e| StoreError::tree(&key, e))?.is_some() {}
            }
            after = next;
            if after.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn changes(&self, after: Option<&[u8]>) -> Result<(Vec<Changed>, Option<Vec<u8>>), StoreError> {
        let to = self.to.epoch().unwrap_or_default();
        match self.from.as_ref().and_then(Store::epoch) {
            Some(from) => self.to.changes_after(from, Some(to), after, DOCS),
            None => self.to.all_after(to, after, DOCS),
        }
    }
}

fn not_resumable() -> SnapshotError {
    SnapshotError::NotResumable {
        why: "these are not the snapshots of which a part was received",
    }
}

fn listed(store: &Store, name: &str) -> Result<Listed, SnapshotError> {
    let epoch = find(store, name)?.epoch;
    let found = store.snapshots()?.into_iter().find(|l| l.epoch == epoch);
    Ok(found.ok_or_else(|| super::no_snapshot(name))?)
}
