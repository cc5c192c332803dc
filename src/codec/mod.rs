//! The bytes of one blob: serializer, then compressor, then encryptor, then a checksum.
//!
//! ```text
//!  0        1            2            3           4               8              20
//!  +--------+------------+------------+-----------+---------------+--------------+------+-------+
//!  | version| serializer | compressor | encryptor | meta length   | checksum     | meta | value |
//!  | 2      | 3, 4, 5, … | 0, 1, 2    | 0         | u32 BE        | 12 bytes     |      |       |
//!  +--------+------------+------------+-----------+---------------+--------------+------+-------+
//! ```
//!
//! | byte | values |
//! |---|---|
//! | version | 2. Version 1 is konserve's layout, which has zeroes for a checksum: imported, never written |
//! | serializer | 3: meta and value are CBOR, 4: EDN text, 5: JSON text, from 128 on: those that a program [brings along](Serializers::with); 0 to 2 are konserve's |
//! | compressor | 0: none, 1: the value is one LZ4 frame with its content size, 2: one Zstandard frame with it (the meta, which is short, never is compressed) |
//! | encryptor | 0: none. What is encrypted is so as a whole, around this: see [`crate::crypt`] |
//!
//! The **checksum** is the first 12 bytes of BLAKE3, keyed with a key derived from the store's
//! UUID, over
//!
//! ```text
//! address length u32 BE | address | bytes 0..8 of the header | meta | value as stored
//! ```
//!
//! (without the value, for a *page* of serializer 3: its address is the keyed hash of its value before
//! compression, which is looked at instead, so that no byte is hashed twice), so that a blob that is flipped, cut, lengthened, or stands at another address or in another
//! store than it was written for is refused. It says nothing about intent: the key is no secret.
//!
//! [`Codec::seal`] and [`Codec::open`] take and give canonical CBOR, in which everything is addressed
//! and compared, whatever the serializer; what it means is the store's business. What is none, as
//! the content of a file, goes through a serializer as it is, under number 3. Each blob says how it
//! was written, so that the settings of a store may change. The stages are types (only a `Compressed`
//! can be sealed), so that no code can get their order wrong.

mod compress;
mod error;
mod header;
mod lz4;
mod serializer;
mod settings;
mod zstd;

use std::borrow::Cow;

use uuid::Uuid;

use compress::Compressed;
pub use compress::Compressor;
pub use error::{Check, CodecError, Unreadable};
use header::{CHECKSUM, Header};
pub use header::{HEADER_LENGTH, VERSION};
use serializer::Serialized;
pub use serializer::{Cbor, Edn, Json, SERIALIZER_CBOR, Serializer, Serializers};
use settings::Present;
pub use settings::Settings;

/// What the checksum's key is derived with.
const CHECKSUM_CONTEXT: &str = "konserve-fs 2 blob checksum";

/// The largest value that is given out, in bytes, unless [`Codec::with_limit`] says otherwise.
/// No record and no page of a store is larger.
pub const DEFAULT_LIMIT: u64 = 32 << 20;

/// How blobs of one store are made and read. Clones share their settings.
#[derive(Clone)]
pub struct Codec {
    present: Present,
    serializers: Serializers,
    limit: u64,
    checksum_key: [u8; 32],
}

impl std::fmt::Debug for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Codec")
            .field("serializer", &self.serializer())
            .field("compressor", &self.present.get().1)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// A blob's content. Borrows from the blob what stands in it as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened<'a> {
    /// The meta, as CBOR.
    pub meta: Cow<'a, [u8]>,
    /// The value, as CBOR or as it was given.
    pub value: Cow<'a, [u8]>,
}

/// What a checksum covers beside the header and the address.
#[derive(Clone, Copy)]
enum Covered {
    /// The meta and the value.
    Value,
    /// The meta: the address says what the value is.
    Meta,
}

impl Covered {
    /// A text can say the same in many ways, so that its address does not say how it reads.
    fn in_blob(self, header: &Header) -> Self {
        if header.is_cbor() { self } else { Self::Value }
    }

    fn of(self, value: &[u8]) -> &[u8] {
        match self {
            Self::Value => value,
            Self::Meta => &[],
        }
    }
}

impl Codec {
    /// The codec of the store `store`; new values are CBOR, and compressed with `compressor`.
    #[must_use]
    pub fn new(store: Uuid, compressor: Compressor) -> Self {
        let checksum_key = blake3::derive_key(CHECKSUM_CONTEXT, store.as_bytes());
        Self {
            present: Present::new(SERIALIZER_CBOR, compressor),
            serializers: Serializers::default(),
            limit: DEFAULT_LIMIT,
            checksum_key,
        }
    }

