//! The stream that [`Sender`](super::Sender) makes of a snapshot and
//! [`receive`](fn@super::receive) takes in.
//!
//! ```text
//! stream = "kfs send" (8 bytes) | version (u32 BE): 1 | frame: begin | frames: items … | frame: end
//!
//!  0      1         2               6        10       42
//!  +------+---------+---------------+--------+--------+--------------+
//!  | kind | packing | stored length | length | check  | stored bytes |     lengths: u32 BE,
//!  +------+---------+---------------+--------+--------+--------------+     at most 40 MiB
//!
//! kind    = 1 begin | 2 items | 3 end
//! packing = 0 the bytes as they are | 1 one LZ4 frame with its content size
//! check   = BLAKE3 (check of the frame before | bytes 0..10 of the frame | stored bytes);
//!           before the first frame stands BLAKE3 (magic and version)
//! ```
//!
//! So the check of the last frame is one of the whole stream. The bytes of a frame are CBOR:
//!
//! ```text
//! begin    = {"store": UUID of the sender, "pages": UUID that keys the addresses of pages,
//!             "created": time, "compressor": "none" | "lz4" | "zstd", "serializer": text, "clock": time,
//!             "from": snapshot | null, "to": snapshot, "items": count, "hash": bytes(32)}
//! snapshot = {"name": text, "id": [UUID of the store where it was taken, its epoch there, time]}
//! items    = item, item, …                    one after the other, without anything around them
//! item     = [0, address (32 bytes), bytes]   a page, before any record that needs it
//!          | [1, meta, value]                 what a key has, as in a record (see `store::record`)
//! end      = {"items": count, "hash": bytes(32)}
//! ```
//!
//! `address` is the BLAKE3 of the page's bytes, keyed with what `derive_key("konserve-fs 2026 page
//! address", pages)` gives. UUIDs are 16 bytes, times nanoseconds since 1970. `clock` is not before any
//! time in the stream.
//!
//! With `from` the stream holds the records that `to` has otherwise, also that a key is not there any
//! more (a meta of type `absent`), and the pages that `from` does not have. The attributes of the root
//! directory and the linked files stand in hidden documents, which come like any other; the list of
//! snapshots does not come.
//!
//! `items` and `hash` say where a stream is: the number of items before, and
//! `hash = BLAKE3(hash before | kind of the item (one byte) | its address, or BLAKE3(meta | value))`,
//! which begins with `BLAKE3(from | to)`, each by its `id`, nothing for no `from`. A stream that
//! goes on with one that was interrupted does not begin with 0 items.

use uuid::Uuid;

use crate::codec::{Compressor, Settings};
use crate::store::{Position, read_identity, write_identity};
use crate::tree::snapshots::Identity;
use crate::tree::{PageAddr, Time, TreeError, read_time, write_time};
use crate::value::cbor::{Reader, Writer};

/// A snapshot in a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub name: String,
    pub id: Identity,
}

/// How a stream begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Begin {
    pub store: Uuid,
    pub pages: Uuid,
    pub created: Time,
    pub settings: Settings,
    pub clock: Time,
    pub from: Option<Named>,
    pub to: Named,
    pub position: Position,
}

/// A part of a snapshot.
#[derive(Debug)]
pub(super) enum Item<'a> {
    Page(PageAddr, &'a [u8]),
    Record { meta: &'a [u8], value: &'a [u8] },
}

/// Where the first item of a stream stands.
pub(super) fn origin(from: Option<&Identity>, to: &Identity) -> Position {
    let mut bytes = Vec::new();
    let mut w = Writer::new(&mut bytes);
    from.into_iter()
        .chain([to])
        .for_each(|identity| write_identity(&mut w, identity));
    Position {
        items: 0,
        hash: *blake3::hash(&bytes).as_bytes(),
    }
}

/// Where the next item stands, after a page.
pub(super) fn after_page(position: Position, addr: &PageAddr) -> Position {
    after(position, 0, addr)
}

/// Where the next item stands, after a record.
pub(super) fn after_record(position: Position, meta: &[u8], value: &[u8]) -> Position {
    let mut hasher = blake3::Hasher::new();
    hasher.update(meta).update(value);
    after(position, 1, hasher.finalize().as_bytes())
}

fn after(position: Position, kind: u8, what: &[u8; 32]) -> Position {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&position.hash).update(&[kind]).update(what);
    Position {
        items: position.items + 1,
        hash: *hasher.finalize().as_bytes(),
    }
}

/// Writes an item behind others.
pub(super) fn write_item(out: &mut Vec<u8>, item: &Item<'_>) {
    let mut w = Writer::new(out);
    w.array(3);
    match item {
        Item::Page(addr, bytes) => w.uint(0).bytes(addr).bytes(bytes),
        Item::Record { meta, value } => w.uint(1).bytes(meta).bytes(value),
    };
}

