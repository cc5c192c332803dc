//! Operations on documents, as the journal records them: results, never closures. Applying the same
//! operations to the same documents gives the same documents.

use std::sync::Arc;

use super::edit::{change, touch};
use super::entry::{Attrs, Entry, Node};
use super::error::TreeError;
use super::page::{read_attrs, read_entry, read_time, write_attrs, write_entry, write_time};
use super::pager::Pager;
use super::patch::Patch;
use super::time::Time;
use super::walk::may_have_pages;
use crate::value::cbor::{Reader, Writer};
use crate::value::{Key, KeyPath, Value};

/// One step. Paths start with the document's key; a path of one key is the document itself.
#[derive(Clone, Debug)]
pub enum Op {
    /// Puts an entry at a path whose parent is there.
    Put {
        /// Where.
        path: KeyPath,
        /// What.
        entry: Entry,
        /// The parent's new change time.
        time: Option<Time>,
    },
    /// Takes the entry at a path out; it may be placed elsewhere by the same record.
    Take {
        /// Where.
        path: KeyPath,
        /// The parent's new change time.
        time: Option<Time>,
    },
    /// Puts the entry taken by the `index`th `Take` of the record at a path, with other attributes.
    Place {
        /// Where.
        path: KeyPath,
        /// Which of the entries taken.
        index: u64,
        /// Its attributes there.
        attrs: Attrs,
        /// The parent's new change time.
        time: Option<Time>,
    },
    /// Replaces the attributes of the entry at a path.
    SetAttrs {
        /// Where; the empty path is the root directory.
        path: KeyPath,
        /// The attributes.
        attrs: Attrs,
    },
    /// Writes into the content of the entry at a path.
    Write {
        /// Where.
        path: KeyPath,
        /// What.
        patch: Patch,
    },
    /// A document has changed without a change in it: a file that it holds a name of has.
    Touch {
        /// The document.
        path: KeyPath,
    },
}

impl Op {
    /// The path that the step changes.
    pub fn path(&self) -> &KeyPath {
        match self {
            Self::Put { path, .. }
            | Self::Take { path, .. }
            | Self::Place { path, .. }
            | Self::SetAttrs { path, .. }
            | Self::Write { path, .. }
            | Self::Touch { path } => path,
        }
    }

    /// Bytes of memory that it may take until it is folded, beside what is in its record.
    pub fn weight(&self) -> usize {
        match self {
            Self::Write { patch, .. } => patch.weight(),
            _ => 0,
        }
    }

    /// What the step puts, if there may be pages in it.
    pub fn put_with_pages(&self) -> Option<&Entry> {
        match self {
            Self::Put { entry, .. } if may_have_pages(entry) => Some(entry),
            _ => None,
        }
    }
}

/// The documents that operations change.
pub trait Forest {
    /// The document under a key, for changing; `None` stands for no document.
    fn document(&mut self, key: &Key) -> Result<&mut Option<Entry>, TreeError>;
}

/// The hidden document that holds the attributes of the root directory. Its key is the integer 0 in
/// two bytes, which is well-formed CBOR and no value's canonical encoding.
pub fn root_key() -> Key {
    Key::from_canonical(&[0x18, 0x00])
}

/// The hidden document of files with several names: the integer 1 in two bytes.
pub fn links_key() -> Key {
    Key::from_canonical(&[0x18, 0x01])
}

/// The hidden document that lists the snapshots: the integer 2 in two bytes.
pub fn snapshots_key() -> Key {
    Key::from_canonical(&[0x18, 0x02])
}

/// Whether a key is one of the hidden documents.
pub fn is_hidden(key: &Key) -> bool {
    matches!(key.bytes(), [0x18, 0x00..=0x02])
}

/// Applies the steps of one record, one after the other.
#[derive(Debug, Default)]
pub struct Applier {
    taken: Vec<Option<Entry>>,
    displaced: Vec<Entry>,
}

impl Applier {
    /// The entry that a `Take` took out and no `Place` has placed yet.
    pub fn taken(&self, index: u64) -> Option<&Entry> {
        self.taken.get(usize::try_from(index).ok()?)?.as_ref()
    }

