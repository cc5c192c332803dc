//! Reading and writing values.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};

use super::hooks::ApiOp;
use super::links::Met;
use super::meters::Call;
use super::record::{Doc, KeyedDoc, Kind, Meta};
use super::{Store, StoreError, Tx, show_key, show_path};
use crate::tree::convert::{Declared, FileOf, LinkedFiles, Merge};
use crate::tree::edit::{self, Found};
use crate::tree::{Attrs, Node, Op, Pager, Time, TreeError, convert, links};
use crate::value::{Key, KeyPath, Value, cbor};

/// Sets the numbers of what the API moves apart from those that a mount derives.
const MOVED: u64 = u64::MAX;

/// A value before and after a write. `None` before: there was nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Before.
    pub old: Option<Value>,
    /// After.
    pub new: Value,
}

impl Store {
    /// The value under a key; `None` if there is none. A stored nil is `Some(Value::Nil)`.
    ///
    /// # Errors
    /// Damage, or a failure of the backend.
    pub fn get(&self, key: &Key) -> Result<Option<Value>, StoreError> {
        self.get_in(std::slice::from_ref(key))
    }

    /// The value at a path; `None` if a key of it is missing.
    ///
    /// # Errors
    /// [`StoreError::EmptyPath`]; [`TreeError::ThroughScalar`] if the path leads through something
    /// that has no children; damage; a failure of the backend.
    pub fn get_in(&self, path: &[Key]) -> Result<Option<Value>, StoreError> {
        let Some((key, rest)) = path.split_first() else {
            return Err(StoreError::EmptyPath);
        };
        self.time(Call::Get, || {
            self.value_with_links(key, &|root, file| value_in(root, rest, self.pager(), file))
        })
    }

    /// The value at a path of a version of a document; linked files are as they are now.
    pub(super) fn value_of(&self, path: &[Key], doc: &Doc) -> Result<Option<Value>, StoreError> {
        let (key, rest) = path.split_first().ok_or(StoreError::EmptyPath)?;
        self.with_files(key, &|file| value_in(&doc.entry, rest, self.pager(), file))
    }

