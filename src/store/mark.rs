//! The mark of a snapshot on its way in (see `store::incoming`): one blob at the address `i`.
//!
//! ```text
//! value = {"version": 1, "from": identity | null, "to": identity, "name": text, "clock": time,
//!          "items": count, "hash": bytes(32), "placing": sequence | null}
//! identity = [UUID of the store (16 bytes), epoch there, time]
//! ```

use uuid::Uuid;

use super::header::Header;
use super::{Location, StoreError};
use crate::backend::{Backend, Deadline};
use crate::codec::{Codec, Compressor};
use crate::tree::snapshots::Identity;
use crate::tree::{Time, TreeError, read_time, write_time};
use crate::value::cbor::{Reader, Writer};

/// The address of the mark.
pub(super) const INCOMING: &[u8] = b"i";
/// The version of the mark.
const VERSION: u64 = 1;

/// A place in the sequence of everything that comes in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Pages and records before it.
    pub items: u64,
    /// A hash of what they are.
    pub hash: [u8; 32],
}

/// A snapshot on its way in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// The snapshot from which it differs by what comes; `None`: from an empty store.
    pub from: Option<Identity>,
    /// What it is.
    pub to: Identity,
    /// Its name.
    pub name: String,
    /// The clock of the store that it comes from.
    pub clock: Time,
    /// How much of it is staged.
    pub position: Position,
    /// The sequence number of what is put in place, once that has begun.
    pub(super) placing: Option<u64>,
}

impl Incoming {
    /// One of which nothing has come.
    pub fn new(
        from: Option<Identity>,
        (to, name): (Identity, &str),
        clock: Time,
        position: Position,
    ) -> Self {
        Self {
            from,
            to,
            name: name.to_owned(),
            clock,
            position,
            placing: None,
        }
    }

    /// Whether what comes goes on where this one is.
    pub fn is_at(&self, other: &Self) -> bool {
        let what = |mark: &Self| (mark.from, mark.to, mark.position);
        what(self) == what(other) && self.placing.is_none()
    }

    pub(super) fn seal(&self, codec: &Codec) -> Result<Vec<u8>, StoreError> {
        let mut value = Vec::new();
        let mut w = Writer::new(&mut value);
        w.map(8);
        w.text("version");
        w.uint(VERSION);
        w.text("from");
        match &self.from {
            Some(from) => write_identity(&mut w, from),
            None => {
                w.null();
            }
        }
        w.text("to");
        write_identity(&mut w, &self.to);
        w.text("name");
        w.text(&self.name);
        w.text("clock");
        write_time(&mut w, self.clock);
        w.text("items");
        w.uint(self.position.items);
        w.text("hash");
        w.bytes(&self.position.hash);
        w.text("placing");
        match self.placing {
            Some(seq) => w.uint(seq),
            None => w.null(),
        };
        let sealed = codec.seal_plain(INCOMING, &[], &value);
        sealed.map_err(|source| StoreError::Damaged {
            key: WHAT.to_owned(),
            source,
        })
    }

    pub(super) fn open(blob: &[u8], codec: &Codec) -> Result<Self, StoreError> {
        let opened = codec
            .open(INCOMING, blob)
            .map_err(|source| StoreError::Damaged {
                key: WHAT.to_owned(),
                source,
            })?;
        decode(&opened.value).map_err(|source| StoreError::Tree {
            key: WHAT.to_owned(),
            source,
        })
    }
}

/// The mark for messages.
const WHAT: &str = "the mark of a snapshot on its way in";

fn decode(bytes: &[u8]) -> Result<Incoming, TreeError> {
    let malformed = |why: &str| TreeError::malformed("the mark", why);
    let mut r = Reader::new(bytes);
    let (mut from, mut to, mut name, mut clock) = (None, None, None, None);
    let (mut items, mut hash, mut placing) = (None, None, None);
    for _ in 0..r.map()? {
        match r.text()? {
            "version" => {
                let version = r.uint()?;
                if version != VERSION {
                    let why = format!("its version is {version}, and {VERSION} is known here");
                    return Err(malformed(&why));
                }
            }
            "from" if r.take_null() => {}
            "from" => from = Some(read_identity(&mut r)?),
            "to" => to = Some(read_identity(&mut r)?),
            "name" => name = Some(r.text()?.to_owned()),
            "clock" => clock = Some(read_time(&mut r)?),
            "items" => items = Some(r.uint()?),
            "hash" => hash = <[u8; 32]>::try_from(r.bytes()?).ok(),
            "placing" if r.take_null() => {}
            "placing" => placing = Some(r.uint()?),
            _ => {
                r.raw()?;
            }
        }
    }
    let field = || malformed("a field is missing");
    Ok(Incoming {
        from,
        to: to.ok_or_else(field)?,
        name: name.ok_or_else(field)?,
        clock: clock.ok_or_else(field)?,
        position: Position {
            items: items.ok_or_else(field)?,
            hash: hash.ok_or_else(field)?,
        },
        placing,
    })
}

/// Writes what a snapshot is.
pub fn write_identity(w: &mut Writer<'_>, identity: &Identity) {
    w.array(3);
    w.bytes(identity.store.as_bytes());
    w.uint(identity.epoch);
    write_time(w, identity.time);
}

/// Reads what a snapshot is.
pub fn read_identity(r: &mut Reader<'_>) -> Result<Identity, TreeError> {
    let malformed = |why: &str| TreeError::malformed("a snapshot's identity", why);
    if r.array()? != 3 {
        return Err(malformed("not three fields"));
    }
    let store = Uuid::from_slice(r.bytes()?).map_err(|_| malformed("no UUID"))?;
    let epoch = r.uint()?;
    let time = read_time(r)?;
    Ok(Identity { store, epoch, time })
}

/// An error where a snapshot is half in place.
pub(super) fn check_whole(
    backend: &dyn Backend,
    header: &Header,
    location: &Location,
    deadline: Deadline,
) -> Result<(), StoreError> {
    let codec = Codec::new(header.id, Compressor::None);
    // What is damaged is for the check itself to find.
    if let Ok(Some(blob)) = backend.get(INCOMING, deadline)
        && Incoming::open(&blob.bytes, &codec).is_ok_and(|mark| mark.placing.is_some())
    {
        let location = location.to_string();
        return Err(StoreError::HalfReceived { location });
    }
    Ok(())
}
