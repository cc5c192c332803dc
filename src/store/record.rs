//! The record of a top-level key: one blob, replaced atomically.
//!
//! ```text
//! address = 'r' | epoch u64 BE (0 = live) | key            key = canonical CBOR, up to 300 bytes
//!                                         | first 200 bytes of the key | BLAKE3 of the key (32 bytes)
//! meta    = {"key": key, "seq": sequence, "type": "edn" | "binary", "attrs": attributes, "last-write": time}
//!         | {"key": key, "type": "absent"}                 only under an epoch other than 0
//!           (fields in any order; in that of canonical CBOR a serializer gives the same bytes back)
//! value   = entry without attributes (see `tree`); nothing where the key is absent
//! ```
//!
//! The last epoch there could be (2^64 - 1) is that of records on their way in: see `incoming`.
//!
//! What a fold replaces and a snapshot needs it keeps under the snapshot's epoch, also that there was
//! nothing. So what stood under a key at an epoch is what is kept under the first epoch from that one
//! on, and where nothing is kept it is still the live record.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{StoreError, limits, show_key};
use crate::codec::{Codec, CodecError, SERIALIZER_CBOR};
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

/// A record's address under an epoch, given the live record's.
pub fn address_at(epoch: u64, live: &[u8]) -> Vec<u8> {
    let mut out = epoch_prefix(epoch);
    out.extend_from_slice(live.get(LIVE.len()..).unwrap_or_default());
    out
}

/// The prefix of all records under an epoch.
pub fn epoch_prefix(epoch: u64) -> Vec<u8> {
    let mut out = vec![b'r'];
    out.extend_from_slice(&epoch.to_be_bytes());
    out
}

/// The epoch that a record's address is under, and the live record's address.
pub fn split(address: &[u8]) -> Option<(u64, Vec<u8>)> {
    let (epoch, key) = address.strip_prefix(b"r")?.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*epoch), [LIVE, key].concat()))
}

/// The key that stands in a live record's address, if it is not too long for that: then it is none.
pub fn key_in(address: &[u8]) -> Option<Key> {
    Some(Key::from_canonical(address.strip_prefix(LIVE)?))
}

/// The address of a record. Usual ones stand where they are used, so that a look at a table of them
/// is not a look at memory elsewhere for each step.
pub type Address = SmallVec<[u8; 40]>;

/// The address of a key's live record. Addresses sort like their keys, but for very long keys.
pub fn address(key: &Key) -> Address {
    let bytes = key.bytes();
    let mut out = Address::with_capacity(LIVE.len() + bytes.len());
    out.extend_from_slice(LIVE);
    if bytes.len() <= WHOLE_KEY {
        out.extend_from_slice(bytes);
    } else {
        out.extend(bytes.iter().take(KEY_PREFIX).copied());
        out.extend_from_slice(blake3::hash(bytes).as_bytes());
    }
    out
}

/// The blob of a document at its live address. Text may take more than was reserved for the record;
/// in all of one batch no more than `spare`, and what would be above that is CBOR.
pub fn seal(key: &Key, doc: &Doc, pager: &Pager, spare: &mut u64) -> Result<Vec<u8>, StoreError> {
    let address = address(key);
    let blob = seal_at(&address, key, Some(doc), pager)?;
    if blob.get(1) == Some(&SERIALIZER_CBOR) {
        return Ok(blob);
    }
    let reserved = limits::record(key, Some(&doc.entry));
    let more = (blob.len() as u64).saturating_sub(reserved);
    match spare.checked_sub(more) {
        Some(rest) => *spare = rest,
        None => {
            let (meta, value) = parts(key, Some(doc), pager)?;
            return sealed(key, pager.codec().seal_plain(&address, &meta, &value));
        }
    }
    Ok(blob)
}

fn sealed(key: &Key, blob: Result<Vec<u8>, CodecError>) -> Result<Vec<u8>, StoreError> {
    blob.map_err(|source| StoreError::Damaged {
        key: show_key(key),
        source,
    })
}

/// The blob of what stands under a key, for an address.
pub fn seal_at(
    address: &[u8],
    key: &Key,
    doc: Option<&Doc>,
    pager: &Pager,
) -> Result<Vec<u8>, StoreError> {
    let (meta, value) = parts(key, doc, pager)?;
    sealed(key, pager.codec().seal(address, &meta, &value))
}

/// The name that an absent key has for its type.
const ABSENT: &str = "absent";

fn absent(key: &Key) -> Vec<u8> {
    let mut meta = Vec::new();
    let mut w = Writer::new(&mut meta);
    w.map(2);
    w.text("key");
    w.raw(key.bytes());
    w.text("type");
    w.text(ABSENT);
    meta
}

