//! What a store is: one blob at the address `h`.
//!
//! ```text
//! meta  = empty
//! value = {"id": bytes(16), "format": 2, "created": time, "compressor": "none" | "lz4",
//!          "folded": sequence, "clock": time, "pages": bytes(16)}
//! ```
//! `pages`, which may be missing, is the UUID that keys the addresses of pages, where it is not the
//! store's own: that of the store whose pages this one was made to receive.
//!
//! The blob's checksum is bound to no store id (the id is inside); everything else's is.

use uuid::Uuid;

use super::{Location, StoreError};
use crate::backend::{Backend, Deadline};
use crate::codec::{Codec, Compressor};
use crate::tree::{Time, read_time, write_time};
use crate::value::cbor::{CborError, Reader, Writer};

/// The address of the header.
pub const HEADER: &[u8] = b"h";
/// The format that this program writes: 2 has snapshots, whose records a program that knows only
/// format 1 would lose.
pub const FORMAT: u64 = 2;
/// The oldest format that it reads. A store of it is of the present one once it is opened for
/// writing.
const OLDEST: u64 = 1;

/// No store has more records than this: what comes after can be counted, too.
const MOST_RECORDS: u64 = u64::MAX >> 1;

/// The header of a store.
#[derive(Clone, Debug)]
pub struct Header {
    /// The store's UUID.
    pub id: Uuid,
    /// The UUID that keys the addresses of its pages.
    pub pages: Uuid,
    /// The format in which it was found; it is written in the present one.
    pub format: u64,
    /// When it was made.
    pub created: Time,
    /// How new blobs are compressed.
    pub compressor: Compressor,
    /// The last journal record that is in the pages.
    pub folded: u64,
    /// The last stamp that the store's clock gave.
    pub clock: Time,
}

fn codec() -> Codec {
    Codec::new(Uuid::nil(), Compressor::None)
}

impl Header {
    /// The blob.
    pub fn seal(&self) -> Result<Vec<u8>, StoreError> {
        let mut value = Vec::new();
        let mut w = Writer::new(&mut value);
        w.map(if self.pages == self.id { 6 } else { 7 });
        w.text("id");
        w.bytes(self.id.as_bytes());
        w.text("format");
        w.uint(FORMAT);
        w.text("created");
        write_time(&mut w, self.created);
        w.text("compressor");
        w.text(match self.compressor {
            Compressor::None => "none",
            Compressor::Lz4 => "lz4",
        });
        w.text("folded");
        w.uint(self.folded);
        w.text("clock");
        write_time(&mut w, self.clock);
        if self.pages != self.id {
            w.text("pages");
            w.bytes(self.pages.as_bytes());
        }
        codec()
            .seal(HEADER, &[], &value)
            .map_err(|source| StoreError::Damaged {
                key: "the store's header".to_owned(),
                source,
            })
    }

    /// Reads the header of an open backend; `None` if it has none.
    pub fn read(
        backend: &dyn Backend,
        location: &Location,
        deadline: Deadline,
    ) -> Result<Option<Self>, StoreError> {
        let Some(blob) = backend.get(HEADER, deadline)? else {
            return Ok(None);
        };
        let opened = codec()
            .open(HEADER, &blob.bytes)
            .map_err(|source| StoreError::Damaged {
                key: format!("{location}: the store's header"),
                source,
            })?;
        Self::decode(&opened.value, location).map(Some)
    }

    fn decode(bytes: &[u8], location: &Location) -> Result<Self, StoreError> {
        let broken = |e: CborError| StoreError::NotAStore {
            location: location.to_string(),
            reason: format!("its header does not decode: {e}"),
        };
        let missing = |field: &str| StoreError::NotAStore {
            location: location.to_string(),
            reason: format!("its header has no {field}"),
        };
        let mut r = Reader::new(bytes);
        let (mut id, mut format, mut created, mut compressor, mut folded, mut clock) =
            (None, None, None, None, None, None);
        let mut pages = None;
        let time = |r: &mut Reader<'_>| {
            read_time(r).map_err(|e| StoreError::NotAStore {
                location: location.to_string(),
                reason: e.to_string(),
            })
        };
        for _ in 0..r.map().map_err(broken)? {
            match r.text().map_err(broken)? {
                "id" => id = Uuid::from_slice(r.bytes().map_err(broken)?).ok(),
                "format" => {
                    let found = r.uint().map_err(broken)?;
                    // What comes after the format field may look different in another format.
                    check_format(found, location)?;
                    format = Some(found);
                }
                "created" => created = Some(time(&mut r)?),
                "compressor" => {
                    compressor = match r.text().map_err(broken)? {
                        "none" => Some(Compressor::None),
                        "lz4" => Some(Compressor::Lz4),
                        _ => None,
                    }
                }
                "folded" => folded = Some(r.uint().map_err(broken)?),
                "clock" => clock = Some(time(&mut r)?),
                "pages" => {
                    let of = Uuid::from_slice(r.bytes().map_err(broken)?);
                    pages = Some(of.map_err(|_| missing("UUID of its pages"))?);
                }
                _ => {
                    r.raw().map_err(broken)?;
                }
            }
        }
        let id = id.ok_or_else(|| missing("UUID"))?;
        Ok(Self {
            id,
            pages: pages.unwrap_or(id),
            format: format.ok_or_else(|| missing("format"))?,
            created: created.ok_or_else(|| missing("creation time"))?,
            compressor: compressor.ok_or_else(|| missing("known compressor"))?,
            folded: folded
                .filter(|folded| *folded <= MOST_RECORDS)
                .ok_or_else(|| missing("sequence number that a store could reach"))?,
            clock: clock.ok_or_else(|| missing("clock"))?,
        })
    }
}

fn check_format(found: u64, location: &Location) -> Result<(), StoreError> {
    if (OLDEST..=FORMAT).contains(&found) {
        return Ok(());
    }
    let remedy = if found > FORMAT {
        "use a newer kfs"
    } else {
        "export the store with the kfs that wrote it and import it here"
    };
    Err(StoreError::Format {
        location: location.to_string(),
        found,
        supported: FORMAT,
        remedy,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_with_a_sequence_number_that_nothing_can_follow_is_none() {
        let location = Location::Memory(Uuid::nil());
        let header = |folded| Header {
            id: Uuid::nil(),
            pages: Uuid::nil(),
            format: FORMAT,
            created: Time::now(),
            compressor: Compressor::None,
            folded,
            clock: Time::now(),
        };
        let read = |folded| {
            let blob = header(folded).seal().unwrap();
            let opened = codec().open(HEADER, &blob).unwrap();
            Header::decode(&opened.value, &location).map(|header| header.folded)
        };
        assert_eq!(read(MOST_RECORDS).unwrap(), MOST_RECORDS);
        assert!(matches!(read(u64::MAX), Err(StoreError::NotAStore { .. })));
    }
}
