//! The record of a top-level key: one blob, replaced atomically.
//!
//! ```text
//! address = 'r' | epoch u64 BE (0 = live) | key            key = canonical CBOR, up to 300 bytes
//!                                         | first 200 bytes of the key | BLAKE3 of the key (32 bytes)
//! meta    = {"key": key, "type": "edn" | "binary", "last-write": time, "seq": sequence, "attrs": attributes}
//! value   = entry without attributes (see `tree`)
//! ```

use std::sync::Arc;

use super::{StoreError, show_key};
use crate::codec::Codec;
use crate::tree::{
    Content, Entry, Node, Pager, Time, TreeError, live, read_attrs, read_entry, read_time,
    write_attrs, write_entry, write_time,
};
use crate::value::Key;
use crate::value::cbor::{Reader, Writer};

/// The prefix of all live records.
pub const LIVE: &[u8] = &[b'r', 0, 0, 0, 0, 0, 0, 0, 0];
/// The longest key that stands whole in its address.
const WHOLE_KEY: usize = 300;
/// How much of a longer key stands in its address.
const KEY_PREFIX: usize = 200;

/// What kind of value a top-level key holds, in konserve's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any value but a byte string.
    Edn,
    /// A byte string.
    Binary,
}

impl Kind {
    /// The kind of a document.
    pub fn of(entry: &Entry) -> Self {
        match entry.node {
            Node::Bytes(_) => Self::Binary,
            _ => Self::Edn,
        }
    }

    /// Its name: `edn` or `binary`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Edn => "edn",
            Self::Binary => "binary",
        }
    }
}

/// What is known of a top-level key beside its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// The kind of value.
    pub kind: Kind,
    /// When the document last changed, by the store's monotone clock.
    pub last_write: Time,
    /// The journal record that last changed it.
    pub seq: u64,
}

/// A key with the document under it.
pub type KeyedDoc = (Key, Arc<Doc>);

/// A version of a document. Never changes.
#[derive(Clone, Debug)]
pub struct Doc {
    /// The value with its attributes.
    pub entry: Entry,
    /// When the document last changed.
    pub last_write: Time,
    /// The journal record that last changed it.
    pub seq: u64,
}

impl Doc {
    /// What is known beside the value.
    pub fn meta(&self) -> Meta {
        Meta {
            kind: Kind::of(&self.entry),
            last_write: self.last_write,
            seq: self.seq,
        }
    }

    /// What the document takes in a cache, roughly.
    pub fn weight(&self) -> u64 {
        let node = match &self.entry.node {
            Node::Text(Content::Inline(b)) | Node::Bytes(Content::Inline(b)) => b.len() as u64,
            Node::Map(m) | Node::Vector(m) => m.len().min(32) * 100,
            _ => 64,
        };
        node + 256
    }
}

/// The address of a key's live record. Addresses sort like their keys, but for very long keys.
pub fn address(key: &Key) -> Vec<u8> {
    let bytes = key.bytes();
    let mut out = LIVE.to_vec();
    if bytes.len() <= WHOLE_KEY {
        out.extend_from_slice(bytes);
    } else {
        out.extend(bytes.iter().take(KEY_PREFIX));
        out.extend_from_slice(blake3::hash(bytes).as_bytes());
    }
    out
}

/// The blob of a document.
pub fn seal(key: &Key, doc: &Doc, codec: &Codec, pager: &Pager) -> Result<Vec<u8>, StoreError> {
    let mut meta = Vec::new();
    let mut w = Writer::new(&mut meta);
    w.map(if doc.entry.attrs.is_some() { 5 } else { 4 });
    w.text("key");
    w.raw(key.bytes());
    w.text("type");
    w.text(Kind::of(&doc.entry).name());
    w.text("last-write");
    write_time(&mut w, doc.last_write);
    w.text("seq");
    w.uint(doc.seq);
    if let Some(attrs) = &doc.entry.attrs {
        w.text("attrs");
        write_attrs(&mut w, attrs);
    }
    let mut value = Vec::new();
    let bare = Entry::plain(doc.entry.node.clone());
    write_entry(&mut Writer::new(&mut value), &bare, pager)
        .map_err(|e| StoreError::tree(key, e))?;
    codec
        .seal(&address(key), &meta, &value)
        .map_err(|source| StoreError::Damaged {
            key: show_key(key),
            source,
        })
}

/// The record at an address; `None` if there is none.
pub fn load(address: &[u8], pager: &Pager) -> Result<Option<KeyedDoc>, StoreError> {
    loop {
        let looks = live::looks();
        let Some(blob) = pager.backend().get(address, pager.deadline())? else {
            return Ok(None);
        };
        let read = decode(address, &blob.bytes, pager.codec())?;
        // What was looked for in memory meanwhile was not seen here, and may be freed.
        if live::looks() == looks {
            return Ok(Some(read));
        }
    }
}

/// Reads the blob of a record. For a store that nobody uses: else [`load`].
pub fn decode(address: &[u8], blob: &[u8], codec: &Codec) -> Result<(Key, Arc<Doc>), StoreError> {
    let name = || {
        let key = address.get(LIVE.len()..).unwrap_or_default();
        Key::from_bytes(key).map_or_else(|_| crate::tree::hex(key), |k| show_key(&k))
    };
    let opened = codec
        .open(address, blob)
        .map_err(|source| StoreError::Damaged {
            key: name(),
            source,
        })?;
    let malformed = |e: TreeError| StoreError::Tree {
        key: name(),
        source: e,
    };
    let (key, last_write, seq, attrs) = read_meta(opened.meta).map_err(malformed)?;
    let mut entry = read_entry(&mut Reader::new(&opened.value)).map_err(malformed)?;
    entry.attrs = attrs;
    if self::address(&key) != address {
        return Err(malformed(TreeError::malformed(
            "a record",
            "it belongs to another key",
        )));
    }
    Ok((
        key,
        Arc::new(Doc {
            entry,
            last_write,
            seq,
        }),
    ))
}

type MetaFields = (Key, Time, u64, Option<Arc<crate::tree::Attrs>>);

fn read_meta(bytes: &[u8]) -> Result<MetaFields, TreeError> {
    let mut r = Reader::new(bytes);
    let (mut key, mut last_write, mut seq, mut attrs) = (None, None, None, None);
    for _ in 0..r.map()? {
        match r.text()? {
            "key" => key = Some(Key::from_canonical(r.raw()?)),
            "last-write" => last_write = Some(read_time(&mut r)?),
            "seq" => seq = Some(r.uint()?),
            "attrs" => attrs = Some(Arc::new(read_attrs(&mut r)?)),
            _ => {
                r.raw()?;
            }
        }
    }
    match (key, last_write, seq) {
        (Some(key), Some(last_write), Some(seq)) => Ok((key, last_write, seq, attrs)),
        _ => Err(TreeError::malformed(
            "a record's metadata",
            "a field is missing",
        )),
    }
}
