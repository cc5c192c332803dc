//! What a fold can write. A step that no later fold could put into pages and records is refused
//! before it is acknowledged: else every fold would fail from then on, and all writes with them.

use super::{StoreError, show_key};
use crate::backend::{BackendError, Operation};
use crate::tree::{Applier, Attrs, Content, Entry, Node, Op, Pager, TreeError, convert, root_key};
use crate::value::{Key, Value, cbor};

/// Key and attributes of an entry within a document, in bytes. A page holds up to 128 entries, and
/// a blob 32 MiB.
const NESTED: usize = 192 << 10;
/// Key and attributes of a document.
const TOP: usize = 8 << 20;
/// The canonical CBOR of a value that is no map, vector, text or byte string.
const SCALAR: usize = 24 << 20;
/// The records of one commit.
const COMMIT: u64 = 24 << 20;
/// The records of one fold: a batch of the backend with something to spare.
pub(super) const BATCH: u64 = 40 << 20;

/// What of a batch is left beside that, for records whose text is longer than their CBOR.
pub(super) const SPARE: u64 = 6 << 20;

/// How deep entries may stand: as deep as plain values may nest.
const DEPTH: usize = convert::MAX_DEPTH;

/// Refuses a step whose outcome could not be folded, or is too deep to be walked through.
pub(super) fn check(
    op: &Op,
    before: &[Op],
    applier: &Applier,
    pager: &Pager,
) -> Result<(), StoreError> {
    let path = op.path();
    let top = path.first().cloned().unwrap_or_else(root_key);
    let fail = |e| StoreError::tree(&top, e);
    if path.len() > DEPTH {
        return Err(fail(TreeError::TooDeep { limit: DEPTH }));
    }
    let limit = if path.len() < 2 { TOP } else { NESTED };
    let key = path.last().unwrap_or(&top);
    match op {
        Op::Put { entry, .. } => {
            sizes(key, entry, limit, &top)?;
            depth(entry, DEPTH - path.len(), pager).map_err(fail)
        }
        Op::Place { index, attrs, .. } => {
            beside(key, Some(attrs), limit, &top)?;
            let mut takes = before.iter().filter(|op| matches!(op, Op::Take { .. }));
            let source = usize::try_from(*index).ok().and_then(|i| takes.nth(i));
            // What does not move down is no deeper than it was.
            match (source, applier.taken(*index)) {
                (Some(source), Some(entry)) if source.path().len() < path.len() => {
                    depth(entry, DEPTH - path.len(), pager).map_err(fail)
                }
                _ => Ok(()),
            }
        }
        Op::SetAttrs { attrs, .. } => beside(key, Some(attrs), limit, &top),
        Op::Write { patch, .. } => beside(key, Some(&patch.attrs), limit, &top),
        Op::Take { .. } | Op::Touch { .. } => Ok(()),
    }
}

/// Refuses records that would not fit one batch.
pub(super) fn check_commit(weight: u64) -> Result<(), StoreError> {
    if weight > COMMIT {
        return Err(too_large("one commit", weight, COMMIT));
    }
    Ok(())
}

/// What the record of a document takes at most.
pub(super) fn record(key: &Key, entry: Option<&Entry>) -> u64 {
    let value = entry.map_or(0, |entry| match &entry.node {
        // See the bounds in `tree::fold` for what stands inline.
        Node::Text(Content::Inline(b)) | Node::Bytes(Content::Inline(b)) => b.len().min(256),
        Node::Text(_) | Node::Bytes(_) | Node::Map(_) | Node::Vector(_) => 1200,
        Node::Scalar(value) if small(value) => 64,
        Node::Scalar(_) => 4400,
        Node::ScalarPage(_) | Node::Ref(_) => 64,
    });
    let attrs = entry
        .and_then(|entry| entry.attrs.as_deref())
        .map_or(0, attributes);
    // The key stands in the address, too.
    (256 + key.bytes().len() + key.bytes().len().min(300) + attrs + value) as u64
}

/// Refuses what is too large in an entry and the part of it that is in memory.
fn sizes(key: &Key, entry: &Entry, limit: usize, top: &Key) -> Result<(), StoreError> {
    beside(key, entry.attrs.as_deref(), limit, top)?;
    match &entry.node {
        Node::Scalar(value) if !small(value) => {
            let size = cbor::encode(value).len();
            if size > SCALAR {
                return Err(too_large(&show_key(top), size as u64, SCALAR as u64));
            }
        }
        Node::Map(map) | Node::Vector(map) => {
            let mut found = Ok(());
            map.visit_loaded(&mut |key, entry| {
                found = sizes(key, entry, NESTED, top);
                found.is_ok()
            });
            found?;
        }
        _ => {}
    }
    Ok(())
}

/// Refuses too much beside a value.
fn beside(key: &Key, attrs: Option<&Attrs>, limit: usize, top: &Key) -> Result<(), StoreError> {
    let size = key.bytes().len() + attrs.map_or(0, attributes);
    if size > limit {
        return Err(too_large(&show_key(top), size as u64, limit as u64));
    }
    Ok(())
}

fn attributes(attrs: &Attrs) -> usize {
    let xattrs: usize = attrs
        .xattrs
        .iter()
        .map(|(name, value)| name.len() + value.len() + 16)
        .sum();
    let literal = attrs.literal.as_ref().map_or(0, Vec::len);
    let declared = attrs.declared.as_ref().map_or(0, String::len);
    128 + xattrs + literal + declared
}

fn small(value: &Value) -> bool {
    matches!(
        value,
        Value::Nil | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Char(_)
    )
}

/// Refuses more than `room` levels below an entry. Walks through directories only.
fn depth(entry: &Entry, room: usize, pager: &Pager) -> Result<(), TreeError> {
    let Some(map) = entry.children().filter(|map| !map.is_empty()) else {
        return Ok(());
    };
    let Some(room) = room.checked_sub(1) else {
        return Err(TreeError::TooDeep { limit: DEPTH });
    };
    map.for_each_dir(pager, &mut |entry| depth(entry, room, pager))
}

fn too_large(what: &str, size: u64, limit: u64) -> StoreError {
    let name: String = what.chars().take(100).collect();
    StoreError::Backend(BackendError::TooLarge {
        operation: Operation::Put,
        address: name.into_bytes().as_slice().into(),
        size,
        limit,
    })
}
