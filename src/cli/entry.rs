//! What is known of an entry: for listings and for `kfs info`.

use serde::{Deserialize, Serialize};

use super::error::CliError;
use super::place::Bytes;
use super::resolve::tree;
use crate::store::{Doc, Kind, Store};
use crate::tree::edit::{stamp_of, times_of};
use crate::tree::{Entry, Node, Time, convert, links};
use crate::value::{Instant, Key};
use crate::view::names::{NameContext, name_of};
use crate::view::render::{TypeName, render};

/// What is known of an entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EntryInfo {
    /// Its name in the mount.
    pub name: Bytes,
    /// Its key: canonical CBOR.
    pub key: Bytes,
    /// The type of its value.
    pub type_name: String,
    /// Bytes of the file that the mount shows; for a directory, the number of entries.
    pub size: u64,
    /// Whether it is a directory.
    pub directory: bool,
    /// Change times.
    pub times: Stamps,
    /// For a top-level key, what the record says.
    pub record: Option<RecordInfo>,
    /// Attributes that it has of its own.
    pub attributes: Attributes,
}

/// A point in time: seconds and nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp(pub i64, pub u32);

/// Change times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamps {
    /// Last change of the content.
    pub modified: Stamp,
    /// Last change of content or attributes.
    pub changed: Stamp,
    /// Creation.
    pub created: Stamp,
}

/// What the record of a top-level key says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordInfo {
    /// `edn` or `binary`.
    pub kind: String,
    /// When anything below the key last changed, by the store's clock.
    pub last_write: Stamp,
    /// The write that did it.
    pub seq: u64,
}

/// Attributes beside the value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// Permissions, user and group; without, they come from the options of the mount.
    pub owner: Option<(u32, u32, u32)>,
    /// Extended attributes.
    pub xattrs: Vec<(Bytes, Bytes)>,
    /// The type that new content is read as, where the present value has another.
    pub declared: Option<String>,
    /// The bytes of the file as they were written, where they are not the printed value.
    pub literal: Option<Bytes>,
    /// The text was written without a final newline.
    pub bare: bool,
}

impl From<Time> for Stamp {
    fn from(time: Time) -> Self {
        Self(time.secs, time.nanos)
    }
}

impl Stamp {
    /// RFC 3339 in UTC, with nanoseconds.
    pub(super) fn full(self) -> String {
        let text = Instant::new(self.0, self.1).and_then(Instant::to_rfc3339);
        text.unwrap_or_else(|| format!("{}.{:09}", self.0, self.1))
    }

    /// To the second, without the letters: `2026-01-31 12:00:00`.
    pub(super) fn short(self) -> String {
        match Instant::new(self.0, 0).and_then(Instant::to_rfc3339) {
            Some(text) => text.replace('T', " ").replace('Z', ""),
            None => self.0.to_string(),
        }
    }
}

impl EntryInfo {
    /// A top-level entry.
    pub(super) fn of_document(store: &Store, key: &Key, doc: &Doc) -> Result<Self, CliError> {
        let stamp = stamp_of(&doc.entry, Time::default());
        let mut info = Self::of_entry(store, key, NameContext::Root, &doc.entry, stamp)?;
        info.record = Some(RecordInfo {
            kind: Kind::of(&followed(store, key, &doc.entry)?)
                .name()
                .to_owned(),
            last_write: doc.last_write.into(),
            seq: doc.seq,
        });
        Ok(info)
    }

    /// An entry somewhere below; `above` is the stamp that holds in its directory.
    pub(super) fn of_entry(
        store: &Store,
        key: &Key,
        context: NameContext,
        entry: &Entry,
        above: Time,
    ) -> Result<Self, CliError> {
        let entry = &followed(store, key, entry)?;
        let times = times_of(entry, stamp_of(entry, above));
        let attrs = entry.attrs();
        Ok(Self {
            name: Bytes(name_of(key, context)),
            key: Bytes(key.bytes().to_vec()),
            type_name: type_name(&entry.node).to_owned(),
            size: size(store, key, entry)?,
            directory: entry.is_dir(),
            times: Stamps {
                modified: times.mtime.into(),
                changed: times.ctime.into(),
                created: times.crtime.into(),
            },
            record: None,
            attributes: Attributes {
                owner: attrs.owner.map(|o| (o.mode, o.uid, o.gid)),
                xattrs: attrs
                    .xattrs
                    .into_iter()
                    .map(|(n, v)| (Bytes(n), Bytes(v)))
                    .collect(),
                declared: attrs.declared,
                literal: attrs.literal.map(Bytes),
                bare: attrs.bare,
            },
        })
    }

    /// The key as EDN.
    pub(super) fn key_text(&self) -> String {
        Key::from_bytes(&self.key.0).map_or_else(|_| "?".to_owned(), |key| key.to_string())
    }

    /// When it, or anything below a top-level key, last changed.
    pub(super) fn last_write(&self) -> Stamp {
        self.record
            .as_ref()
            .map_or(self.times.modified, |record| record.last_write)
    }
}

/// The entry itself, or the file that it is a name of.
pub(super) fn followed(store: &Store, key: &Key, entry: &Entry) -> Result<Entry, CliError> {
    let Node::Ref(id) = entry.node else {
        return Ok(entry.clone());
    };
    match store.linked(id)? {
        Some(found) => Ok(found.entry),
        None => Err(tree(key, links::dangling(id))),
    }
}

/// The type of a node's value.
#[must_use]
pub fn type_name(node: &Node) -> &'static str {
    match node {
        Node::Scalar(value) => TypeName::of(value).as_str(),
        // Only lists, sets, tagged values and numbers of thousands of digits become so large.
        Node::ScalarPage(_) => "large",
        Node::Text(_) => TypeName::Text.as_str(),
        Node::Bytes(_) => TypeName::Bytes.as_str(),
        Node::Map(_) => TypeName::Map.as_str(),
        Node::Vector(_) => TypeName::Vector.as_str(),
        Node::Ref(_) => "link",
    }
}

fn size(store: &Store, key: &Key, entry: &Entry) -> Result<u64, CliError> {
    let attrs = entry.attrs.as_deref();
    Ok(match &entry.node {
        Node::Bytes(content) => content.len(),
        Node::Text(content) => content.len() + u64::from(!attrs.is_some_and(|a| a.bare)),
        Node::Map(map) | Node::Vector(map) => map.len(),
        Node::Scalar(_) | Node::ScalarPage(_) => match attrs.and_then(|a| a.literal.as_ref()) {
            Some(literal) => literal.len() as u64,
            None => {
                let value =
                    convert::to_value(&entry.node, store.pager()).map_err(|e| tree(key, e))?;
                render(&value, true, None).len() as u64
            }
        },
        Node::Ref(_) => 0,
    })
}
