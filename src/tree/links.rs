//! Files with several names: where a name stands there is a [`Node::Ref`] with the file's number, and
//! the file itself stands in the hidden document of linked files.
//!
//! ```text
//! {id      → {0 → the file, with its attributes
//!             1 → {document → how many names of the file stand in it}}
//!  "names" → {document → how many names of linked files stand in it}}
//! ```
//!
//! A file that once had several names stays here while it has one. The counts are exact, so that the
//! file goes with its last name, and so that a directory of a document without such names is moved
//! or removed without looking into it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::edit::{self, Found, stamp_of};
use super::entry::{Entry, Node};
use super::error::TreeError;
use super::map::Map;
use super::op::links_key;
use super::pager::Pager;
use super::time::Time;
use crate::value::{Key, KeyPath, Value};

/// The file's number and how many names it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The number.
    pub id: u64,
    /// The names.
    pub names: u64,
}

/// Where a linked file stands with all that is known of it.
pub fn place(id: u64) -> KeyPath {
    vec![links_key(), Key::index(id)].into()
}

/// Where a linked file stands.
pub fn file(id: u64) -> KeyPath {
    vec![links_key(), Key::index(id), Key::index(0)].into()
}

/// Where it stands how many names of a file there are in each document.
pub fn holders(id: u64) -> KeyPath {
    vec![links_key(), Key::index(id), Key::index(1)].into()
}

/// Where it stands how many names of linked files there are in each document.
pub fn names() -> KeyPath {
    vec![links_key(), Key::text("names")].into()
}

/// The number of the linked file that a path leads to or into.
pub fn id_of(path: &[Key]) -> Option<u64> {
    match path {
        [doc, id, ..] if *doc == links_key() => id.as_index(),
        _ => None,
    }
}

/// An entry that counts.
pub fn count(n: u64) -> Entry {
    let n = i64::try_from(n).unwrap_or(i64::MAX);
    Entry::plain(Node::Scalar(Arc::new(Value::Int(n))))
}

fn counted(entry: &Entry) -> u64 {
    match &entry.node {
        Node::Scalar(value) => match **value {
            Value::Int(n) => u64::try_from(n).unwrap_or(0),
            _ => 0,
        },
        _ => 0,
    }
}

/// A directory of counts.
pub fn counts(of: &BTreeMap<Key, u64>) -> Entry {
    let items = of.iter().map(|(key, n)| (key.clone(), count(*n)));
    Entry::plain(Node::Map(Map::from_sorted(items.collect())))
}

/// A version of the hidden document.
#[derive(Clone, Copy, Debug)]
pub struct Links<'a> {
    root: Option<&'a Entry>,
    pager: &'a Pager,
}

impl<'a> Links<'a> {
    /// What stands in a version of the document; `None`: there are no linked files.
    pub fn new(root: Option<&'a Entry>, pager: &'a Pager) -> Self {
        Self { root, pager }
    }

    fn find(&self, path: &[Key]) -> Result<Option<Entry>, TreeError> {
        let (Some(root), Some(rest)) = (self.root, path.get(1..)) else {
            return Ok(None);
        };
        Ok(edit::find(root, rest, self.pager)?.map(|found| found.entry))
    }

    /// A linked file; `None` if there is none with this number.
    pub fn file(&self, id: u64) -> Result<Option<Found>, TreeError> {
        let Some(entry) = self.find(&file(id))? else {
            return Ok(None);
        };
        let names = self.holders(id)?.iter().map(|(_, n)| n).sum();
        Ok(Some(Found {
            stamp: stamp_of(&entry, Time::default()),
            entry,
            link: Some(Link { id, names }),
        }))
    }

    /// The documents that hold names of a file, with how many.
    pub fn holders(&self, id: u64) -> Result<Vec<(Key, u64)>, TreeError> {
        self.counts(&holders(id))
    }

    /// How many names of linked files stand in a document.
    pub fn names_in(&self, doc: &Key) -> Result<u64, TreeError> {
        match self.find(&names())?.map(|entry| entry.node) {
            Some(Node::Map(map)) => Ok(map.get(doc, self.pager)?.as_ref().map_or(0, counted)),
            _ => Ok(0),
        }
    }

    /// The numbers of all linked files.
    pub fn numbers(&self) -> Result<Vec<u64>, TreeError> {
        let mut found = Vec::new();
        if let Some(files) = self.root.and_then(Entry::children) {
            files.for_each(self.pager, &mut |key, _| {
                found.extend(key.as_index());
                Ok(())
            })?;
        }
        Ok(found)
    }

    /// The documents that hold names of linked files, with how many.
    pub fn names(&self) -> Result<Vec<(Key, u64)>, TreeError> {
        self.counts(&names())
    }

    fn counts(&self, path: &[Key]) -> Result<Vec<(Key, u64)>, TreeError> {
        let mut found = Vec::new();
        if let Some(Node::Map(map)) = self.find(path)?.map(|entry| entry.node) {
            map.for_each(self.pager, &mut |key, entry| {
                found.push((key.clone(), counted(entry)));
                Ok(())
            })?;
        }
        Ok(found)
    }

    /// Whether the document is there.
    pub fn exist(&self) -> bool {
        self.root.is_some()
    }
}

/// What an empty document of linked files is, or what is known of a file before it stands there.
pub fn empty() -> Entry {
    Entry::plain(Node::Map(Map::new()))
}

/// A name leads to a file that is not there.
pub fn dangling(id: u64) -> TreeError {
    TreeError::malformed(
        "a name",
        format!("it leads to the linked file {id}, which is missing"),
    )
}

/// The names of linked files at and below an entry under a key, each with its path and the file's
/// number.
pub fn names_below(
    key: &Key,
    entry: &Entry,
    pager: &Pager,
) -> Result<Vec<(Vec<Key>, u64)>, TreeError> {
    let mut found = Vec::new();
    let mut todo = vec![(vec![key.clone()], entry.clone())];
    while let Some((path, entry)) = todo.pop() {
        match &entry.node {
            Node::Ref(id) => found.push((path, *id)),
            Node::Map(map) | Node::Vector(map) => map.for_each(pager, &mut |key, child| {
                if child.is_dir() || matches!(child.node, Node::Ref(_)) {
                    todo.push((
                        [&path[..], std::slice::from_ref(key)].concat(),
                        child.clone(),
                    ));
                }
                Ok(())
            })?,
            _ => {}
        }
    }
    Ok(found)
}

/// Every name of a linked file in an entry, as often as it stands there.
pub fn each(entry: &Entry, pager: &Pager, f: &mut dyn FnMut(u64)) -> Result<(), TreeError> {
    // Documents may nest deeper than a stack bears.
    let mut todo = vec![entry.clone()];
    while let Some(entry) = todo.pop() {
        match &entry.node {
            Node::Ref(id) => f(*id),
            Node::Map(map) | Node::Vector(map) => map.for_each(pager, &mut |_, child| {
                if child.is_dir() || matches!(child.node, Node::Ref(_)) {
                    todo.push(child.clone());
                }
                Ok(())
            })?,
            _ => {}
        }
    }
    Ok(())
}
