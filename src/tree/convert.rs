//! Plain values to entries and back, and an API write over what is there.

use std::sync::Arc;

use super::content;
use super::edit::{attrs_for_new_value, stamp_of, times_of, vector_len};
use super::entry::{Attrs, CHUNK, Chunked, Content, Entry, Node, Times};
use super::error::TreeError;
use super::links;
use super::map::Map;
use super::pager::Pager;
use super::time::Time;
use crate::value::{Key, Value, cbor};

/// Values nest at most this deep in a store.
pub const MAX_DEPTH: usize = 1100;

/// The node of a value, in memory.
pub fn from_value(value: &Value) -> Result<Node, TreeError> {
    from_value_at(value, 0)
}

fn from_value_at(value: &Value, depth: usize) -> Result<Node, TreeError> {
    if depth > MAX_DEPTH {
        return Err(TreeError::TooDeep { limit: MAX_DEPTH });
    }
    Ok(match value {
        Value::Text(s) => Node::Text(from_bytes(s.as_bytes())),
        Value::Bytes(b) => Node::Bytes(from_bytes(b)),
        Value::Map(m) => Node::Map(Map::from_sorted(
            m.iter()
                .map(|(k, v)| Ok((k.clone(), Entry::plain(from_value_at(v, depth + 1)?))))
                .collect::<Result<_, TreeError>>()?,
        )),
        Value::Vector(v) => Node::Vector(Map::from_sorted(
            v.iter()
                .enumerate()
                .map(|(i, v)| {
                    Ok((
                        Key::index(i as u64),
                        Entry::plain(from_value_at(v, depth + 1)?),
                    ))
                })
                .collect::<Result<_, TreeError>>()?,
        )),
        other => Node::Scalar(Arc::new(other.clone())),
    })
}

/// Content of these bytes, in memory.
pub fn from_bytes(bytes: &[u8]) -> Content {
    if bytes.len() <= CHUNK {
        return Content::Inline(Arc::from(bytes));
    }
    let chunks = bytes
        .chunks(CHUNK)
        .enumerate()
        .map(|(i, c)| {
            (
                Key::index(i as u64),
                Entry::plain(Node::Bytes(Content::Inline(Arc::from(c)))),
            )
        })
        .collect();
    Content::Chunked(Arc::new(Chunked {
        len: bytes.len() as u64,
        chunks: Map::from_sorted(chunks),
    }))
}

/// The value of a node without names of linked files, whole.
pub fn to_value(node: &Node, pager: &Pager) -> Result<Value, TreeError> {
    to_value_with(node, pager, &|id| Err(links::dangling(id)))
}

/// Gives the linked file with a number.
pub type FileOf<'f> = &'f dyn Fn(u64) -> Result<Entry, TreeError>;

/// The value of a node, whole; `file` gives linked files.
pub fn to_value_with(node: &Node, pager: &Pager, file: FileOf<'_>) -> Result<Value, TreeError> {
    Ok(match node {
        Node::Scalar(v) => (**v).clone(),
        Node::ScalarPage(p) => cbor::decode(&pager.blob(p)?)?,
        Node::Text(c) => {
            let bytes = content::read_all(c, pager)?;
            Value::Text(String::from_utf8(bytes).map_err(|e| TreeError::malformed("a text", e))?)
        }
        Node::Bytes(c) => Value::Bytes(content::read_all(c, pager)?),
        Node::Map(m) => {
            let mut out = std::collections::BTreeMap::new();
            m.for_each(pager, &mut |k, e| {
                out.insert(k.clone(), to_value_with(&e.node, pager, file)?);
                Ok(())
            })?;
            Value::Map(out)
        }
        Node::Vector(m) => {
            let mut out: Vec<Value> = Vec::new();
            m.for_each(pager, &mut |k, e| {
                if let Some(i) = k.as_index().and_then(|i| usize::try_from(i).ok()) {
                    out.resize(i, Value::Nil);
                    out.push(to_value_with(&e.node, pager, file)?);
                }
                Ok(())
            })?;
            Value::Vector(out)
        }
        Node::Ref(id) => to_value(&file(*id)?.node, pager)?,
    })
}

/// The linked files that an API write meets.
pub trait LinkedFiles {
    /// A file as it was before the write.
    fn file(&mut self, id: u64) -> Result<Entry, TreeError>;
    /// The write changes a file.
    fn write(&mut self, id: u64, entry: Entry);
}