    /// What the steps took away or put something else in the place of, as far as it may have pages.
    pub fn displaced(&mut self) -> std::vec::Drain<'_, Entry> {
        self.displaced.drain(..)
    }

    /// Applies the next step.
    pub fn step(
        &mut self,
        op: &Op,
        forest: &mut dyn Forest,
        pager: &Pager,
    ) -> Result<(), TreeError> {
        match op {
            Op::Put { path, entry, time } => {
                let old = put(forest, path, entry.clone(), *time, pager)?;
                self.displaced.extend(old.filter(may_have_pages));
                Ok(())
            }
            Op::Take { path, time } => {
                let entry = take(forest, path, *time, pager)?;
                if may_have_pages(&entry) {
                    self.displaced.push(entry.clone());
                }
                self.taken.push(Some(entry));
                Ok(())
            }
            Op::Place {
                path,
                index,
                attrs,
                time,
            } => {
                let slot = usize::try_from(*index)
                    .ok()
                    .and_then(|i| self.taken.get_mut(i))
                    .and_then(Option::take);
                let mut entry = slot
                    .ok_or_else(|| TreeError::malformed("a journal record", "nothing to place"))?;
                entry.set_attrs(attrs.clone());
                let old = put(forest, path, entry, *time, pager)?;
                self.displaced.extend(old.filter(may_have_pages));
                Ok(())
            }
            Op::SetAttrs { path, attrs } => set_attrs(forest, path, attrs, pager),
            Op::Write { path, patch } => {
                let old = write(forest, path, patch, pager)?;
                self.displaced.extend(Some(old).filter(may_have_pages));
                Ok(())
            }
            Op::Touch { path } => match path.first() {
                Some(doc) => forest.document(doc).map(drop),
                None => Err(TreeError::malformed("an operation", "an empty path")),
            },
        }
    }
}

/// Gives the entry that stood there.
fn put(
    forest: &mut dyn Forest,
    path: &[Key],
    entry: Entry,
    time: Option<Time>,
    pager: &Pager,
) -> Result<Option<Entry>, TreeError> {
    let Some((doc, rest)) = path.split_first() else {
        return Err(TreeError::malformed("an operation", "an empty path"));
    };
    match rest.split_last() {
        None => {
            let new = entry.is_dir();
            let old = forest.document(doc)?.replace(entry);
            let was = old.as_ref().is_some_and(Entry::is_dir);
            touch_root(forest, time, doc, i64::from(new) - i64::from(was))?;
            Ok(old)
        }
        Some((key, above)) => {
            let root = forest
                .document(doc)?
                .as_mut()
                .ok_or(TreeError::NotFound { depth: 0 })?;
            let mut entry = Some(entry);
            let mut old = None;
            change(root, above, pager, &mut |parent, stamp| {
                let Some(entry) = entry.take() else {
                    return Ok(());
                };
                old = match &mut parent.node {
                    Node::Map(map) | Node::Vector(map) => map.insert(key, entry, pager)?,
                    _ => return Err(TreeError::ThroughScalar { depth: above.len() }),
                };
                if let Some(time) = time {
                    touch(parent, stamp, time);
                }
                Ok(())
            })?;
            Ok(old)
        }
    }
}

fn take(
    forest: &mut dyn Forest,
    path: &[Key],
    time: Option<Time>,
    pager: &Pager,
) -> Result<Entry, TreeError> {
    let Some((doc, rest)) = path.split_first() else {
        return Err(TreeError::malformed("an operation", "an empty path"));
    };
    match rest.split_last() {
        None => {
            let entry = forest
                .document(doc)?
                .take()
                .ok_or(TreeError::NotFound { depth: 0 })?;
            touch_root(forest, time, doc, -i64::from(entry.is_dir()))?;
            Ok(entry)
        }
        Some((key, above)) => {
            let root = forest
                .document(doc)?
                .as_mut()
                .ok_or(TreeError::NotFound { depth: 0 })?;
            let mut taken = None;
            change(root, above, pager, &mut |parent, stamp| {
                taken = match &mut parent.node {
                    Node::Map(map) | Node::Vector(map) => map.remove(key, pager)?,
                    _ => return Err(TreeError::ThroughScalar { depth: above.len() }),
                };
                if let Some(time) = time {
                    touch(parent, stamp, time);
                }
                Ok(())
            })?;
            taken.ok_or(TreeError::NotFound { depth: path.len() })
        }
    }
}

/// Gives the entry as it was.
fn write(
    forest: &mut dyn Forest,
    path: &[Key],
    patch: &Patch,
    pager: &Pager,
) -> Result<Entry, TreeError> {
    let Some((doc, rest)) = path.split_first() else {
        return Err(TreeError::malformed("an operation", "an empty path"));
    };
    let root = forest
        .document(doc)?
        .as_mut()
        .ok_or(TreeError::NotFound { depth: 0 })?;
    let mut old = None;
    change(root, rest, pager, &mut |entry, _| {
        old = Some(entry.clone());
        patch.apply(entry, pager)
    })?;
    old.ok_or(TreeError::NotFound { depth: path.len() })
}

fn set_attrs(
    forest: &mut dyn Forest,
    path: &[Key],
    attrs: &Attrs,
    pager: &Pager,
) -> Result<(), TreeError> {
    let Some((doc, rest)) = path.split_first() else {
        root_entry(forest)?.set_attrs(attrs.clone());
        return Ok(());
    };
    let root = forest
        .document(doc)?
        .as_mut()
        .ok_or(TreeError::NotFound { depth: 0 })?;
    change(root, rest, pager, &mut |entry, _| {
        entry.set_attrs(attrs.clone());
        Ok(())
    })
}