    /// Whether there is a value under a key.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn exists_key(&self, key: &Key) -> Result<bool, StoreError> {
        Ok(self.doc(key)?.is_some())
    }

    /// What is known of a key beside its value.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn get_meta(&self, key: &Key) -> Result<Option<Meta>, StoreError> {
        match self.doc(key)? {
            Some(doc) => self.meta_of(key, &doc),
            None => Ok(None),
        }
    }

    /// What is known of a version of a document; `None` if it is none any more.
    fn meta_of(&self, key: &Key, doc: &Doc) -> Result<Option<Meta>, StoreError> {
        let meta = doc.meta();
        if !matches!(doc.entry.node, Node::Ref(_)) {
            return Ok(Some(meta));
        }
        let found = self.find(std::slice::from_ref(key))?;
        Ok(found.map(|found| Meta {
            kind: Kind::of(&found.entry),
            ..meta
        }))
    }

    /// Puts a value under a key.
    ///
    /// # Errors
    /// Those of the journal and the backend; the old value stays.
    pub fn assoc(&self, key: &Key, value: &Value) -> Result<(), StoreError> {
        self.assoc_in(std::slice::from_ref(key), value)
    }

    /// Puts a value at a path. Missing maps on the way are made; index n of a vector of n elements
    /// appends.
    ///
    /// # Errors
    /// [`StoreError::EmptyPath`]; [`TreeError::ThroughScalar`]; [`TreeError::BadIndex`]; those of the
    /// journal and the backend. The old value stays.
    pub fn assoc_in(&self, path: &[Key], value: &Value) -> Result<(), StoreError> {
        self.transact(|tx| {
            tx.api_op = Some(ApiOp::AssocIn);
            tx.assoc_in(path, value)
        })
    }

    /// Replaces the value under a key by a function of it.
    ///
    /// # Errors
    /// As [`Store::update_in`].
    pub fn update<E>(
        &self,
        key: &Key,
        f: impl Fn(Option<&Value>) -> Result<Value, E>,
    ) -> Result<Change, StoreError>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.update_in(std::slice::from_ref(key), f)
    }

    /// Replaces the value at a path by a function of it and gives both values. `f` runs without any
    /// lock and runs again when another write came between; if it fails or panics, nothing has changed.
    ///
    /// # Errors
    /// [`StoreError::Update`] with the error of `f`; else as [`Store::assoc_in`].
    pub fn update_in<E>(
        &self,
        path: &[Key],
        f: impl Fn(Option<&Value>) -> Result<Value, E>,
    ) -> Result<Change, StoreError>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.transact(|tx| {
            tx.api_op = Some(ApiOp::UpdateIn);
            let old = tx.value(path)?;
            let new = f(old.as_ref()).map_err(|e| StoreError::Update(e.into()))?;
            tx.assoc_in(path, &new)?;
            Ok(Change { old, new })
        })
    }

    /// Like [`Store::update_in`], but gives the values under the top-level key (as konserve does).
    ///
    /// # Errors
    /// As [`Store::update_in`].
    pub fn update_in_top<E>(
        &self,
        path: &[Key],
        f: impl Fn(Option<&Value>) -> Result<Value, E>,
    ) -> Result<Change, StoreError>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let top: Vec<Key> = path.first().cloned().into_iter().collect();
        self.transact(|tx| {
            tx.api_op = Some(ApiOp::UpdateIn);
            let old = tx.value(&top)?;
            let at_path = tx.value(path)?;
            let new = f(at_path.as_ref()).map_err(|e| StoreError::Update(e.into()))?;
            tx.assoc_in(path, &new)?;
            let new = tx.value(&top)?.unwrap_or(Value::Nil);
            Ok(Change { old, new })
        })
    }

    /// Removes a key and says whether it was there.
    ///
    /// # Errors
    /// Those of the journal and the backend.
    pub fn dissoc(&self, key: &Key) -> Result<bool, StoreError> {
        self.dissoc_in(std::slice::from_ref(key))
    }

    /// Removes what is at a path and says whether it was there. An element of a vector that is not
    /// the last leaves nil.
    ///
    /// # Errors
    /// [`StoreError::EmptyPath`]; [`TreeError::ThroughScalar`]; those of the journal and the backend.
    pub fn dissoc_in(&self, path: &[Key]) -> Result<bool, StoreError> {
        self.transact(|tx| {
            tx.api_op = Some(ApiOp::Dissoc);
            tx.dissoc_in(path)
        })
    }

    /// Exchanges what is at two paths, in one step.
    ///
    /// # Errors
    /// [`StoreError::NothingThere`]; [`StoreError::IntoItself`]; else as [`Store::assoc_in`].
    pub fn swap(&self, a: &[Key], b: &[Key]) -> Result<(), StoreError> {
        if a.starts_with(b) || b.starts_with(a) {
            return if a == b {
                Ok(())
            } else {
                Err(StoreError::IntoItself { path: show_path(a) })
            };
        }
        self.transact(|tx| {
            tx.api_op = Some(ApiOp::Swap);
            let now = tx.now;
            let (attrs_a, attrs_b) = (tx.moved_attrs(a)?, tx.moved_attrs(b)?);
            let first = tx.taken();
            let time = Some(now);
            tx.push(Op::Take {
                path: KeyPath::from(a.to_vec()),
                time,
            })?;
            tx.push(Op::Take {
                path: KeyPath::from(b.to_vec()),
                time,
            })?;
            tx.push(Op::Place {
                path: KeyPath::from(b.to_vec()),
                index: first,
                attrs: attrs_a,
                time,
            })?;
            tx.push(Op::Place {
                path: KeyPath::from(a.to_vec()),
                index: first + 1,
                attrs: attrs_b,
                time,
            })
        })
    }

    /// Moves what is at a path to another, in one step. What was there is replaced, or with
    /// `no_replace` keeps the move from happening.
    ///
    /// # Errors
    /// [`StoreError::NothingThere`]; [`StoreError::Occupied`]; [`StoreError::IntoItself`];
    /// [`TreeError::NotFound`] if the target's parent is missing; else as [`Store::assoc_in`].
    pub fn rename(&self, from: &[Key], to: &[Key], no_replace: bool) -> Result<(), StoreError> {
        if to.starts_with(from) || from.starts_with(to) {
            return if from == to {
                Ok(())
            } else {
                Err(StoreError::IntoItself {
                    path: show_path(from),
                })
            };
        }
        self.transact(|tx| {
            tx.api_op = Some(ApiOp::Rename);
            let now = tx.now;
            let attrs = tx.moved_attrs(from)?;
            if no_replace && tx.find(to)?.is_some() {
                return Err(StoreError::Occupied {
                    path: show_path(to),
                });
            }
            tx.check_place(to)?;
            let index = tx.taken();
            tx.push(Op::Take {
                path: KeyPath::from(from.to_vec()),
                time: Some(now),
            })?;
            tx.push(Op::Place {
                path: KeyPath::from(to.to_vec()),
                index,
                attrs,
                time: Some(now),
            })
        })
    }

    /// All keys with what is known of them, as a stream in no particular order: a key that is there
    /// from the beginning to the end of the listing comes once.
    pub fn keys(&self) -> Keys {
        Keys {
            store: self.clone(),
            ready: VecDeque::new(),
            after: None,
            done: false,
        }
    }

    /// Up to about `limit` documents after a key in the order of listing, and whether more follow.
    ///
    /// # Errors
    /// Damage, or a failure of the backend.
    pub fn docs_after(
        &self,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<(Vec<KeyedDoc>, bool), StoreError> {
        self.time(Call::List, || self.list_after(after, limit))
    }

    fn list_after(
        &self,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<(Vec<KeyedDoc>, bool), StoreError> {
        self.check_open()?;
        let mut from = after.map(|key| super::record::address(key).to_vec());
        let mut docs = Vec::new();
        loop {
            let page = match (&self.fork, self.at) {
                (Some(fork), _) => self.fork_page(fork, from.as_deref(), limit)?,
                (None, Some(epoch)) => self.page_at(epoch, from.as_deref(), limit)?,
                (None, None) => self.inner.docs.page_after(from.as_deref(), limit)?,
            };
            docs.extend(page.docs);
            match page.next {
                None => return Ok((docs, false)),
                Some(_) if docs.len() >= limit => return Ok((docs, true)),
                next => from = next,
            }
        }
    }
}

impl Tx<'_> {
    /// The value at a path, as the transaction sees it.
    ///
    /// # Errors
    /// As [`Store::get_in`].
    pub fn value(&mut self, path: &[Key]) -> Result<Option<Value>, StoreError> {
        let Some(key) = path.first() else {
            return Err(StoreError::EmptyPath);
        };
        let pager = self.pager();
        let Some(found) = self.find(path)? else {
            // A hole of a vector reads as nil.
            return self.hole(path);
        };
        let met = RefCell::new(Met {
            tx: self,
            written: BTreeMap::new(),
            failure: None,
        });
        let file = |id| met.borrow_mut().file(id);
        let value = convert::to_value_with(&found.entry.node, pager, &file);
        match met.into_inner().failure {
            Some(e) => Err(e),
            None => value.map(Some).map_err(|e| StoreError::tree(key, e)),
        }
    }

    fn hole(&mut self, path: &[Key]) -> Result<Option<Value>, StoreError> {
        let pager = self.pager();
        let Some((key, above)) = path.split_last() else {
            return Ok(None);
        };
        if above.is_empty() {
            return Ok(None);
        }
        match self.find(above)? {
            Some(Found { entry, .. }) => match (&entry.node, key.as_index()) {
                (Node::Vector(map), Some(i)) => {
                    let len = edit::vector_len(map, pager).map_err(|e| StoreError::tree(key, e))?;
                    Ok((i < len).then_some(Value::Nil))
                }
                _ => Ok(None),
            },
            None => Ok(None),
        }
    }

    /// Puts a value at a path, as [`Store::assoc_in`].
    ///
    /// # Errors
    /// As [`Store::assoc_in`].
    pub fn assoc_in(&mut self, path: &[Key], value: &Value) -> Result<(), StoreError> {
        self.merge_in(path, value, Declared::Dropped)
    }

    /// Puts a value at a path, as [`Store::assoc_in`] does; says what becomes of declared types below.
    ///
    /// # Errors
    /// As [`Store::assoc_in`].
    pub fn merge_in(
        &mut self,
        path: &[Key],
        value: &Value,
        declared: Declared,
    ) -> Result<(), StoreError> {
        let Some(top) = path.first() else {
            return Err(StoreError::EmptyPath);
        };
        let pager = self.pager();
        let fail = |e: TreeError| StoreError::tree(top, e);
        // What is too deep to be read back is not taken.
        let limit = convert::MAX_DEPTH;
        if path.len() > limit || cbor::check_depth(value).is_err() {
            return Err(fail(TreeError::TooDeep { limit }));
        }
        // The deepest place that is there, or is nil and becomes a map.
        let mut depth = 1;
        let mut parent: Option<Found> = None;
        let (at, old) = loop {
            let here = path.get(..depth).unwrap_or(path);
            let found = self.find(here)?;
            if let (Some(Found { entry, .. }), Some(key)) = (&parent, here.last()) {
                check_index(&entry.node, key, depth - 1, pager).map_err(fail)?;
            }
            match found {
                Some(found) if depth == path.len() => break (depth, Some(found)),
                Some(found) => match found.entry.node {
                    Node::Map(_) | Node::Vector(_) => parent = Some(found),
                    Node::Scalar(ref v) if matches!(**v, Value::Nil) => break (depth, Some(found)),
                    _ => return Err(fail(TreeError::ThroughScalar { depth })),
                },
                None => break (depth, None),
            }
            depth += 1;
        };
        let missing = path.get(at..).unwrap_or_default();
        let nested = missing.iter().rev().fold(value.clone(), |value, key| {
            Value::Map(BTreeMap::from([(key.clone(), value)]))
        });
        let above = parent.map_or(Time::default(), |p| p.stamp);
        let place = KeyPath::from(path.get(..at).unwrap_or(path).to_vec());
        let old = match old {
            Some(found) if found.link.is_some() => self.find_name(&place)?,
            old => old,
        };
        let now = self.now;
        let mut met = Met {
            tx: self,
            written: BTreeMap::new(),
            failure: None,
        };
        let merge = Merge {
            now,
            pager,
            declared,
        };
        let entry = merge.entry(old.as_ref().map(|f| &f.entry), &nested, above, &mut met);
        let Met {
            written, failure, ..
        } = met;
        if let Some(e) = failure {
            return Err(e);
        }
        let time = old.is_none().then_some(now);
        self.put(place, entry.map_err(fail)?, time)?;
        for (id, file) in written {
            self.put(links::file(id), file, None)?;
        }
        Ok(())
    }

    /// The attributes that an entry carries to another place: its times and birth go with it.
    ///
    /// # Errors
    /// [`StoreError::NothingThere`]; else as [`Tx::find`].
    pub fn moved_attrs(&mut self, path: &[Key]) -> Result<Attrs, StoreError> {
        let nothing = || StoreError::NothingThere {
            path: show_path(path),
        };
        let found = self.find_name(path)?.ok_or_else(nothing)?;
        if matches!(found.entry.node, Node::Ref(_)) {
            // A name has none: they are the file's.
            return Ok(Attrs::default());
        }
        let mut attrs = found.entry.attrs();
        attrs.stamp = Some(found.stamp);
        // Made of its new place and its birth, its number could be that of what it replaces: what
        // one write made has one birth.
        let birth = edit::times_of(&found.entry, found.stamp).crtime;
        attrs.ino.get_or_insert_with(|| moved_number(path, birth));
        Ok(attrs)
    }

    /// Whether something may be put at a path.
    fn check_place(&mut self, path: &[Key]) -> Result<(), StoreError> {
        let Some((key, above)) = path.split_last() else {
            return Err(StoreError::EmptyPath);
        };
        let Some(top) = above.first() else {
            return Ok(());
        };
        let pager = self.pager();
        match self.find(above)? {
            Some(f) => check_index(&f.entry.node, key, above.len(), pager)
                .map_err(|e| StoreError::tree(top, e)),
            None => Err(StoreError::NothingThere {
                path: show_path(above),
            }),
        }
    }
}

