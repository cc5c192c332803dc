//! What a store is: one blob at the address `h`.
//!
//! ```text
//! meta  = empty
//! value = {"id": bytes(16), "format": 2, "created": time, "compressor": "none" | "lz4" | "zstd",
//!          "folded": sequence, "clock": time, "serializer": text, "pages": bytes(16)}
//! ```
//! `serializer`, which may be missing for `cbor`, is the name of the serializer of new blobs.
//! `pages`, which may be missing, is the UUID that keys the addresses of pages, where it is not the
//! store's own: that of the store whose pages this one was made to receive.
//!
//! The blob's checksum is bound to no store id (the id is inside); everything else's is.

use uuid::Uuid;

use super::{Location, StoreError};
use crate::backend::{Backend, Deadline};
use crate::codec::{Codec, Compressor, Serializers, Settings};
use crate::tree::{Time, read_time, write_time};
use crate::value::cbor::{CborError, Reader, Writer};

/// The address of the header.
pub const HEADER: &[u8] = b"h";
/// The newest format that this program reads and writes: 3 may have blobs that a program which knows
/// only format 2 cannot read.
pub const FORMAT: u64 = 3;
/// The format that is written where nothing needs a newer one: 2 has snapshots, whose records a
/// program that knows only format 1 would lose.
const PLAIN: u64 = 2;
/// The serializer of a store whose header names none.
const CBOR: &str = "cbor";
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
    /// The format in which it was found; it is written in the one that it [needs](Self::needs).
    pub format: u64,
    /// When it was made.
    pub created: Time,
    /// How new blobs are written.
    pub settings: Settings,
    /// The last journal record that is in the pages.
    pub folded: u64,
    /// The last stamp that the store's clock gave.
    pub clock: Time,
}

fn codec() -> Codec {
    Codec::new(Uuid::nil(), Compressor::None)
}

impl Header {
    /// The oldest format in which it can be written, so that older programs read what they can.
    pub fn needs(&self) -> u64 {
        match self.settings.compressor {
            Compressor::None | Compressor::Lz4 if self.is_cbor() => PLAIN,
            _ => FORMAT,
        }
    }

    fn is_cbor(&self) -> bool {
        self.settings.serializer == CBOR
    }

    /// The codec of the store.
    ///
    /// # Errors
    /// [`StoreError::Setting`] if its serializer is none of these.
    pub fn codec(
        &self,
        serializers: &Serializers,
        location: &Location,
    ) -> Result<Codec, StoreError> {
        Codec::with_settings(self.id, &self.settings, serializers)
            .ok_or_else(|| unknown(location, "serializer", &self.settings.serializer))
    }

    /// The blob.
    pub fn seal(&self) -> Result<Vec<u8>, StoreError> {
        let mut value = Vec::new();
        let mut w = Writer::new(&mut value);
        let more = [!self.is_cbor(), self.pages != self.id];
        w.map(6 + more.iter().filter(|more| **more).count());
        w.text("id");
        w.bytes(self.id.as_bytes());
        w.text("format");
        w.uint(self.needs());
        w.text("created");
        write_time(&mut w, self.created);
        w.text("compressor");
        w.text(self.settings.compressor.name());
        w.text("folded");
        w.uint(self.folded);
        w.text("clock");
        write_time(&mut w, self.clock);
        if !self.is_cbor() {
            w.text("serializer");
            w.text(&self.settings.serializer);
        }
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
        let (mut pages, mut serializer) = (None, None);
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
                    let name = r.text().map_err(broken)?;
                    compressor = Some(
                        Compressor::named(name)
                            .ok_or_else(|| unknown(location, "compressor", name))?,
                    );
                }
                "serializer" => serializer = Some(r.text().map_err(broken)?.to_owned()),
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
            settings: Settings {
                serializer: serializer.unwrap_or_else(|| CBOR.to_owned()),
                compressor: compressor.ok_or_else(|| missing("compressor"))?,
            },
            folded: folded
                .filter(|folded| *folded <= MOST_RECORDS)
                .ok_or_else(|| missing("sequence number that a store could reach"))?,
            clock: clock.ok_or_else(|| missing("clock"))?,
        })
    }
}

pub(super) fn unknown(location: &Location, setting: &'static str, name: &str) -> StoreError {
    StoreError::Setting {
        location: location.to_string(),
        setting,
        name: name.to_owned(),
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

    fn header(serializer: &str, compressor: Compressor) -> Header {
        Header {
            id: Uuid::from_u128(5),
            pages: Uuid::from_u128(5),
            format: FORMAT,
            created: Time::default(),
            settings: Settings {
                serializer: serializer.to_owned(),
                compressor,
            },
            folded: 9,
            clock: Time::default(),
        }
    }

    fn value(header: &Header) -> Vec<u8> {
        let blob = header.seal().unwrap();
        codec().open(HEADER, &blob).unwrap().value.into_owned()
    }

    fn location() -> Location {
        Location::parse("/a/store").unwrap()
    }

    #[test]
    fn a_header_has_the_oldest_format_that_can_say_it() {
        for (serializer, compressor, format) in [
            ("cbor", Compressor::None, 2),
            ("cbor", Compressor::Lz4, 2),
            ("cbor", Compressor::Zstd, 3),
            ("edn", Compressor::None, 3),
            ("own", Compressor::Lz4, 3),
        ] {
            let made = header(serializer, compressor);
            let read = Header::decode(&value(&made), &location()).unwrap();
            assert_eq!((read.settings, read.format), (made.settings, format));
        }
    }

    #[test]
    fn a_compressor_that_is_not_known_is_named() {
        let mut changed = value(&header("cbor", Compressor::Zstd));
        let at = changed.windows(4).position(|four| four == b"zstd").unwrap();
        changed[at] = b'q';
        let refused = Header::decode(&changed, &location()).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "/a/store: the store's compressor is \"qstd\", which is not known to this program"
        );
    }

    #[test]
    fn a_serializer_that_is_not_registered_is_named() {
        let header = header("own", Compressor::None);
        let refused = header.codec(&Serializers::default(), &location());
        assert_eq!(
            refused.unwrap_err().to_string(),
            "/a/store: the store's serializer is \"own\", which is not known to this program"
        );
    }

    #[test]
    fn a_header_with_a_sequence_number_that_nothing_can_follow_is_none() {
        let mut header = header("cbor", Compressor::None);
        for (folded, is_one) in [(MOST_RECORDS, true), (u64::MAX, false)] {
            header.folded = folded;
            let read = Header::decode(&value(&header), &location());
            assert_eq!(read.is_ok(), is_one, "{read:?}");
        }
    }
}