/// What a value says of the entries below it that have a declared type and hold what they did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Declared {
    /// Their type is that of the value, now.
    Dropped,
    /// Nothing: they stay as they are.
    Kept,
}

/// A write over what is there.
#[derive(Clone, Copy, Debug)]
pub struct Merge<'p> {
    /// When.
    pub now: Time,
    /// The pages of the store.
    pub pager: &'p Pager,
    /// What becomes of declared types.
    pub declared: Declared,
}

impl Merge<'_> {
    /// The entry after a write of a value over `old`: attributes stay wherever path and kind remain,
    /// and only what changed gets new times. Where a name of a linked file stands, a value that a file
    /// can have changes the file; any other takes the name's place.
    ///
    /// # Errors
    /// Damage; a value that nests too deep.
    pub fn entry(
        &self,
        old: Option<&Entry>,
        value: &Value,
        above: Time,
        linked: &mut dyn LinkedFiles,
    ) -> Result<Entry, TreeError> {
        let Self { now, pager, .. } = *self;
        let fresh = |value: &Value| -> Result<Entry, TreeError> {
            let attrs = Attrs {
                stamp: Some(now),
                ..Attrs::default()
            };
            Ok(Entry::plain(from_value(value)?).with_attrs(attrs))
        };
        let Some(old) = old else { return fresh(value) };
        if let Node::Ref(id) = &old.node {
            let file = linked.file(*id)?;
            let directory = matches!(value, Value::Map(_) | Value::Vector(_));
            if directory || own_tag_of(&file.node) != own_tag(value) {
                return fresh(value);
            }
            let stamp = stamp_of(&file, above);
            let after = merge_file(&file, value, now, stamp, pager)?;
            if !same(&file, &after) {
                linked.write(*id, after);
            }
            return Ok(old.clone());
        }
        let stamp = stamp_of(old, above);
        let (old_map, items): (&Map, Vec<(Key, &Value)>) = match (&old.node, value) {
            (Node::Map(m), Value::Map(items)) => {
                (m, items.iter().map(|(k, v)| (k.clone(), v)).collect())
            }
            (Node::Vector(m), Value::Vector(items)) => (
                m,
                items
                    .iter()
                    .enumerate()
                    .map(|(i, v)| (Key::index(i as u64), v))
                    .collect(),
            ),
            (Node::Map(_) | Node::Vector(_), Value::Map(_) | Value::Vector(_)) => {
                let mut entry = Entry {
                    attrs: old.attrs.clone(),
                    node: from_value(value)?,
                };
                restamp(&mut entry, stamp, now);
                // Everything in it is new.
                let mut attrs = entry.attrs();
                attrs.stamp = Some(now);
                entry.set_attrs(attrs);
                return Ok(entry);
            }
            (Node::Map(_) | Node::Vector(_), _) | (_, Value::Map(_) | Value::Vector(_)) => {
                return fresh(value);
            }
            // A symbolic link or a pipe and a file are things of different kinds.
            _ if own_tag_of(&old.node) != own_tag(value) => return fresh(value),
            _ => return merge_file(old, value, now, stamp, pager),
        };
        let vector = matches!(old.node, Node::Vector(_));
        let mut map = old_map.clone();
        let mut kept = 0;
        let mut renamed = false;
        let len = if vector {
            vector_len(old_map, pager)?
        } else {
            0
        };
        let last = items.last().map(|(key, _)| key.clone());
        for (key, value) in &items {
            let before = old_map.get(key, pager)?;
            // A hole that stays nil stays a hole, but not at the end, where it would be none.
            let inside = key.as_index().is_some_and(|i| i < len) && Some(key) != last.as_ref();
            if vector && before.is_none() && **value == Value::Nil && inside {
                continue;
            }
            kept += u64::from(before.is_some());
            renamed |= before.is_none();
            if let Some(before) = &before
                && self.declared == Declared::Kept
                && is_declared_and_holds(before, value, pager, linked)?
            {
                continue;
            }
            let after = self.entry(before.as_ref(), value, stamp, linked)?;
            if before.is_none_or(|b| !same(&b, &after)) {
                map.insert(key, after, pager)?;
            }
        }
        let mut gone = Vec::new();
        if kept < old_map.len() {
            let wanted: std::collections::BTreeSet<&Key> = items.iter().map(|(k, _)| k).collect();
            old_map.for_each(pager, &mut |k, _| {
                // What stands beside the elements of a vector is no part of its value.
                let beside = vector && k.as_index().is_none();
                if !wanted.contains(k) && !beside {
                    gone.push(k.clone());
                }
                Ok(())
            })?;
        }
        for key in &gone {
            map.remove(key, pager)?;
        }
        let node = if vector {
            Node::Vector(map)
        } else {
            Node::Map(map)
        };
        let mut entry = Entry {
            attrs: old.attrs.clone(),
            node,
        };
        if renamed || !gone.is_empty() {
            restamp(&mut entry, stamp, now);
        }
        Ok(entry)
    }
}