/// The number of what is moved from a path: 63 bits, never 0 or 1.
fn moved_number(path: &[Key], birth: Time) -> u64 {
    let mut hash = xxhash_rust::xxh3::Xxh3::with_seed(MOVED);
    hash.update(&birth.secs.to_le_bytes());
    hash.update(&birth.nanos.to_le_bytes());
    for key in path {
        hash.update(key.bytes());
    }
    (hash.digest() & (u64::MAX >> 1)).max(2)
}

/// Whether a key may stand in a parent: any key in a map, an index up to the length in a vector.
fn check_index(parent: &Node, key: &Key, depth: usize, pager: &Pager) -> Result<(), TreeError> {
    match parent {
        Node::Map(_) => Ok(()),
        Node::Vector(map) => {
            let len = edit::vector_len(map, pager)?;
            match key.as_index() {
                Some(i) if i <= len => Ok(()),
                _ => Err(TreeError::BadIndex {
                    key: show_key(key),
                    len,
                    depth,
                }),
            }
        }
        _ => Err(TreeError::ThroughScalar { depth }),
    }
}

fn value_in(
    root: &crate::tree::Entry,
    path: &[Key],
    pager: &Pager,
    file: FileOf<'_>,
) -> Result<Option<Value>, TreeError> {
    let found = match edit::find(root, path, pager) {
        Err(TreeError::ThroughScalar { depth }) => {
            // In nil there is nothing, also where it has several names.
            let above = edit::find(root, path.get(..depth).unwrap_or(path), pager)?;
            let nil = |id| -> Result<bool, TreeError> {
                Ok(convert::to_value(&file(id)?.node, pager)? == Value::Nil)
            };
            match above.map(|found| found.entry.node) {
                Some(Node::Ref(id)) if nil(id)? => return Ok(None),
                _ => return Err(TreeError::ThroughScalar { depth }),
            }
        }
        found => found?,
    };
    if let Some(found) = found {
        return convert::to_value_with(&found.entry.node, pager, file).map(Some);
    }
    // A hole of a vector reads as nil.
    let Some((key, above)) = path.split_last() else {
        return Ok(None);
    };
    let (Some(parent), Some(i)) = (edit::find(root, above, pager)?, key.as_index()) else {
        return Ok(None);
    };
    match &parent.entry.node {
        Node::Vector(map) => Ok((i < edit::vector_len(map, pager)?).then_some(Value::Nil)),
        _ => Ok(None),
    }
}

/// The keys of a store. See [`Store::keys`].
#[derive(Debug)]
pub struct Keys {
    store: Store,
    ready: VecDeque<(Key, Meta)>,
    after: Option<Key>,
    done: bool,
}

impl Iterator for Keys {
    type Item = Result<(Key, Meta), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.is_empty() && !self.done {
            match self.store.docs_after(self.after.as_ref(), 1000) {
                Ok((docs, more)) => {
                    self.done = !more;
                    self.after = docs.last().map(|(k, _)| k.clone()).or(self.after.take());
                    for (key, doc) in docs {
                        match self.store.meta_of(&key, &doc) {
                            Ok(meta) => self.ready.extend(meta.map(|meta| (key, meta))),
                            Err(e) => {
                                self.done = true;
                                return Some(Err(e));
                            }
                        }
                    }
                }
                Err(e) => {
                    self.done = true;
                    return Some(Err(e));
                }
            }
        }
        self.ready.pop_front().map(Ok)
    }
}
