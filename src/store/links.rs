//! Files with several names (see [`crate::tree::links`]): following names to them, and keeping count
//! of the names as steps move, copy and remove what they stand in.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::record::Doc;
use super::{Store, StoreError, Tx};
use crate::tree::convert::FileOf;
use crate::tree::edit::{self, Found};
use crate::tree::links::{self, Links};
use crate::tree::{Attrs, Entry, Node, Op, Time, Times, TreeError, convert, is_hidden, links_key};
use crate::value::{Key, KeyPath, Value};

/// An entry that comes to stand in a document, or goes from it.
#[derive(Debug)]
pub(super) struct Moved {
    doc: Key,
    entry: Entry,
    comes: bool,
    time: Option<Time>,
    /// Which of the entries taken it is.
    take: Option<u64>,
}

/// Takes a value from a document.
type Reading<'r> = &'r dyn Fn(&Entry, FileOf<'_>) -> Result<Option<Value>, TreeError>;

/// Changes of the number of names, by file and document.
type Deltas = BTreeMap<u64, BTreeMap<Key, i64>>;

impl Store {
    /// What stands at a path as it is now, names of linked files followed.
    ///
    /// # Errors
    /// As [`Store::get_in`].
    pub fn find(&self, path: &[Key]) -> Result<Option<Found>, StoreError> {
        let Some((key, rest)) = path.split_first() else {
            return Err(StoreError::EmptyPath);
        };
        loop {
            let Some(doc) = self.doc(key)? else {
                return Ok(None);
            };
            let found = match edit::find(&doc.entry, rest, self.pager()) {
                Ok(found) => found,
                Err(TreeError::ThroughScalar { depth }) => {
                    // In nil there is nothing, also where it has several names.
                    let above = path.get(..=depth).unwrap_or(path);
                    let here = rest.get(..depth).unwrap_or(rest);
                    let raw = edit::find(&doc.entry, here, self.pager());
                    let raw = raw.map_err(|e| StoreError::tree(key, e))?;
                    let linked = raw.is_some_and(|f| matches!(f.entry.node, Node::Ref(_)));
                    if linked && self.find(above)?.is_some_and(|f| is_nil(&f.entry)) {
                        return Ok(None);
                    }
                    return Err(StoreError::tree(key, TreeError::ThroughScalar { depth }));
                }
                Err(e) => return Err(StoreError::tree(key, e)),
            };
            let Some(found) = found else { return Ok(None) };
            let Node::Ref(id) = found.entry.node else {
                return Ok(Some(found));
            };
            if let Some(file) = self.linked(id)? {
                return Ok(Some(file));
            }
            // The name may have gone since it was read.
            if self.doc(key)?.is_some_and(|now| now.seq == doc.seq) {
                return Err(StoreError::tree(key, links::dangling(id)));
            }
        }
    }

    /// A linked file as it is now; `None` if there is none with this number.
    ///
    /// # Errors
    /// Damage, or a failure of the backend.
    pub fn linked(&self, id: u64) -> Result<Option<Found>, StoreError> {
        let doc = self.doc(&links_key())?;
        Links::new(doc.as_deref().map(|doc| &doc.entry), self.pager())
            .file(id)
            .map_err(|e| StoreError::tree(&links_key(), e))
    }

    /// The documents that hold names of a linked file.
    ///
    /// # Errors
    /// As [`Store::linked`].
    pub fn holders(&self, id: u64) -> Result<Vec<Key>, StoreError> {
        let doc = self.doc(&links_key())?;
        let holders = Links::new(doc.as_deref().map(|doc| &doc.entry), self.pager())
            .holders(id)
            .map_err(|e| StoreError::tree(&links_key(), e))?;
        Ok(holders.into_iter().map(|(key, _)| key).collect())
    }

    /// Follows a name of a linked file that was read from `key` when it had the version `seq`; `None`
    /// if the document has changed since and the file is gone.
    ///
    /// # Errors
    /// As [`Store::linked`]; damage if the file is missing.
    pub fn follow(&self, key: &Key, seq: u64, found: Found) -> Result<Option<Found>, StoreError> {
        let Node::Ref(id) = found.entry.node else {
            return Ok(Some(found));
        };
        if let Some(file) = self.linked(id)? {
            return Ok(Some(file));
        }
        if self.doc(key)?.is_some_and(|now| now.seq == seq) {
            return Err(StoreError::tree(key, links::dangling(id)));
        }
        Ok(None)
    }

    /// The value of what `entry` finds in a document, with linked files as they were with it.
    pub(super) fn value_with_links(
        &self,
        key: &Key,
        read: Reading<'_>,
    ) -> Result<Option<Value>, StoreError> {
        loop {
            let Some(doc) = self.doc(key)? else {
                return Ok(None);
            };
            let seen: OnceCell<Option<Arc<Doc>>> = OnceCell::new();
            let failure = RefCell::new(None);
            let file = |id: u64| {
                if seen.get().is_none() {
                    match self.doc(&links_key()) {
                        Ok(doc) => drop(seen.set(doc)),
                        Err(e) => {
                            *failure.borrow_mut() = Some(e);
                            return Err(links::dangling(id));
                        }
                    }
                }
                let doc = seen.get().and_then(Option::as_ref);
                let found = Links::new(doc.map(|doc| &doc.entry), self.pager()).file(id)?;
                Ok(found.ok_or_else(|| links::dangling(id))?.entry)
            };
            let value = read(&doc.entry, &file);
            if let Some(e) = failure.into_inner() {
                return Err(e);
            }
            // Both were current at one time if the document still is what it was.
            if seen.get().is_some() && self.doc(key)?.is_none_or(|now| now.seq != doc.seq) {
                continue;
            }
            return value.map_err(|e| StoreError::tree(key, e));
        }
    }
}

impl Store {
    /// What is read with linked files as they are now.
    pub(super) fn with_files<T>(
        &self,
        key: &Key,
        read: &dyn Fn(FileOf<'_>) -> Result<T, TreeError>,
    ) -> Result<T, StoreError> {
        let failure = RefCell::new(None);
        let file = |id: u64| match self.linked(id) {
            Ok(Some(found)) => Ok(found.entry),
            Ok(None) => Err(links::dangling(id)),
            Err(e) => {
                *failure.borrow_mut() = Some(e);
                Err(links::dangling(id))
            }
        };
        let out = read(&file);
        match failure.into_inner() {
            Some(e) => Err(e),
            None => out.map_err(|e| StoreError::tree(key, e)),
        }
    }
}

impl Tx<'_> {
    /// A linked file, as the transaction sees it.
    ///
    /// # Errors
    /// Damage, or a failure of the backend.
    pub fn linked(&mut self, id: u64) -> Result<Option<Found>, StoreError> {
        self.links(|links| links.file(id))
    }

    fn links<T>(
        &mut self,
        f: impl FnOnce(&Links<'_>) -> Result<T, TreeError>,
    ) -> Result<T, StoreError> {
        let pager = self.pager();
        let root = self.draft(&links_key())?.entry.as_ref();
        f(&Links::new(root, pager)).map_err(|e| StoreError::tree(&links_key(), e))
    }

    /// What stands at a path, a name of a linked file followed.
    ///
    /// # Errors
    /// As [`Store::get_in`].
    pub fn find(&mut self, path: &[Key]) -> Result<Option<Found>, StoreError> {
        let found = match self.find_name(path) {
            Err(StoreError::Tree {
                source: TreeError::ThroughScalar { depth },
                key,
            }) => {
                let above = path.get(..=depth).unwrap_or(path);
                let raw = self.find_name(above)?;
                let linked = raw.is_some_and(|f| matches!(f.entry.node, Node::Ref(_)));
                if linked && self.find(above)?.is_some_and(|f| is_nil(&f.entry)) {
                    return Ok(None);
                }
                let source = TreeError::ThroughScalar { depth };
                return Err(StoreError::Tree { source, key });
            }
            found => found?,
        };
        let Some(Node::Ref(id)) = found.as_ref().map(|found| &found.entry.node) else {
            return Ok(found);
        };
        self.follow(path, *id).map(Some)
    }

    fn follow(&mut self, path: &[Key], id: u64) -> Result<Found, StoreError> {
        if let Some(file) = self.linked(id)? {
            return Ok(file);
        }
        // The documents may have been read at different times: then the transaction runs again.
        self.torn = true;
        let key = path.first().cloned().unwrap_or_else(links_key);
        Err(StoreError::tree(&key, links::dangling(id)))
    }

    /// The entry with every name of a linked file replaced by a copy of the file.
    ///
    /// # Errors
    /// As [`Tx::find`].
    pub fn unlinked(&mut self, path: &[Key], entry: &Entry) -> Result<Entry, StoreError> {
        match &entry.node {
            Node::Ref(id) => Ok(self.follow(path, *id)?.entry),
            _ => Ok(entry.clone()),
        }
    }

    /// Where the entry found at a path stands: elsewhere if a name of a linked file was followed.
    pub fn home(path: &[Key], found: Option<&Found>) -> KeyPath {
        match found.and_then(|found| found.link) {
            Some(link) => links::file(link.id),
            None => KeyPath::from(path.to_vec()),
        }
    }

    /// Gives the file at a path another name. It becomes a linked file with these attributes if it
    /// is none yet; `id` is its number then, or one after it if that is taken. Gives its number.
    ///
    /// # Errors
    /// [`StoreError::NothingThere`]; those of the journal and the backend.
    pub fn link(
        &mut self,
        from: &[Key],
        to: KeyPath,
        attrs: Attrs,
        id: u64,
        time: Time,
    ) -> Result<u64, StoreError> {
        self.linking = true;
        let known = match links::id_of(from) {
            Some(id) => Some(id),
            None => self.find(from)?.and_then(|f| f.link).map(|link| link.id),
        };
        let id = match known {
            Some(id) => {
                self.set_attrs(links::file(id), attrs)?;
                id
            }
            None => self.become_linked(from, attrs, id)?,
        };
        self.put(to, Entry::plain(Node::Ref(id)), Some(time))?;
        Ok(id)
    }

    fn become_linked(
        &mut self,
        from: &[Key],
        attrs: Attrs,
        mut id: u64,
    ) -> Result<u64, StoreError> {
        while self.linked(id)?.is_some() {
            id = id.wrapping_add(1) & (u64::MAX >> 1);
        }
        if !self.links(|links| Ok(links.exist()))? {
            self.put(vec![links_key()].into(), links::empty(), None)?;
            self.put(links::names(), links::empty(), None)?;
        }
        self.put(links::place(id), links::empty(), None)?;
        self.put(links::holders(id), links::empty(), None)?;
        let index = self.taken();
        let path = KeyPath::from(from.to_vec());
        self.push(Op::Take {
            path: path.clone(),
            time: None,
        })?;
        self.push(Op::Place {
            path: links::file(id),
            index,
            attrs,
            time: None,
        })?;
        self.put(path, Entry::plain(Node::Ref(id)), None)?;
        Ok(id)
    }

    /// Notes what a step, before it is done, brings to its document and takes from it.
    pub(super) fn note_names(&mut self, op: &Op) -> Result<(), StoreError> {
        let linked = self.linking || self.store.inner.links.load(Ordering::Acquire);
        let Some(doc) = op.path().first().filter(|doc| linked && !is_hidden(doc)) else {
            return Ok(());
        };
        let taken = self.taken();
        let (comes, time, take) = match op {
            Op::Put { entry, time, .. } => (Some(entry.clone()), *time, None),
            Op::Take { time, .. } => (None, *time, Some(taken)),
            Op::Place { index, time, .. } => {
                (self.applier.taken(*index).cloned(), *time, Some(*index))
            }
            Op::SetAttrs { .. } | Op::Write { .. } | Op::Touch { .. } => return Ok(()),
        };
        let goes = self.find_name(op.path())?.map(|found| found.entry);
        // What a step replaces is none of those taken.
        let gone = take.filter(|_| comes.is_none());
        for (entry, comes, take) in [(goes, false, gone), (comes, true, take)] {
            let Some(entry) = entry.filter(may_hold) else {
                continue;
            };
            self.moved.push(Moved {
                doc: doc.clone(),
                entry,
                comes,
                time,
                take,
            });
        }
        Ok(())
    }

    /// Brings the counts of names in line with the steps, removes files without names, and moves the
    /// last write of every document that holds a name of a file that changed.
    pub(super) fn settle_names(&mut self) -> Result<(), StoreError> {
        let mut changed: BTreeSet<u64> = self
            .ops
            .iter()
            .filter_map(|op| links::id_of(op.path()))
            .collect();
        let (deltas, times) = self.deltas()?;
        for (id, deltas) in deltas {
            changed.insert(id);
            self.settle_file(id, &deltas, times.get(&id).copied().flatten())?;
        }
        for id in changed {
            for (doc, _) in self.links(|links| links.holders(id))? {
                let draft = self.draft(&doc)?;
                if draft.entry.is_some() && !draft.changed {
                    self.push(Op::Touch {
                        path: vec![doc].into(),
                    })?;
                }
            }
        }
        Ok(())
    }

    fn deltas(&mut self) -> Result<(Deltas, BTreeMap<u64, Option<Time>>), StoreError> {
        let moved = std::mem::take(&mut self.moved);
        let (mut deltas, mut times) = (Deltas::new(), BTreeMap::new());
        let pager = self.pager();
        let other = |m: &Moved| {
            let same = |o: &&Moved| o.take == m.take && o.comes != m.comes;
            m.take.and_then(|_| moved.iter().find(same))
        };
        for m in &moved {
            let from = match other(m) {
                // What moves within a document is not looked into.
                Some(other) if other.doc == m.doc => continue,
                Some(other) if m.comes => &other.doc,
                _ => &m.doc,
            };
            let is_name = matches!(m.entry.node, Node::Ref(_));
            if !is_name && self.links(|links| links.names_in(from))? == 0 {
                continue;
            }
            let by = if m.comes { 1 } else { -1 };
            links::each(&m.entry, pager, &mut |id| {
                *deltas
                    .entry(id)
                    .or_default()
                    .entry(m.doc.clone())
                    .or_default() += by;
                let time: &mut Option<Time> = times.entry(id).or_default();
                *time = (*time).max(m.time);
            })
            .map_err(|e| StoreError::tree(&m.doc, e))?;
        }
        Ok((deltas, times))
    }

    fn settle_file(
        &mut self,
        id: u64,
        deltas: &BTreeMap<Key, i64>,
        time: Option<Time>,
    ) -> Result<(), StoreError> {
        let mut holders: BTreeMap<Key, u64> =
            self.links(|links| links.holders(id))?.into_iter().collect();
        let before: u64 = holders.values().sum();
        for (doc, delta) in deltas.iter().filter(|(_, delta)| **delta != 0) {
            let at = |path: KeyPath| KeyPath::from([path.to_vec(), vec![doc.clone()]].concat());
            let here = holders.entry(doc.clone()).or_default();
            let count = here.saturating_add_signed(*delta);
            self.count(at(links::holders(id)), *here, count)?;
            *here = count;
            let all = self.links(|links| links.names_in(doc))?;
            self.count(at(links::names()), all, all.saturating_add_signed(*delta))?;
        }
        let after: u64 = holders.values().sum();
        if after == 0 {
            return self.remove(links::place(id), None);
        }
        if after != before
            && let Some(found) = self.linked(id)?
        {
            let time = time.unwrap_or(self.now);
            let mut attrs = found.entry.attrs();
            attrs.times = Some(Times {
                ctime: time,
                ..edit::times_of(&found.entry, found.stamp)
            });
            self.set_attrs(links::file(id), attrs)?;
        }
        Ok(())
    }

    fn count(&mut self, path: KeyPath, before: u64, after: u64) -> Result<(), StoreError> {
        match (before, after) {
            _ if before == after => Ok(()),
            (_, 0) => self.remove(path, None),
            _ => self.put(path, links::count(after), None),
        }
    }
}

/// The linked files that one API write meets.
pub(super) struct Met<'t, 'a> {
    pub tx: &'t mut Tx<'a>,
    /// What it makes of them.
    pub written: BTreeMap<u64, Entry>,
    /// Why one could not be read.
    pub failure: Option<StoreError>,
}

impl convert::LinkedFiles for Met<'_, '_> {
    fn file(&mut self, id: u64) -> Result<Entry, TreeError> {
        match self.tx.follow(&[], id) {
            Ok(found) => Ok(found.entry),
            Err(e) => {
                let text = e.to_string();
                self.failure = Some(e);
                Err(TreeError::malformed("a linked file", text))
            }
        }
    }

    fn write(&mut self, id: u64, entry: Entry) {
        self.written.insert(id, entry);
    }
}

/// Whether names of linked files may stand in an entry.
fn may_hold(entry: &Entry) -> bool {
    match &entry.node {
        Node::Ref(_) => true,
        node => matches!(node, Node::Map(map) | Node::Vector(map) if !map.is_empty()),
    }
}

fn is_nil(entry: &Entry) -> bool {
    matches!(&entry.node, Node::Scalar(value) if **value == Value::Nil)
}