fn root_entry(forest: &mut dyn Forest) -> Result<&mut Entry, TreeError> {
    let slot = forest.document(&root_key())?;
    Ok(slot.get_or_insert_with(|| Entry::plain(Node::Scalar(Arc::new(Value::Int(0))))))
}

/// How many documents are directories, as the hidden document of the root directory says.
pub fn root_dirs(root: &Entry) -> u64 {
    match &root.node {
        Node::Scalar(v) => match **v {
            Value::Int(n) => u64::try_from(n).unwrap_or(0),
            _ => 0,
        },
        _ => 0,
    }
}

/// Moves the root directory's change times, and the count of documents that are directories.
fn touch_root(
    forest: &mut dyn Forest,
    time: Option<Time>,
    doc: &Key,
    dirs: i64,
) -> Result<(), TreeError> {
    if is_hidden(doc) || (time.is_none() && dirs == 0) {
        return Ok(());
    }
    let root = root_entry(forest)?;
    if dirs != 0 {
        let now = i64::try_from(root_dirs(root))
            .unwrap_or(i64::MAX)
            .saturating_add(dirs);
        root.node = Node::Scalar(Arc::new(Value::Int(now.max(0))));
    }
    if let Some(time) = time {
        touch(root, time, time);
    }
    Ok(())
}

/// Writes the steps of a record: `[[code, path, …], …]`.
pub fn write_ops(w: &mut Writer<'_>, ops: &[Op], pager: &Pager) -> Result<(), TreeError> {
    w.array(ops.len());
    for op in ops {
        match op {
            Op::Put { path, entry, time } => {
                w.array(4);
                w.uint(0);
                write_path(w, path);
                write_entry(w, entry, pager)?;
                write_optional_time(w, *time);
            }
            Op::Take { path, time } => {
                w.array(3);
                w.uint(1);
                write_path(w, path);
                write_optional_time(w, *time);
            }
            Op::Place {
                path,
                index,
                attrs,
                time,
            } => {
                w.array(5);
                w.uint(2);
                write_path(w, path);
                w.uint(*index);
                write_attrs(w, attrs);
                write_optional_time(w, *time);
            }
            Op::SetAttrs { path, attrs } => {
                w.array(3);
                w.uint(3);
                write_path(w, path);
                write_attrs(w, attrs);
            }
            Op::Touch { path } => {
                w.array(2);
                w.uint(4);
                write_path(w, path);
            }
            Op::Write { path, patch } => {
                w.array(3);
                w.uint(5);
                write_path(w, path);
                patch.encode(w);
            }
        }
    }
    Ok(())
}

/// Reads the steps of a record.
pub fn read_ops(r: &mut Reader<'_>) -> Result<Vec<Op>, TreeError> {
    let n = r.array()?;
    let mut ops = Vec::with_capacity(n.min(1024));
    for _ in 0..n {
        let fields = r.array()?;
        let op = match (r.uint()?, fields) {
            (0, 4) => Op::Put {
                path: read_path(r)?,
                entry: read_entry(r)?,
                time: read_optional_time(r)?,
            },
            (1, 3) => Op::Take {
                path: read_path(r)?,
                time: read_optional_time(r)?,
            },
            (2, 5) => Op::Place {
                path: read_path(r)?,
                index: r.uint()?,
                attrs: read_attrs(r)?,
                time: read_optional_time(r)?,
            },
            (3, 3) => Op::SetAttrs {
                path: read_path(r)?,
                attrs: read_attrs(r)?,
            },
            (4, 2) => Op::Touch {
                path: read_path(r)?,
            },
            (5, 3) => Op::Write {
                path: read_path(r)?,
                patch: Patch::decode(r)?,
            },
            (code, _) => {
                return Err(TreeError::malformed(
                    "a journal record",
                    format!("unknown operation {code}"),
                ));
            }
        };
        ops.push(op);
    }
    Ok(ops)
}

fn write_path(w: &mut Writer<'_>, path: &[Key]) {
    w.array(path.len());
    for key in path {
        w.raw(key.bytes());
    }
}

fn read_path(r: &mut Reader<'_>) -> Result<KeyPath, TreeError> {
    let n = r.array()?;
    let mut keys = Vec::with_capacity(n.min(64));
    for _ in 0..n {
        keys.push(Key::from_canonical(r.raw()?));
    }
    Ok(KeyPath::from(keys))
}

fn write_optional_time(w: &mut Writer<'_>, time: Option<Time>) {
    match time {
        Some(t) => write_time(w, t),
        None => {
            w.null();
        }
    }
}

fn read_optional_time(r: &mut Reader<'_>) -> Result<Option<Time>, TreeError> {
    if r.take_null() {
        return Ok(None);
    }
    read_time(r).map(Some)
}

/// Attributes shared by an entry, for building one.
pub fn shared(attrs: Attrs) -> Option<Arc<Attrs>> {
    if attrs == Attrs::default() {
        None
    } else {
        Some(Arc::new(attrs))
    }
}
