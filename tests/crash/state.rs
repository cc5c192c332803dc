//! Everything that a store holds, to compare.

use konserve_fs::store::{Store, StoreError};
use konserve_fs::tree::{Entry, Node, Pager, TreeError, content, convert, links_key, root_key};
use konserve_fs::value::{Key, edn};

/// What a store held at one moment: a line for each entry, with its value and all its attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State(Vec<String>);

impl State {
    /// Reads everything there is, and all that snapshots show.
    pub fn of(store: &Store) -> Result<Self, StoreError> {
        let mut state = Self::of_one(store)?;
        for snapshot in store.snapshots()? {
            let shown = Self::of_one(&store.at(snapshot.epoch))?;
            let lines = shown.0.iter();
            state.0.push(format!("snapshot {snapshot:?}"));
            state
                .0
                .extend(lines.map(|line| format!("{}: {line}", snapshot.epoch)));
        }
        Ok(state)
    }

    fn of_one(store: &Store) -> Result<Self, StoreError> {
        let mut lines = Vec::new();
        let fail = |key: &Key, source| StoreError::Tree {
            key: edn::print(&key.value()),
            source,
        };
        for (name, key) in [("(root)", root_key()), ("(links)", links_key())] {
            if let Some(doc) = store.doc(&key)? {
                lines.push(format!("{name} {} {:?}", doc.seq, doc.last_write));
                walk(&doc.entry, name, store.pager(), &mut lines).map_err(|e| fail(&key, e))?;
            }
        }
        let mut after = None;
        loop {
            let (docs, more) = store.docs_after(after.as_ref(), 1000)?;
            for (key, doc) in &docs {
                let name = edn::print(&key.value());
                lines.push(format!("{name} {} {:?}", doc.seq, doc.last_write));
                walk(&doc.entry, &name, store.pager(), &mut lines).map_err(|e| fail(key, e))?;
            }
            after = docs.last().map(|(key, _)| key.clone());
            if !more {
                return Ok(Self(lines));
            }
        }
    }

    /// The lines that only one of the two has.
    pub fn difference(&self, other: &Self) -> String {
        let only = |a: &Self, b: &Self, sign| -> Vec<String> {
            let lines = a.0.iter().filter(|line| !b.0.contains(line));
            lines
                .take(20)
                .map(|line| format!("{sign} {line}"))
                .collect()
        };
        [only(self, other, '-'), only(other, self, '+')]
            .concat()
            .join("\n")
    }

    /// How many lines differ.
    pub fn distance(&self, other: &Self) -> usize {
        let missing = |a: &Self, b: &Self| a.0.iter().filter(|l| !b.0.contains(l)).count();
        missing(self, other) + missing(other, self)
    }
}

fn walk(
    entry: &Entry,
    path: &str,
    pager: &Pager,
    lines: &mut Vec<String>,
) -> Result<(), TreeError> {
    let value = match &entry.node {
        Node::Scalar(_) | Node::ScalarPage(_) => {
            format!("{:?}", convert::to_value(&entry.node, pager)?)
        }
        Node::Text(c) | Node::Bytes(c) => {
            let bytes = content::read_all(c, pager)?;
            let kind = if matches!(entry.node, Node::Text(_)) {
                "text"
            } else {
                "bytes"
            };
            format!("{kind} {} {}", bytes.len(), blake3::hash(&bytes).to_hex())
        }
        Node::Map(map) => format!("map of {}", map.len()),
        Node::Vector(map) => format!("vector of {}", map.len()),
        Node::Ref(id) => format!("file {id}"),
    };
    lines.push(format!("{path}: {value} {:?}", entry.attrs));
    if let Some(children) = entry.children() {
        children.for_each(pager, &mut |key, child| {
            walk(
                child,
                &format!("{path} {}", edn::print(&key.value())),
                pager,
                lines,
            )
        })?;
    }
    Ok(())
}