/// Whether an entry, or the linked file that it names, has a declared type and exactly this value.
fn is_declared_and_holds(
    entry: &Entry,
    value: &Value,
    pager: &Pager,
    linked: &mut dyn LinkedFiles,
) -> Result<bool, TreeError> {
    let holds = |entry: &Entry| -> Result<bool, TreeError> {
        let declared = entry.attrs.as_ref().is_some_and(|a| a.declared.is_some());
        Ok(declared && equals(&entry.node, value, pager)?)
    };
    match &entry.node {
        Node::Ref(id) => holds(&linked.file(*id)?),
        _ => holds(entry),
    }
}

/// The tag of a value that stands for something of this store's own, as `kfs/symlink` does.
fn own_tag(value: &Value) -> Option<&str> {
    match value {
        Value::Tagged(tag, _) => Some(tag.as_str()).filter(|tag| tag.starts_with("kfs/")),
        _ => None,
    }
}

fn own_tag_of(node: &Node) -> Option<&str> {
    match node {
        Node::Scalar(value) => own_tag(value),
        _ => None,
    }
}

fn merge_file(
    old: &Entry,
    value: &Value,
    now: Time,
    stamp: Time,
    pager: &Pager,
) -> Result<Entry, TreeError> {
    let undeclared = old.attrs.as_ref().is_none_or(|a| a.declared.is_none());
    if undeclared && equals(&old.node, value, pager)? {
        return Ok(old.clone());
    }
    let mut attrs = attrs_for_new_value(&old.attrs());
    // The newline that the view adds is what keeps one at the end of a text apart.
    attrs.bare &=
        matches!((&old.node, value), (Node::Text(_), Value::Text(t)) if !t.ends_with('\n'));
    let mut entry = Entry {
        attrs: old.attrs.clone(),
        node: from_value(value)?,
    };
    entry.set_attrs(attrs);
    restamp(&mut entry, stamp, now);
    Ok(entry)
}

fn restamp(entry: &mut Entry, stamp: Time, now: Time) {
    let crtime = times_of(entry, stamp).crtime;
    let mut attrs = entry.attrs();
    attrs.times = Some(Times {
        mtime: now,
        ctime: now,
        crtime,
    });
    entry.set_attrs(attrs);
}

/// Whether a file's node holds exactly this value.
fn equals(node: &Node, value: &Value, pager: &Pager) -> Result<bool, TreeError> {
    Ok(match (node, value) {
        (Node::Text(c), Value::Text(s)) => {
            c.len() == s.len() as u64 && content::read_all(c, pager)? == s.as_bytes()
        }
        (Node::Bytes(c), Value::Bytes(b)) => {
            c.len() == b.len() as u64 && content::read_all(c, pager)? == *b
        }
        (Node::Scalar(v), value) => **v == *value,
        (Node::ScalarPage(_), value) => to_value(node, pager)? == *value,
        _ => false,
    })
}

/// Whether two entries are one and the same, without looking into pages.
fn same(a: &Entry, b: &Entry) -> bool {
    let attrs = match (&a.attrs, &b.attrs) {
        (None, None) => true,
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        _ => false,
    };
    attrs
        && match (&a.node, &b.node) {
            (Node::Scalar(a), Node::Scalar(b)) => Arc::ptr_eq(a, b),
            (Node::ScalarPage(a), Node::ScalarPage(b)) => Arc::ptr_eq(a, b),
            (Node::Text(a), Node::Text(b)) | (Node::Bytes(a), Node::Bytes(b)) => match (a, b) {
                (Content::Inline(a), Content::Inline(b)) => Arc::ptr_eq(a, b),
                (Content::Page(a), Content::Page(b)) => Arc::ptr_eq(a, b),
                (Content::Chunked(a), Content::Chunked(b)) => Arc::ptr_eq(a, b),
                _ => false,
            },
            (Node::Map(a), Node::Map(b)) | (Node::Vector(a), Node::Vector(b)) => a.is(b),
            (Node::Ref(a), Node::Ref(b)) => a == b,
            _ => false,
        }
}
