//! The list of snapshots: a hidden document, so that taking and dropping one is a write like any
//! other.
//!
//! ```text
//! {epoch → the name, a text born when the snapshot was taken   epoch = sequence number of the journal
//!        | nil, if it was dropped and is not cleared away yet           record that took it
//! ```
//!
//! A snapshot holds what the records up to its own have made.

use std::sync::Arc;

use super::edit::times_of;
use super::entry::{Attrs, Content, Entry, Node, Times};
use super::error::TreeError;
use super::map::Map;
use super::op::snapshots_key;
use super::pager::Pager;
use super::time::Time;
use crate::value::{Key, KeyPath, Value};

/// A snapshot as the list has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The journal record that took it.
    pub epoch: u64,
    /// Its name and when it was taken; `None` once it was dropped.
    pub taken: Option<(String, Time)>,
}

impl Listed {
    /// Whether it has this name.
    pub fn is_named(&self, name: &str) -> bool {
        self.taken.as_ref().is_some_and(|(own, _)| own == name)
    }
}

/// Where a snapshot is listed.
pub fn place(epoch: u64) -> KeyPath {
    vec![snapshots_key(), Key::index(epoch)].into()
}

/// An empty list.
pub fn empty() -> Entry {
    Entry::plain(Node::Map(Map::new()))
}

/// A snapshot that was taken at a time.
pub fn taken(name: &str, time: Time) -> Entry {
    let times = Times {
        mtime: time,
        ctime: time,
        crtime: time,
    };
    let name = Content::Inline(Arc::from(name.as_bytes()));
    Entry::plain(Node::Text(name)).with_attrs(Attrs {
        times: Some(times),
        ..Attrs::default()
    })
}

/// A snapshot that was dropped.
pub fn dropped() -> Entry {
    Entry::plain(Node::Scalar(Arc::new(Value::Nil)))
}

/// All snapshots of the list, the oldest first.
pub fn list(root: Option<&Entry>, pager: &Pager) -> Result<Vec<Listed>, TreeError> {
    let mut found = Vec::new();
    let Some(map) = root.and_then(Entry::children) else {
        return Ok(found);
    };
    map.for_each(pager, &mut |key, entry| {
        let epoch = key.as_index().filter(|epoch| *epoch > 0);
        let epoch = epoch.ok_or_else(|| malformed("a key that is no record's number"))?;
        let taken = match &entry.node {
            Node::Text(name) => {
                let name = String::from_utf8(super::content::read_all(name, pager)?)
                    .map_err(|_| malformed("a name that is no text"))?;
                Some((name, times_of(entry, Time::default()).crtime))
            }
            _ => None,
        };
        found.push(Listed { epoch, taken });
        Ok(())
    })?;
    found.sort_by_key(|snapshot| snapshot.epoch);
    Ok(found)
}

fn malformed(why: &str) -> TreeError {
    TreeError::malformed("the list of snapshots", why)
}
