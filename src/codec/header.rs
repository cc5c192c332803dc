//! The first 20 bytes of a blob, drawn in the [module above](super).

use super::compress::Compressor;
use super::error::Check;
use super::serializer::SERIALIZER_CBOR;

/// The layout written here.
pub const VERSION: u8 = 2;

/// konserve's layout, without a checksum.
const VERSION_KONSERVE: u8 = 1;

/// No encryption.
const ENCRYPTOR_NONE: u8 = 0;

/// Bytes before the meta.
pub const HEADER_LENGTH: usize = 20;

/// Bytes of the checksum.
pub const CHECKSUM: usize = 12;

/// What a header says, apart from the checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub serializer: u8,
    pub compressor: Compressor,
    pub meta_length: u32,
}

impl Header {
    /// The bytes before the checksum, which the checksum covers.
    pub fn covered(&self) -> [u8; 8] {
        let [a, b, c, d] = self.meta_length.to_be_bytes();
        [
            VERSION,
            self.serializer,
            self.compressor.number(),
            ENCRYPTOR_NONE,
            a,
            b,
            c,
            d,
        ]
    }

    /// Whether the serializer leaves what it is given as it is.
    pub fn is_cbor(&self) -> bool {
        self.serializer == SERIALIZER_CBOR
    }

    pub fn encode_into(&self, checksum: &[u8; CHECKSUM], out: &mut Vec<u8>) {
        out.extend_from_slice(&self.covered());
        out.extend_from_slice(checksum);
    }

    /// The header of `blob`, its checksum, and the bytes behind it.
    pub fn decode(blob: &[u8]) -> Result<(Self, [u8; CHECKSUM], &[u8]), Check> {
        let short = Check::Short { length: blob.len() };
        match blob.first() {
            Some(&VERSION) | None => {}
            Some(&VERSION_KONSERVE) => return Err(Check::VersionKonserve),
            Some(&version) => return Err(Check::Version { version }),
        }
        let Some((covered, rest)) = blob.split_first_chunk::<8>() else {
            return Err(short);
        };
        let Some((checksum, rest)) = rest.split_first_chunk::<CHECKSUM>() else {
            return Err(short);
        };
        let [_, serializer, compressor, encryptor, a, b, c, d] = *covered;
        let compressor =
            Compressor::from_number(compressor).ok_or(Check::Compressor { number: compressor })?;
        if encryptor != ENCRYPTOR_NONE {
            return Err(Check::Encryptor { number: encryptor });
        }
        let meta_length = u32::from_be_bytes([a, b, c, d]);
        Ok((
            Self {
                serializer,
                compressor,
                meta_length,
            },
            *checksum,
            rest,
        ))
    }
}