/// The meta and the value of what stands under a key.
pub fn parts(
    key: &Key,
    doc: Option<&Doc>,
    pager: &Pager,
) -> Result<(Vec<u8>, Vec<u8>), StoreError> {
    let Some(doc) = doc else {
        return Ok((absent(key), Vec::new()));
    };
    let mut meta = Vec::new();
    let mut w = Writer::new(&mut meta);
    w.map(if doc.entry.attrs.is_some() { 5 } else { 4 });
    w.text("key");
    w.raw(key.bytes());
    w.text("seq");
    w.uint(doc.seq);
    w.text("type");
    w.text(Kind::of(&doc.entry).name());
    if let Some(attrs) = &doc.entry.attrs {
        w.text("attrs");
        write_attrs(&mut w, attrs);
    }
    w.text("last-write");
    write_time(&mut w, doc.last_write);
    let mut value = Vec::new();
    let bare = Entry::plain(doc.entry.node.clone());
    write_entry(&mut Writer::new(&mut value), &bare, pager)
        .map_err(|e| StoreError::tree(key, e))?;
    Ok((meta, value))
}

/// The live record at an address; `None` if there is none.
pub fn load(address: &[u8], pager: &Pager) -> Result<Option<KeyedDoc>, StoreError> {
    Ok(load_any(address, pager)?.and_then(|(key, doc)| Some((key, doc?))))
}

/// What stood under a key, as its record says, live or kept.
pub type Version = (Key, Option<Arc<Doc>>);

/// The record at an address, live or kept; `None` if there is none.
pub fn load_any(address: &[u8], pager: &Pager) -> Result<Option<Version>, StoreError> {
    loop {
        let looks = live::looks();
        let Some(blob) = pager.backend().get(address, pager.deadline())? else {
            return Ok(None);
        };
        let read = decode_any(address, &blob.bytes, pager.codec())?;
        // What was looked for in memory meanwhile was not seen here, and may be freed.
        if live::looks() == looks {
            return Ok(Some(read));
        }
    }
}

/// Reads the blob of a record. For a store that nobody uses: else [`load_any`].
pub fn decode_any(address: &[u8], blob: &[u8], codec: &Codec) -> Result<Version, StoreError> {
    let name = || {
        let bytes = address.get(LIVE.len()..).unwrap_or_default();
        let hidden = Key::from_canonical(bytes);
        if crate::tree::is_hidden(&hidden) {
            return show_key(&hidden);
        }
        Key::from_bytes(bytes).map_or_else(|_| crate::tree::hex(bytes), |k| show_key(&k))
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
    let (key, doc) = read_parts(&opened.meta, &opened.value).map_err(malformed)?;
    let live = self::address(&key);
    if live.get(LIVE.len()..) != address.get(LIVE.len()..) {
        return Err(malformed(TreeError::malformed(
            "a record",
            "it belongs to another key",
        )));
    }
    if doc.is_none() && *live == *address {
        return Err(malformed(missing_field()));
    }
    Ok((key, doc))
}

/// What stands under a key, by the meta and the value of its record.
pub fn read_parts(meta: &[u8], value: &[u8]) -> Result<Version, TreeError> {
    let fields = read_meta(meta)?;
    let Some((last_write, seq)) = fields.written else {
        return Ok((fields.key, None));
    };
    let mut entry = read_entry(&mut Reader::new(value))?;
    entry.attrs = fields.attrs;
    let doc = Doc {
        entry,
        last_write,
        seq,
    };
    Ok((fields.key, Some(Arc::new(doc))))
}

struct MetaFields {
    key: Key,
    /// Last write and sequence number; `None` where the key is absent.
    written: Option<(Time, u64)>,
    attrs: Option<Arc<crate::tree::Attrs>>,
}

fn read_meta(bytes: &[u8]) -> Result<MetaFields, TreeError> {
    let mut r = Reader::new(bytes);
    let (mut key, mut last_write, mut seq, mut attrs) = (None, None, None, None);
    let mut is_absent = false;
    for _ in 0..r.map()? {
        match r.text()? {
            "key" => key = Some(Key::from_canonical(r.raw()?)),
            "type" => is_absent = r.text()? == ABSENT,
            "last-write" => last_write = Some(read_time(&mut r)?),
            "seq" => seq = Some(r.uint()?),
            "attrs" => attrs = Some(Arc::new(read_attrs(&mut r)?)),
            _ => {
                r.raw()?;
            }
        }
    }
    let key = key.ok_or_else(missing_field)?;
    let written = last_write.zip(seq);
    if written.is_some() == is_absent {
        return Err(missing_field());
    }
    Ok(MetaFields {
        key,
        written,
        attrs,
    })
}

fn missing_field() -> TreeError {
    TreeError::malformed("a record's metadata", "a field is missing")
}
