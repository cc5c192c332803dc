//! The list of snapshots: a hidden document, so that taking and dropping one is a write like any
//! other.
//!
//! ```text
//! {epoch → the name, a text born when the snapshot was taken   epoch = sequence number of the journal
//!        | nil, if it was dropped and is not cleared away yet           record that took it
//! ```
//!
//! A snapshot holds what the records up to its own have made. One that was received from another
//! store says so by an attribute `origin`:
//!
//! ```text
//! origin = UUID of the store where it was taken (16 bytes) | its epoch there (u64 BE)
//! ```

use std::sync::Arc;

use uuid::Uuid;

use super::edit::times_of;
use super::entry::{Attrs, Content, Entry, Node, Times};
use super::error::TreeError;
use super::map::Map;
use super::op::snapshots_key;
use super::pager::Pager;
use super::time::Time;
use crate::value::{Key, KeyPath, Value};

/// The attribute that says where a snapshot was taken.
const ORIGIN: &[u8] = b"origin";

/// What makes a snapshot the same one in whatever store it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The store where it was taken.
    pub store: Uuid,
    /// The journal record that took it there.
    pub epoch: u64,
    /// When.
    pub time: Time,
}

/// A snapshot as the list has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The journal record that took it.
    pub epoch: u64,
    /// Its name and when it was taken; `None` once it was dropped.
    pub taken: Option<(String, Time)>,
    /// Where it was taken and its epoch there, if that was another store.
    pub origin: Option<(Uuid, u64)>,
}

impl Listed {
    /// What it is in whatever store, this one being `own`; `None` once it was dropped.
    pub fn identity(&self, own: Uuid) -> Option<Identity> {
        let (_, time) = self.taken.as_ref()?;
        let (store, epoch) = self.origin.unwrap_or((own, self.epoch));
        let time = *time;
        Some(Identity { store, epoch, time })
    }

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

/// A snapshot that was taken elsewhere.
pub fn received(name: &str, identity: &Identity) -> Entry {
    let entry = taken(name, identity.time);
    let mut attrs = entry.attrs();
    let origin = [
        &identity.store.as_bytes()[..],
        &identity.epoch.to_be_bytes(),
    ];
    attrs.xattrs.insert(ORIGIN.to_vec(), origin.concat());
    entry.with_attrs(attrs)
}

fn origin(entry: &Entry) -> Option<(Uuid, u64)> {
    let origin = entry.attrs.as_deref()?.xattrs.get(ORIGIN)?;
    let (store, epoch) = origin.split_first_chunk::<16>()?;
    Some((
        Uuid::from_bytes(*store),
        u64::from_be_bytes(epoch.try_into().ok()?),
    ))
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
        found.push(line(epoch, entry, pager)?);
        Ok(())
    })?;
    found.sort_by_key(|snapshot| snapshot.epoch);
    Ok(found)
}

/// A line of the list.
pub fn line(epoch: u64, entry: &Entry, pager: &Pager) -> Result<Listed, TreeError> {
    let taken = match &entry.node {
        Node::Text(name) => {
            let name = String::from_utf8(super::content::read_all(name, pager)?)
                .map_err(|_| malformed("a name that is no text"))?;
            Some((name, times_of(entry, Time::default()).crtime))
        }
        _ => None,
    };
    Ok(Listed {
        epoch,
        taken,
        origin: origin(entry),
    })
}

fn malformed(why: &str) -> TreeError {
    TreeError::malformed("the list of snapshots", why)
}