    /// The codec of the store `store` with these settings; `None` if its serializer is none of these.
    #[must_use]
    pub fn with_settings(
        store: Uuid,
        settings: &Settings,
        serializers: &Serializers,
    ) -> Option<Self> {
        let codec = Self {
            serializers: serializers.clone(),
            ..Self::new(store, settings.compressor)
        };
        codec.set(settings).then_some(codec)
    }

    /// Whether it can write so.
    #[must_use]
    pub fn knows(&self, settings: &Settings) -> bool {
        self.serializers.named(&settings.serializer).is_some()
    }

    /// Writes new blobs in this way from now on, in all clones; false if the serializer is not known.
    pub fn set(&self, settings: &Settings) -> bool {
        let Some(serializer) = self.serializers.named(&settings.serializer) else {
            return false;
        };
        self.present.set(serializer.number(), settings.compressor);
        true
    }

    /// How new blobs are written.
    #[must_use]
    pub fn settings(&self) -> Settings {
        Settings {
            serializer: self.serializer().name().to_owned(),
            compressor: self.present.get().1,
        }
    }

    fn serializer(&self) -> &dyn Serializer {
        match self.serializers.numbered(self.present.get().0) {
            Some(found) => &**found,
            None => &Cbor,
        }
    }

    /// Whether a blob was written as new ones are. One of which the value was not worth compressing
    /// or could not be serialized was not.
    #[must_use]
    pub fn is_present(&self, blob: &[u8]) -> bool {
        let (serializer, compressor) = self.present.get();
        blob.get(1..3) == Some(&[serializer, compressor.number()])
    }

    /// The same codec with another bound for the size of a value.
    #[must_use]
    pub fn with_limit(mut self, limit: u64) -> Self {
        self.limit = limit;
        self
    }

    /// The blob to store at `address`.
    ///
    /// # Errors
    /// [`Check::Size`] if the value is above the limit, [`Check::MetaLength`] if the meta is.
    pub fn seal(&self, address: &[u8], meta: &[u8], value: &[u8]) -> Result<Vec<u8>, CodecError> {
        self.seal_covering(Covered::Value, false, (address, meta, value))
    }

    /// The same in CBOR, which takes no more room than was thought, whatever the serializer.
    ///
    /// # Errors
    /// As [`Codec::seal`].
    pub fn seal_plain(
        &self,
        address: &[u8],
        meta: &[u8],
        value: &[u8],
    ) -> Result<Vec<u8>, CodecError> {
        self.seal_covering(Covered::Value, true, (address, meta, value))
    }

    /// The blob of a page, whose address says what its value is.
    ///
    /// # Errors
    /// As [`Codec::seal`].
    pub fn seal_page(
        &self,
        address: &[u8],
        meta: &[u8],
        value: &[u8],
    ) -> Result<Vec<u8>, CodecError> {
        self.seal_covering(Covered::Meta, false, (address, meta, value))
    }

    fn seal_covering(
        &self,
        covered: Covered,
        plain: bool,
        (address, meta, value): (&[u8], &[u8], &[u8]),
    ) -> Result<Vec<u8>, CodecError> {
        let failed = |check| CodecError::new("seal", address, check);
        let size = value.len() as u64;
        if size > self.limit {
            return Err(failed(Check::Size {
                size,
                limit: self.limit,
            }));
        }
        let (serializer, (_, compressor)) = (self.serializer(), self.present.get());
        let serialized = if plain || serializer.number() == SERIALIZER_CBOR {
            Serialized::cbor(meta, value)
        } else {
            Serialized::write(serializer, meta, value)
        };
        let meta = &*serialized.meta;
        let meta_length = u32::try_from(meta.len()).map_err(|_| failed(Check::MetaLength))?;
        let value = Compressed::compress(compressor, &serialized.value);
        let header = Header {
            serializer: serialized.serializer,
            compressor: value.compressor(),
            meta_length,
        };
        let covered = covered.in_blob(&header).of(value.bytes());
        let checksum = self.checksum(address, &header, meta, covered);
        let mut blob = Vec::with_capacity(HEADER_LENGTH + meta.len() + value.bytes().len());
        header.encode_into(&checksum, &mut blob);
        blob.extend_from_slice(meta);
        blob.extend_from_slice(value.bytes());
        Ok(blob)
    }

