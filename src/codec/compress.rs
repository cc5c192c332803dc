//! The compressor stage.

use std::borrow::Cow;

use super::error::Check;
use super::{lz4, zstd};

/// Shorter values are stored as they are: an LZ4 frame alone takes 23 bytes, one of Zstandard 9.
const SHORTEST: usize = 128;

/// A value must shrink by one part in this many to be stored compressed.
const WORTHWHILE: usize = 16;

/// Of values this long, LZ4 compresses samples first: a value of which no sample shrinks is stored
/// as it is. That takes 1 µs instead of 13 µs for 64 KiB that do not shrink.
const SAMPLED: usize = 32 * 1024;
const SAMPLES: usize = 8;
const SAMPLE: usize = 1024;

/// How values are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compressor {
    /// Not at all.
    None,
    /// As one LZ4 frame with its content size, where that saves space.
    #[default]
    Lz4,
    /// As one Zstandard frame with its content size, where that saves space.
    Zstd,
}

impl Compressor {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::None, Self::Lz4, Self::Zstd];

    /// Its name: `none`, `lz4` or `zstd`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// The number in the header.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Lz4 => 1,
            Self::Zstd => 2,
        }
    }

    pub(super) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.number() == number)
    }
}

/// A value that has been through the compressor, or is to go back through it.
pub struct Compressed<'a> {
    compressor: Compressor,
    bytes: Cow<'a, [u8]>,
}

/// Whether it is worth trying to compress a value.
fn may_shrink(value: &[u8]) -> bool {
    value.len() < SAMPLED
        || value
            .chunks(value.len().div_ceil(SAMPLES))
            .filter_map(|part| part.get(..SAMPLE))
            .any(|sample| lz4::encode(sample, SAMPLE).is_some())
}

impl<'a> Compressed<'a> {
    /// Compresses `value`, if that is worth it.
    pub fn compress(compressor: Compressor, value: &'a [u8]) -> Self {
        let most = value.len() - value.len() / WORTHWHILE;
        let frame = match compressor {
            _ if value.len() < SHORTEST => None,
            Compressor::None => None,
            Compressor::Lz4 if !may_shrink(value) => None,
            Compressor::Lz4 => lz4::encode(value, most),
            Compressor::Zstd => zstd::encode(value, most),
        };
        match frame {
            Some(frame) => Self {
                compressor,
                bytes: frame.into(),
            },
            None => Self::stored(Compressor::None, value),
        }
    }

    /// Bytes that a blob holds.
    pub fn stored(compressor: Compressor, bytes: &'a [u8]) -> Self {
        Self {
            compressor,
            bytes: bytes.into(),
        }
    }

    pub fn compressor(&self) -> Compressor {
        self.compressor
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes that a blob holds.
    pub fn into_bytes(self) -> Cow<'a, [u8]> {
        self.bytes
    }

    /// The value again, of at most `limit` bytes.
    pub fn decompress(self, limit: u64) -> Result<Cow<'a, [u8]>, Check> {
        match self.compressor {
            Compressor::None => {
                let size = self.bytes.len() as u64;
                if size > limit {
                    return Err(Check::Size { size, limit });
                }
                Ok(self.bytes)
            }
            Compressor::Lz4 => lz4::decode(&self.bytes, limit).map(Cow::Owned),
            Compressor::Zstd => zstd::decode(&self.bytes, limit).map(Cow::Owned),
        }
    }
}
