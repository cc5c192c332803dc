//! Reading and changing an entry at a path below another.

use super::entry::{Attrs, Entry, Node, Times};
use super::error::TreeError;
use super::links::Link;
use super::map::Map;
use super::pager::Pager;
use super::time::Time;
use crate::value::{Key, Value};

/// An entry with what it inherits.
#[derive(Clone, Debug)]
pub struct Found {
    /// The entry.
    pub entry: Entry,
    /// The stamp of the nearest entry at or above it that has one.
    pub stamp: Time,
    /// What it is as a linked file, where a name of one was followed.
    pub link: Option<Link>,
}

/// The entry at a path, names of linked files as they stand there; `None` where a key is missing, an error where the path leads through
/// something without children.
pub fn find(root: &Entry, path: &[Key], pager: &Pager) -> Result<Option<Found>, TreeError> {
    let mut entry = root.clone();
    let mut stamp = stamp_of(&entry, Time::default());
    for (depth, key) in path.iter().enumerate() {
        let Some(map) = entry.children() else {
            // In nil there is nothing; a write would make a map of it.
            return match &entry.node {
                Node::Scalar(value) if **value == Value::Nil => Ok(None),
                _ => Err(TreeError::ThroughScalar { depth }),
            };
        };
        match map.get(key, pager)? {
            Some(child) => entry = child,
            None => return Ok(None),
        }
        stamp = stamp_of(&entry, stamp);
    }
    Ok(Some(Found {
        entry,
        stamp,
        link: None,
    }))
}

/// The stamp that holds for an entry and below it.
pub fn stamp_of(entry: &Entry, above: Time) -> Time {
    entry.attrs.as_ref().and_then(|a| a.stamp).unwrap_or(above)
}

/// The times of an entry under a stamp.
pub fn times_of(entry: &Entry, stamp: Time) -> Times {
    let own = entry.attrs.as_ref().and_then(|a| a.times);
    own.unwrap_or(Times {
        mtime: stamp,
        ctime: stamp,
        crtime: stamp,
    })
}

/// Changes the entry at a path in place; `f` gets it with the stamp that holds there.
pub fn change(
    root: &mut Entry,
    path: &[Key],
    pager: &Pager,
    f: &mut dyn FnMut(&mut Entry, Time) -> Result<(), TreeError>,
) -> Result<(), TreeError> {
    walk(root, path, 0, Time::default(), pager, f)
}

fn walk(
    entry: &mut Entry,
    path: &[Key],
    depth: usize,
    above: Time,
    pager: &Pager,
    f: &mut dyn FnMut(&mut Entry, Time) -> Result<(), TreeError>,
) -> Result<(), TreeError> {
    let stamp = stamp_of(entry, above);
    let Some((key, rest)) = path.split_first() else {
        return f(entry, stamp);
    };
    match &mut entry.node {
        Node::Map(map) | Node::Vector(map) => map
            .change(key, pager, |child| {
                walk(child, rest, depth + 1, stamp, pager, f)
            })?
            .ok_or(TreeError::NotFound { depth: depth + 1 }),
        _ => Err(TreeError::ThroughScalar { depth }),
    }
}

/// Moves the change times of an entry.
pub fn touch(entry: &mut Entry, stamp: Time, time: Time) {
    let times = times_of(entry, stamp);
    let mut attrs = entry.attrs();
    attrs.times = Some(Times {
        mtime: time,
        ctime: time,
        crtime: times.crtime,
    });
    entry.set_attrs(attrs);
}

/// Number of elements of a vector: one more than the last index.
pub fn vector_len(map: &Map, pager: &Pager) -> Result<u64, TreeError> {
    // Non-negative integers are the smallest of all keys.
    let bound = Key::from_canonical(&[0x20]);
    let last = map.last_below(&bound, pager)?;
    Ok(last.and_then(|(k, _)| k.as_index()).map_or(0, |i| i + 1))
}

/// Attributes that keep who owns an entry and drop what belongs to its former value.
pub fn attrs_for_new_value(old: &Attrs) -> Attrs {
    Attrs {
        literal: None,
        declared: None,
        ..old.clone()
    }
}