/// Calls `each` with the items of a frame.
pub(super) fn read_items<E: From<TreeError>>(
    payload: &[u8],
    each: &mut dyn FnMut(Item<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut r = Reader::new(payload);
    while !r.at_end() {
        each(read_item(&mut r)?)?;
    }
    Ok(())
}

fn read_item<'a>(r: &mut Reader<'a>) -> Result<Item<'a>, TreeError> {
    let malformed = |why: &str| TreeError::malformed("an item", why);
    if r.array()? != 3 {
        return Err(malformed("not three fields"));
    }
    Ok(match r.uint()? {
        0 => {
            let addr = r.bytes()?.try_into();
            Item::Page(addr.map_err(|_| malformed("no address"))?, r.bytes()?)
        }
        1 => Item::Record {
            meta: r.bytes()?,
            value: r.bytes()?,
        },
        other => return Err(malformed(&format!("unknown kind {other}"))),
    })
}

impl Begin {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut w = Writer::new(&mut out);
        w.map(10);
        w.text("store").bytes(self.store.as_bytes());
        w.text("pages").bytes(self.pages.as_bytes());
        w.text("created");
        write_time(&mut w, self.created);
        w.text("compressor").text(self.settings.compressor.name());
        w.text("serializer").text(&self.settings.serializer);
        w.text("clock");
        write_time(&mut w, self.clock);
        w.text("from");
        match &self.from {
            Some(from) => from.encode(&mut w),
            None => {
                w.null();
            }
        }
        w.text("to");
        self.to.encode(&mut w);
        w.text("items").uint(self.position.items);
        w.text("hash").bytes(&self.position.hash);
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, TreeError> {
        let missing = |field: &str| TreeError::malformed("its beginning", format!("no {field}"));
        let mut r = Reader::new(bytes);
        let (mut store, mut pages, mut created, mut compressor) = (None, None, None, None);
        let mut serializer = None;
        let (mut clock, mut from, mut to, mut items, mut hash) = (None, None, None, None, None);
        for _ in 0..r.map()? {
            match r.text()? {
                "store" => store = Uuid::from_slice(r.bytes()?).ok(),
                "pages" => pages = Uuid::from_slice(r.bytes()?).ok(),
                "created" => created = Some(read_time(&mut r)?),
                "compressor" => compressor = Compressor::named(r.text()?),
                "serializer" => serializer = Some(r.text()?.to_owned()),
                "clock" => clock = Some(read_time(&mut r)?),
                "from" if r.take_null() => {}
                "from" => from = Some(Named::decode(&mut r)?),
                "to" => to = Some(Named::decode(&mut r)?),
                "items" => items = Some(r.uint()?),
                "hash" => hash = <[u8; 32]>::try_from(r.bytes()?).ok(),
                _ => {
                    r.raw()?;
                }
            }
        }
        Ok(Self {
            store: store.ok_or_else(|| missing("store"))?,
            pages: pages.ok_or_else(|| missing("pages"))?,
            created: created.ok_or_else(|| missing("created"))?,
            settings: Settings {
                serializer: serializer.unwrap_or_else(|| Settings::default().serializer),
                compressor: compressor.ok_or_else(|| missing("known compressor"))?,
            },
            clock: clock.ok_or_else(|| missing("clock"))?,
            from,
            to: to.ok_or_else(|| missing("to"))?,
            position: Position {
                items: items.ok_or_else(|| missing("items"))?,
                hash: hash.ok_or_else(|| missing("hash"))?,
            },
        })
    }
}

impl Named {
    fn encode(&self, w: &mut Writer<'_>) {
        w.map(2);
        w.text("name").text(&self.name);
        w.text("id");
        write_identity(w, &self.id);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, TreeError> {
        let (mut name, mut id) = (None, None);
        for _ in 0..r.map()? {
            match r.text()? {
                "name" => name = Some(r.text()?.to_owned()),
                "id" => id = Some(read_identity(r)?),
                _ => {
                    r.raw()?;
                }
            }
        }
        let named = name.zip(id).map(|(name, id)| Self { name, id });
        named.ok_or_else(|| TreeError::malformed("a snapshot", "a field is missing"))
    }
}

/// How a stream ends.
pub(super) fn write_end(position: &Position) -> Vec<u8> {
    let mut out = Vec::new();
    let mut w = Writer::new(&mut out);
    w.map(2);
    w.text("items").uint(position.items);
    w.text("hash").bytes(&position.hash);
    out
}

/// Where a stream says that it ends.
pub(super) fn read_end(bytes: &[u8]) -> Result<Position, TreeError> {
    let mut r = Reader::new(bytes);
    let mut position = Position::default();
    for _ in 0..r.map()? {
        match r.text()? {
            "items" => position.items = r.uint()?,
            "hash" => position.hash = r.bytes()?.try_into().unwrap_or_default(),
            _ => {
                r.raw()?;
            }
        }
    }
    Ok(position)
}