    /// The content of `blob`, which was found at `address`.
    ///
    /// # Errors
    /// One that names the check that failed. Nothing is decompressed before the checksum holds,
    /// and nothing larger than the limit is allocated.
    pub fn open<'a>(&self, address: &[u8], blob: &'a [u8]) -> Result<Opened<'a>, CodecError> {
        let failed = |check| CodecError::new("open", address, check);
        let (header, meta, value) = self.verify(Covered::Value, blob, address).map_err(failed)?;
        self.content(&header, meta, value).map_err(failed)
    }

    /// The content of a page's blob, of which `is_at` says whether a value belongs at the address.
    ///
    /// # Errors
    /// As [`Codec::open`], and [`Check::Content`]. A value is decompressed before it is verified,
    /// but given to nobody.
    pub fn open_page<'a>(
        &self,
        address: &[u8],
        blob: &'a [u8],
        is_at: impl FnOnce(&[u8]) -> bool,
    ) -> Result<Opened<'a>, CodecError> {
        let failed = |check| CodecError::new("open", address, check);
        let (header, meta, value) = self.verify(Covered::Meta, blob, address).map_err(failed)?;
        // Whatever the decompressor says: it has been given bytes that nothing vouches for.
        match self.content(&header, meta, value) {
            Ok(opened) if is_at(&opened.value) => Ok(opened),
            _ => Err(failed(Check::Content)),
        }
    }

    /// The meta of `blob` alone: all of it is verified, but no value decompressed.
    ///
    /// # Errors
    /// As [`Codec::open`].
    pub fn open_meta<'a>(
        &self,
        address: &[u8],
        blob: &'a [u8],
    ) -> Result<Cow<'a, [u8]>, CodecError> {
        let failed = |check| CodecError::new("open", address, check);
        let (header, meta, _) = self.verify(Covered::Value, blob, address).map_err(failed)?;
        self.deserialize(&header, meta.into()).map_err(failed)
    }

    /// Takes a verified blob back through the stages.
    fn content<'a>(
        &self,
        header: &Header,
        meta: &'a [u8],
        value: &'a [u8],
    ) -> Result<Opened<'a>, Check> {
        let value = Compressed::stored(header.compressor, value).decompress(self.limit)?;
        Ok(Opened {
            meta: self.deserialize(header, meta.into())?,
            value: self.deserialize(header, value)?,
        })
    }

    fn deserialize<'a>(
        &self,
        header: &Header,
        bytes: Cow<'a, [u8]>,
    ) -> Result<Cow<'a, [u8]>, Check> {
        if header.is_cbor() {
            return Ok(bytes);
        }
        let number = header.serializer;
        let serializer = self.serializers.numbered(number);
        let serializer = serializer.ok_or(Check::Serializer { number })?;
        serializer::read(&**serializer, &bytes).map(Cow::Owned)
    }

    /// Splits a blob, once its checksum holds.
    fn verify<'a>(
        &self,
        covered: Covered,
        blob: &'a [u8],
        address: &[u8],
    ) -> Result<(Header, &'a [u8], &'a [u8]), Check> {
        let (header, checksum, rest) = Header::decode(blob)?;
        let number = header.serializer;
        if self.serializers.numbered(number).is_none() {
            return Err(Check::Serializer { number });
        }
        let covered = covered.in_blob(&header);
        let meta_length = usize::try_from(header.meta_length).map_err(|_| Check::MetaLength)?;
        let (meta, value) = rest
            .split_at_checked(meta_length)
            .ok_or(Check::MetaLength)?;
        if self.checksum(address, &header, meta, covered.of(value)) != checksum {
            return Err(Check::Checksum);
        }
        Ok((header, meta, value))
    }

    fn checksum(
        &self,
        address: &[u8],
        header: &Header,
        meta: &[u8],
        value: &[u8],
    ) -> [u8; CHECKSUM] {
        let address_length = u32::try_from(address.len()).unwrap_or(u32::MAX);
        let mut hasher = blake3::Hasher::new_keyed(&self.checksum_key);
        hasher.update(&address_length.to_be_bytes());
        hasher.update(address);
        hasher.update(&header.covered());
        hasher.update(meta);
        hasher.update(value);
        let mut checksum = [0; CHECKSUM];
        hasher.finalize_xof().fill(&mut checksum);
        checksum
    }
}

/// Compresses bytes that are no blob, where that is worth it: the number of the compressor, as in a
/// header, and what it made of them.
#[must_use]
pub fn pack(bytes: &[u8]) -> (u8, Cow<'_, [u8]>) {
    let packed = Compressed::compress(Compressor::Lz4, bytes);
    (packed.compressor().number(), packed.into_bytes())
}

/// What [`pack`] was given.
///
/// # Errors
/// One that says what is wrong; nothing larger than `limit` bytes is allocated.
pub fn unpack(compressor: u8, packed: &[u8], limit: u64) -> Result<Cow<'_, [u8]>, Check> {
    let compressor = Compressor::from_number(compressor);
    let compressor = compressor.ok_or(Check::ContentSize)?;
    Compressed::stored(compressor, packed).decompress(limit)
}

#[cfg(test)]
mod matrix;
#[cfg(test)]
mod tests;
