//! What differs between two versions of a tree, found by comparing the addresses of pages: equal
//! subtrees are passed over unread, so the time follows the difference and not the size.

use std::sync::Arc;

use super::content::read_all;
use super::entry::{Attrs, Content, Entry, Node};
use super::error::TreeError;
use super::map::Map;
use super::merge::{Both, same_link};
use super::pager::Pager;
use crate::value::{Key, KeyPath};

/// Contents up to this many bytes are compared as a whole where their pages differ.
const WHOLE: u64 = 1 << 20;

/// An entry that is not the same in both versions. A directory comes for itself only where its kind
/// or its attributes differ, or where it is empty.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Where it is.
    pub path: KeyPath,
    /// Which keys of the path are places in a vector.
    pub in_vector: Vec<bool>,
    /// What was there.
    pub old: Option<Entry>,
    /// What is there.
    pub new: Option<Entry>,
}

/// The differences of two versions of a document, in the order of their paths.
#[derive(Debug)]
pub struct Diff<'a> {
    pager: &'a Pager,
    path: Vec<Key>,
    in_vector: Vec<bool>,
    /// One for each directory on the way; documents may nest deeper than a stack bears.
    open: Vec<Both>,
    exact: bool,
}

impl<'a> Diff<'a> {
    /// Compares what stands under a key, `None` where nothing does.
    pub fn new(key: &Key, old: Option<Entry>, new: Option<Entry>, pager: &'a Pager) -> Self {
        Self {
            pager,
            path: Vec::new(),
            in_vector: vec![false],
            open: vec![Both::under(key, old, new)],
            exact: false,
        }
    }

    /// Compares times and numbers, too, and tells of what came, went or became something else as a
    /// whole.
    #[must_use]
    pub fn exactly(self) -> Self {
        Self {
            exact: true,
            ..self
        }
    }

    fn step(&mut self) -> Result<Option<Difference>, TreeError> {
        while let Some(both) = self.open.last_mut() {
            let Some((key, old, new)) = both.next(self.pager, &mut |_| true)? else {
                self.open.pop();
                self.path.pop();
                self.in_vector.pop();
                continue;
            };
            let found = self.compare(&key, old, new)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Compares two entries, and goes into them if there is something in them to compare.
    fn compare(
        &mut self,
        key: &Key,
        old: Option<Entry>,
        new: Option<Entry>,
    ) -> Result<Option<Difference>, TreeError> {
        let alike = match (&old, &new) {
            (Some(old), Some(new)) => {
                let same_attrs = match self.exact {
                    true => old.attrs() == new.attrs(),
                    false => same_attrs(old, new),
                };
                same_attrs && same_node(&old.node, &new.node, self.pager)?
            }
            _ => false,
        };
        let mut path = self.path.clone();
        path.push(key.clone());
        let go_on = !self.exact || both_are_dirs_of_a_kind(old.as_ref(), new.as_ref());
        let children = |entry: &Option<Entry>| {
            let entry = entry.as_ref().filter(|_| go_on);
            entry.and_then(Entry::children).cloned()
        };
        let (below_old, below_new) = (children(&old), children(&new));
        let full = |map: &Option<Map>| map.as_ref().is_some_and(|map| !map.is_empty());
        // Of a directory that came or went what is in it is told.
        let one_sided = (old.is_none() && full(&below_new)) || (new.is_none() && full(&below_old));
        let in_vector = self.in_vector.clone();
        if full(&below_old) || full(&below_new) {
            let dir = new.as_ref().or(old.as_ref());
            self.in_vector
                .push(dir.is_some_and(|dir| matches!(dir.node, Node::Vector(_))));
            self.path.clone_from(&path);
            self.open.push(Both::of(below_old, below_new));
        }
        Ok((!alike && !one_sided).then(|| Difference {
            path: path.into(),
            in_vector,
            old,
            new,
        }))
    }
}

impl Iterator for Diff<'_> {
    type Item = Result<Difference, TreeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.open.clear();
        }
        step.transpose()
    }
}

/// Whether both are maps or both are vectors.
pub fn both_are_dirs_of_a_kind(old: Option<&Entry>, new: Option<&Entry>) -> bool {
    matches!(
        (old.map(|e| &e.node), new.map(|e| &e.node)),
        (Some(Node::Map(_)), Some(Node::Map(_))) | (Some(Node::Vector(_)), Some(Node::Vector(_)))
    )
}

/// Whether what is beside the values is the same, but for times and numbers.
fn same_attrs(a: &Entry, b: &Entry) -> bool {
    let beside = |entry: &Entry| Attrs {
        times: None,
        atime: None,
        stamp: None,
        ino: None,
        ..entry.attrs()
    };
    match (&a.attrs, &b.attrs) {
        (Some(x), Some(y)) if Arc::ptr_eq(x, y) => true,
        _ => beside(a) == beside(b),
    }
}

