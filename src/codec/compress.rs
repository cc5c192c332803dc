//! The compressor stage.

use std::borrow::Cow;

use super::error::Check;
use super::frame;

/// Shorter values are stored as they are: an LZ4 frame alone takes 23 bytes.
const SHORTEST: usize = 128;

/// A value must shrink by one part in this many to be stored compressed.
const WORTHWHILE: usize = 16;

/// Of values this long, samples are compressed first: a value of which no sample shrinks is stored
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
}

impl Compressor {
    /// The number in the header.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Lz4 => 1,
        }
    }

    pub(super) fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::None),
            1 => Some(Self::Lz4),
            _ => None,
        }
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
            .any(|sample| frame::encode(sample, SAMPLE).is_some())
}

impl<'a> Compressed<'a> {
    /// Compresses `value`, if that is worth it.
    pub fn compress(compressor: Compressor, value: &'a [u8]) -> Self {
        let frame = match compressor {
            Compressor::Lz4 if value.len() >= SHORTEST && may_shrink(value) => {
                frame::encode(value, value.len() - value.len() / WORTHWHILE)
            }
            Compressor::Lz4 | Compressor::None => None,
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
            Compressor::Lz4 => frame::decode(&self.bytes, limit).map(Cow::Owned),
        }
    }
}
