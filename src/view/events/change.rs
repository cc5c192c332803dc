//! What a record did, as far as it is told: kept with the lock of the store held, so it is small, made
//! without reading or formatting anything, and keeps nothing alive but keys.

use std::sync::Arc;

use super::super::names::NameContext;
use super::super::render::TypeName;
use crate::store::Committed;
use crate::tree::{Content, Entry, Node, Op, Time, edit, is_hidden};
use crate::value::{Key, KeyPath};

/// A record that was committed.
#[derive(Debug)]
pub(super) struct Change {
    pub seq: u64,
    pub time: Time,
    pub origin: u64,
    pub steps: Box<[Step]>,
}

/// One of its steps.
#[derive(Debug)]
pub(super) struct Step {
    pub path: KeyPath,
    /// Which keys of the path stand in a vector, of those whose names depend on it.
    pub in_vectors: Vec<usize>,
    pub what: What,
}

/// What it did there.
#[derive(Debug)]
pub(super) enum What {
    Take,
    Place(u64),
    Put(Put),
    SetAttrs,
    Write(u64),
    Touch,
}

/// What was put, as far as nothing has to be read for it.
#[derive(Debug, Default)]
pub(super) struct Put {
    /// Its type.
    pub kind: Option<&'static str>,
    /// Bytes, or entries.
    pub size: Option<u64>,
    /// The file with several names that it is a name of.
    pub link: Option<u64>,
    /// The text that was put into a hidden document.
    pub hidden: Option<Arc<[u8]>>,
}

impl Change {
    /// What a record did that was just committed.
    pub fn of(commit: &Committed<'_>) -> Self {
        Self {
            seq: commit.seq,
            time: commit.time,
            origin: commit.origin,
            steps: commit.ops.iter().map(|op| Step::of(op, commit)).collect(),
        }
    }

    /// Bytes of memory that it takes, about.
    pub fn weight(&self) -> usize {
        let keys = |step: &Step| -> usize { step.path.iter().map(|key| key.bytes().len()).sum() };
        let steps = self.steps.iter().map(|step| size_of::<Step>() + keys(step));
        size_of::<Self>() + steps.sum::<usize>()
    }
}

impl Step {
    fn of(op: &Op, commit: &Committed<'_>) -> Self {
        let path = op.path().clone();
        let is_hidden = path.first().is_some_and(is_hidden);
        let what = match op {
            Op::Take { .. } => What::Take,
            Op::Place { index, .. } => What::Place(*index),
            Op::Put { entry, .. } => What::Put(Put::of(entry, is_hidden)),
            Op::SetAttrs { .. } => What::SetAttrs,
            Op::Write { patch, .. } => What::Write(patch.len),
            Op::Touch { .. } => What::Touch,
        };
        let mut in_vectors = Vec::new();
        for (depth, key) in path.iter().enumerate().skip(1) {
            if !is_hidden
                && !is_named_alike(key)
                && context(commit, &path, depth) == NameContext::Vector
            {
                in_vectors.push(depth);
            }
        }
        Self {
            path,
            in_vectors,
            what,
        }
    }
}

impl Put {
    fn of(entry: &Entry, is_hidden: bool) -> Self {
        let hidden = match &entry.node {
            Node::Text(Content::Inline(text)) if is_hidden => Some(Arc::clone(text)),
            _ => None,
        };
        let (kind, size, link) = match &entry.node {
            Node::Scalar(value) => (Some(TypeName::of(value)), None, None),
            Node::ScalarPage(_) => (None, None, None),
            Node::Text(content) => (Some(TypeName::Text), Some(content.len()), None),
            Node::Bytes(content) => (Some(TypeName::Bytes), Some(content.len()), None),
            Node::Map(map) => (Some(TypeName::Map), Some(map.len()), None),
            Node::Vector(map) => (Some(TypeName::Vector), Some(map.len()), None),
            Node::Ref(id) => (None, None, Some(*id)),
        };
        Self {
            kind: kind.map(TypeName::as_str),
            size,
            link,
            hidden,
        }
    }
}

/// Whether the key has the same name in a map and in a vector.
fn is_named_alike(key: &Key) -> bool {
    match key.as_text() {
        Some(text) => !text.bytes().all(|c| c.is_ascii_digit()) || text.is_empty(),
        None => key.as_index().is_none(),
    }
}

/// What a key stands in. What leads there was changed with it, so it is in memory.
fn context(commit: &Committed<'_>, path: &[Key], depth: usize) -> NameContext {
    let above = path.first().zip(path.get(1..depth));
    let node = above.and_then(|(document, rest)| {
        let doc = commit.doc(document)?;
        let found = edit::find(&doc.entry, rest, commit.pager).ok()??;
        Some(found.entry.node)
    });
    match (node, path.get(depth).and_then(Key::as_index)) {
        (Some(Node::Vector(_)), _) | (None, Some(_)) => NameContext::Vector,
        _ => NameContext::Map,
    }
}
