//! The compressor stage.

use std::borrow::Cow;
use std::io::{Read, Write};

use lz4_flex::frame::{FrameDecoder, FrameEncoder, FrameInfo};

use super::error::Check;

/// Shorter values are stored as they are: an LZ4 frame alone takes 23 bytes.
const SHORTEST: usize = 128;

/// A value must shrink by one part in this many to be stored compressed.
const WORTHWHILE: usize = 16;

/// LZ4 cannot express more than this many bytes in one (and a little for the frame).
const HIGHEST_RATIO: u64 = 255;

/// Where an LZ4 frame has its flags and, if they say so, its content size (u64 LE).
const FRAME_FLAGS: usize = 4;
const FRAME_FLAG_CONTENT_SIZE: u8 = 0b1000;
const FRAME_CONTENT_SIZE: usize = 6;

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

impl<'a> Compressed<'a> {
    /// Compresses `value`, if that is worth it.
    pub fn compress(compressor: Compressor, value: &'a [u8]) -> Self {
        let frame = match compressor {
            Compressor::Lz4 if value.len() >= SHORTEST => lz4_frame(value),
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
            Compressor::Lz4 => lz4_content(&self.bytes, limit).map(Cow::Owned),
        }
    }
}

/// `value` as an LZ4 frame, unless that saves too little.
fn lz4_frame(value: &[u8]) -> Option<Vec<u8>> {
    let info = FrameInfo::new().content_size(Some(value.len() as u64));
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::with_capacity(value.len()));
    encoder.write_all(value).ok()?;
    let frame = encoder.finish().ok()?;
    let enough = value.len() - value.len() / WORTHWHILE;
    (frame.len() < enough).then_some(frame)
}

/// The content of an LZ4 frame. The size that it claims is believed only within `limit` and
/// within what its length can hold.
fn lz4_content(frame: &[u8], limit: u64) -> Result<Vec<u8>, Check> {
    let size = content_size(frame).ok_or(Check::ContentSize)?;
    if size > limit {
        return Err(Check::Size { size, limit });
    }
    if size > (frame.len() as u64).saturating_mul(HIGHEST_RATIO) {
        return Err(Check::ContentSize);
    }
    let mut content = Vec::with_capacity(usize::try_from(size).map_err(|_| Check::ContentSize)?);
    FrameDecoder::new(frame)
        .take(size.saturating_add(1))
        .read_to_end(&mut content)
        .map_err(|source| Check::Decompress { source })?;
    if content.len() as u64 != size {
        return Err(Check::ContentSize);
    }
    Ok(content)
}

fn content_size(frame: &[u8]) -> Option<u64> {
    if frame.get(FRAME_FLAGS)? & FRAME_FLAG_CONTENT_SIZE == 0 {
        return None;
    }
    frame
        .get(FRAME_CONTENT_SIZE..)?
        .first_chunk()
        .copied()
        .map(u64::from_le_bytes)
}
