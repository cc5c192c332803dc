//! The bytes of one blob: serializer, then compressor, then encryptor, then a checksum.
//!
//! ```text
//!  0        1            2            3           4               8              20
//!  +--------+------------+------------+-----------+---------------+--------------+------+-------+
//!  | version| serializer | compressor | encryptor | meta length   | checksum     | meta | value |
//!  | 2      | 3          | 0, 1       | 0         | u32 BE        | 12 bytes     |      |       |
//!  +--------+------------+------------+-----------+---------------+--------------+------+-------+
//! ```
//!
//! | byte | values |
//! |---|---|
//! | version | 2. Version 1 is konserve's layout, which has zeroes for a checksum: imported, never written |
//! | serializer | 3: meta and value are CBOR |
//! | compressor | 0: none, 1: the value is one LZ4 frame with its content size (the meta, which is short, never is compressed) |
//! | encryptor | 0: none |
//!
//! The **checksum** is the first 12 bytes of BLAKE3, keyed with a key derived from the store's
//! UUID, over
//!
//! ```text
//! address length u32 BE | address | bytes 0..8 of the header | meta | value as stored
//! ```
//!
//! (without the value, for a *page*: its address is the keyed hash of its value before compression,
//! which is looked at instead, so that no byte is hashed twice), so that a blob that is flipped, cut, lengthened, or stands at another address or in another
//! store than it was written for is refused. It says nothing about intent: the key is no secret.
//!
//! [`Codec::seal`] and [`Codec::open`] take and give serialized bytes; what they mean is the
//! store's business. The stages are types (only a `Compressed` can be sealed), so that no code
//! can get their order wrong.

mod compress;
mod error;
mod frame;
mod header;

use std::borrow::Cow;

use uuid::Uuid;

use compress::Compressed;
pub use compress::Compressor;
pub use error::{Check, CodecError};
use header::{CHECKSUM, Header};
pub use header::{HEADER_LENGTH, SERIALIZER_CBOR, VERSION};

/// What the checksum's key is derived with.
const CHECKSUM_CONTEXT: &str = "konserve-fs 2 blob checksum";

/// The largest value that is given out, in bytes, unless [`Codec::with_limit`] says otherwise.
pub const DEFAULT_LIMIT: u64 = 1 << 30;

/// How blobs of one store are made and read.
#[derive(Clone)]
pub struct Codec {
    compressor: Compressor,
    limit: u64,
    checksum_key: [u8; 32],
}

impl std::fmt::Debug for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Codec")
            .field("compressor", &self.compressor)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// A blob's content. Borrows from the blob what stands in it as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened<'a> {
    /// The serialized meta.
    pub meta: &'a [u8],
    /// The serialized value.
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
    fn of(self, value: &[u8]) -> &[u8] {
        match self {
            Self::Value => value,
            Self::Meta => &[],
        }
    }
}

impl Codec {
    /// The codec of the store `store`; new values are compressed with `compressor`.
    #[must_use]
    pub fn new(store: Uuid, compressor: Compressor) -> Self {
        let checksum_key = blake3::derive_key(CHECKSUM_CONTEXT, store.as_bytes());
        Self {
            compressor,
            limit: DEFAULT_LIMIT,
            checksum_key,
        }
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
        self.seal_covering(Covered::Value, address, meta, value)
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
        self.seal_covering(Covered::Meta, address, meta, value)
    }

    fn seal_covering(
        &self,
        covered: Covered,
        address: &[u8],
        meta: &[u8],
        value: &[u8],
    ) -> Result<Vec<u8>, CodecError> {
        let failed = |check| CodecError::new("seal", address, check);
        let size = value.len() as u64;
        if size > self.limit {
            return Err(failed(Check::Size {
                size,
                limit: self.limit,
            }));
        }
        let meta_length = u32::try_from(meta.len()).map_err(|_| failed(Check::MetaLength))?;
        let value = Compressed::compress(self.compressor, value);
        let header = Header {
            compressor: value.compressor(),
            meta_length,
        };
        let checksum = self.checksum(address, &header, meta, covered.of(value.bytes()));
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
        let stored = Compressed::stored(header.compressor, value);
        let value = stored.decompress(self.limit).map_err(failed)?;
        Ok(Opened { meta, value })
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
        let stored = Compressed::stored(header.compressor, value);
        match stored.decompress(self.limit) {
            Ok(value) if is_at(&value) => Ok(Opened { meta, value }),
            _ => Err(failed(Check::Content)),
        }
    }

    /// The meta of `blob` alone: all of it is verified, but no value decompressed.
    ///
    /// # Errors
    /// As [`Codec::open`].
    pub fn open_meta<'a>(&self, address: &[u8], blob: &'a [u8]) -> Result<&'a [u8], CodecError> {
        let (_, meta, _) = self
            .verify(Covered::Value, blob, address)
            .map_err(|check| CodecError::new("open", address, check))?;
        Ok(meta)
    }

    /// Splits a blob, once its checksum holds.
    fn verify<'a>(
        &self,
        covered: Covered,
        blob: &'a [u8],
        address: &[u8],
    ) -> Result<(Header, &'a [u8], &'a [u8]), Check> {
        let (header, checksum, rest) = Header::decode(blob)?;
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
mod tests;