/// Whether two values are the same; of directories, whether they are of one kind.
fn same_node(a: &Node, b: &Node, pager: &Pager) -> Result<bool, TreeError> {
    Ok(match (a, b) {
        (Node::Scalar(a), Node::Scalar(b)) => a == b,
        (Node::ScalarPage(a), Node::ScalarPage(b)) => a.addr == b.addr,
        (Node::Scalar(_) | Node::ScalarPage(_), Node::Scalar(_) | Node::ScalarPage(_)) => {
            super::convert::to_value(a, pager)? == super::convert::to_value(b, pager)?
        }
        (Node::Text(a), Node::Text(b)) | (Node::Bytes(a), Node::Bytes(b)) => {
            same_content(a, b, pager)?
        }
        // What is in them is compared by itself.
        (Node::Map(_), Node::Map(_)) | (Node::Vector(_), Node::Vector(_)) => true,
        (Node::Ref(a), Node::Ref(b)) => a == b,
        _ => false,
    })
}

fn same_content(a: &Content, b: &Content, pager: &Pager) -> Result<bool, TreeError> {
    if a.len() != b.len() {
        return Ok(false);
    }
    match (a, b) {
        (Content::Inline(a), Content::Inline(b)) => return Ok(a == b),
        (Content::Page(a), Content::Page(b)) => return Ok(a.addr == b.addr),
        (Content::Chunked(a), Content::Chunked(b)) if same_link(&a.chunks.0, &b.chunks.0) => {
            return Ok(true);
        }
        _ => {}
    }
    // Equal bytes have equal pages, but for what is not folded yet.
    Ok(a.len() <= WHOLE && read_all(a, pager)? == read_all(b, pager)?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::backend::memory::Memory;
    use crate::backend::{Deadline, Precondition};
    use crate::codec::{Codec, Compressor};
    use crate::tree::Folder;
    use crate::value::Value;

    fn pager() -> Pager {
        let id = uuid::Uuid::from_u128(7);
        let codec = Codec::new(id, Compressor::None);
        Pager::new(Arc::new(Memory::new()), codec, id, 1 << 22)
    }

    fn number(n: i64) -> Entry {
        Entry::plain(Node::Scalar(Arc::new(Value::Int(n))))
    }

    fn in_pages(entry: &Entry, pager: &Pager) -> Entry {
        let mut folder = Folder::new(pager, 1);
        let entry = folder.entry(entry).unwrap();
        let mut folded = folder.finish();
        let deadline = Deadline::after(crate::tree::PATIENCE);
        for (addr, bytes) in std::mem::take(&mut folded.pages) {
            let key = crate::tree::page_key(&addr);
            pager
                .backend()
                .put(&key, &bytes, Precondition::Any, deadline)
                .unwrap();
        }
        folded.done();
        entry
    }

    fn below(n: u64, low: &Key) -> Key {
        match n % 3 {
            0 => Key::index(n),
            1 => Key::text(&format!("name {n}")),
            _ => low.clone(),
        }
    }

    #[test]
    fn a_diff_finds_what_a_comparison_of_all_finds() {
        let pager = pager();
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut random = |n: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % n
        };
        for round in 0..60 {
            let mut model: BTreeMap<Key, i64> = BTreeMap::new();
            let mut map = Map::new();
            let size = [3, 40, 900, 9000][round % 4];
            for _ in 0..random(size) {
                let key = below(random(2 * size), &Key::index(0));
                let n = random(5) as i64;
                model.insert(key.clone(), n);
                map.insert(&key, number(n), &pager).unwrap();
            }
            let mut old = Entry::plain(Node::Map(map.clone()));
            if random(3) > 0 {
                old = in_pages(&old, &pager);
            }
            let before = model.clone();
            for _ in 0..random(12) {
                let key = below(random(2 * size), &Key::index(0));
                if random(3) == 0 {
                    model.remove(&key);
                    map.remove(&key, &pager).unwrap();
                } else {
                    let n = random(5) as i64;
                    model.insert(key.clone(), n);
                    map.insert(&key, number(n), &pager).unwrap();
                }
            }
            let mut new = Entry::plain(Node::Map(map));
            if random(3) > 0 {
                new = in_pages(&new, &pager);
            }
            let keys: std::collections::BTreeSet<&Key> =
                before.keys().chain(model.keys()).collect();
            let expected: Vec<(Key, Option<i64>, Option<i64>)> = keys
                .into_iter()
                .map(|key| {
                    (
                        key.clone(),
                        before.get(key).copied(),
                        model.get(key).copied(),
                    )
                })
                .filter(|(_, a, b)| a != b)
                .collect();
            let value = |entry: Option<Entry>| {
                entry.map(|entry| match entry.node {
                    Node::Scalar(value) => match *value {
                        Value::Int(n) => n,
                        _ => panic!("no number"),
                    },
                    _ => panic!("no number"),
                })
            };
            let found: Vec<_> = Diff::new(&Key::text("k"), Some(old), Some(new), &pager)
                .map(Result::unwrap)
                .filter(|found| found.path.len() == 2)
                .map(|found| (found.path[1].clone(), value(found.old), value(found.new)))
                .collect();
            assert!(found == expected, "round {round}: {found:?} {expected:?}");
        }
    }
}
