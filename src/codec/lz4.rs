//! LZ4 frames, as the [format] has them.
//!
//! ```text
//!  0         4      5      6              14      15
//!  +---------+------+------+--------------+-------+--------------------------------+-----------+
//!  | magic   | FLG  | BD   | content size | HC    | blocks: length u32 LE | bytes  | end: 0    |
//!  | 4 bytes | 0x68 |      | u64 LE       |       | (top bit: as it is)   |        | u32       |
//!  +---------+------+------+--------------+-------+--------------------------------+-----------+
//! ```
//!
//! The frames written here have independent blocks and no checksums (a blob has its own). The
//! frame encoder of `lz4_flex` makes the same, but sets up 64 KiB of buffers for each, which
//! takes ten times as long as compressing a value of 200 bytes; so it is only used to read the
//! frames of other writers.
//!
//! [format]: https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md

use std::cell::RefCell;
use std::io::{self, Read};

use lz4_flex::block::{
    CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size,
};
use lz4_flex::frame::FrameDecoder;
use xxhash_rust::xxh32::xxh32;

use super::error::Check;

const MAGIC: [u8; 4] = 0x184D_2204_u32.to_le_bytes();

/// Format 1, independent blocks, content size.
const FLAGS: u8 = 0b0110_1000;

/// The flag that the content size is there.
const FLAG_CONTENT_SIZE: u8 = 0b0000_1000;

/// The content sizes of blocks that a frame can be made of, and their numbers.
const BLOCKS: [(usize, u8); 4] = [(64 << 10, 4), (256 << 10, 5), (1 << 20, 6), (4 << 20, 7)];

/// The top bit of a block's length: its bytes are not compressed.
const STORED: u32 = 1 << 31;

/// Bytes before the blocks.
const HEADER: usize = 15;

/// LZ4 cannot express more than this many bytes in one.
const HIGHEST_RATIO: u64 = 255;

thread_local! {
    /// Tables for short and for long blocks, because clearing one is most of the work for a
    /// short one.
    static TABLES: RefCell<(CompressTable, CompressTable)> =
        RefCell::new((CompressTable::small(), CompressTable::large()));
}

/// `content` as a frame, or `None` if that is longer than `limit`.
pub fn encode(content: &[u8], limit: usize) -> Option<Vec<u8>> {
    let fits = |&&(size, _): &&(usize, u8)| content.len() <= size;
    let &(block_size, number) = BLOCKS.iter().find(fits).or(BLOCKS.last())?;
    let descriptor = descriptor(content.len() as u64, number);
    let mut frame = Vec::with_capacity(HEADER + get_maximum_output_size(content.len()));
    frame.extend_from_slice(&MAGIC);
    frame.extend_from_slice(&descriptor);
    frame.push(header_check(&descriptor));
    for block in content.chunks(block_size) {
        encode_block(block, &mut frame)?;
        if frame.len() > limit {
            return None;
        }
    }
    frame.extend_from_slice(&[0; 4]);
    (frame.len() <= limit).then_some(frame)
}

fn encode_block(block: &[u8], frame: &mut Vec<u8>) -> Option<()> {
    let start = frame.len();
    frame.resize(start + 4 + get_maximum_output_size(block.len()), 0);
    let (length_field, output) = frame.get_mut(start..)?.split_first_chunk_mut::<4>()?;
    let length = TABLES.with_borrow_mut(|(small, large)| {
        let table = if block.len() < usize::from(u16::MAX) {
            small
        } else {
            large
        };
        compress_into_with_table(block, output, table).ok()
    })?;
    if length < block.len() {
        *length_field = u32::try_from(length).ok()?.to_le_bytes();
        frame.truncate(start + 4 + length);
    } else {
        *length_field = (u32::try_from(block.len()).ok()? | STORED).to_le_bytes();
        output.get_mut(..block.len())?.copy_from_slice(block);
        frame.truncate(start + 4 + block.len());
    }
    Some(())
}

/// What the header's check covers.
fn descriptor(content_size: u64, block_size: u8) -> [u8; 10] {
    let [a, b, c, d, e, f, g, h] = content_size.to_le_bytes();
    [FLAGS, block_size << 4, a, b, c, d, e, f, g, h]
}

fn header_check(descriptor: &[u8; 10]) -> u8 {
    let [_, check, _, _] = xxh32(descriptor, 0).to_le_bytes();
    check
}

/// The content of a frame. The size that it claims is believed only within `limit` and within
/// what its length can hold.
pub fn decode(frame: &[u8], limit: u64) -> Result<Vec<u8>, Check> {
    let (own, size, blocks) = read_header(frame).ok_or(Check::ContentSize)?;
    if size > limit {
        return Err(Check::Size { size, limit });
    }
    if size > (frame.len() as u64).saturating_mul(HIGHEST_RATIO) {
        return Err(Check::ContentSize);
    }
    let size = usize::try_from(size).map_err(|_| Check::ContentSize)?;
    if own {
        decode_blocks(blocks, size)
    } else {
        decode_foreign(frame, size)
    }
}

/// Whether the frame is one of those written here, its content size, and what follows its header.
fn read_header(frame: &[u8]) -> Option<(bool, u64, &[u8])> {
    let (magic, rest) = frame.split_first_chunk::<4>()?;
    let (descriptor, rest) = rest.split_first_chunk::<10>()?;
    let (check, blocks) = rest.split_first()?;
    let [flags, _, size @ ..] = *descriptor;
    if *magic != MAGIC || flags & FLAG_CONTENT_SIZE == 0 {
        return None;
    }
    let own = flags == FLAGS && *check == header_check(descriptor);
    Some((own, u64::from_le_bytes(size), blocks))
}

fn decode_blocks(mut blocks: &[u8], size: usize) -> Result<Vec<u8>, Check> {
    let mut content = vec![0; size];
    let mut rest = content.as_mut_slice();
    loop {
        let (length, tail) = blocks.split_first_chunk::<4>().ok_or(Check::ContentSize)?;
        let length = u32::from_le_bytes(*length);
        if length == 0 {
            // All is filled, and nothing follows.
            let whole = rest.is_empty() && tail.is_empty();
            return whole.then_some(content).ok_or(Check::ContentSize);
        }
        let bytes = usize::try_from(length & !STORED).map_err(|_| Check::ContentSize)?;
        let (block, tail) = tail.split_at_checked(bytes).ok_or(Check::ContentSize)?;
        let filled = if length & STORED == 0 {
            decompress_into(block, rest).map_err(|error| failed(io::Error::other(error)))?
        } else {
            let target = rest.get_mut(..bytes).ok_or(Check::ContentSize)?;
            target.copy_from_slice(block);
            bytes
        };
        rest = rest.get_mut(filled..).ok_or(Check::ContentSize)?;
        blocks = tail;
    }
}

/// A frame that another program made.
fn decode_foreign(frame: &[u8], size: usize) -> Result<Vec<u8>, Check> {
    let mut content = Vec::with_capacity(size);
    let most = (size as u64).saturating_add(1);
    FrameDecoder::new(frame)
        .take(most)
        .read_to_end(&mut content)
        .map_err(failed)?;
    if content.len() != size {
        return Err(Check::ContentSize);
    }
    Ok(content)
}

fn failed(source: io::Error) -> Check {
    Check::Decompress { source }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]
mod tests {
    use std::io::Write;

    use lz4_flex::frame::{FrameEncoder, FrameInfo};

    use super::*;

    fn contents() -> Vec<Vec<u8>> {
        let mut random = vec![0; 9 << 20];
        blake3::Hasher::new().finalize_xof().fill(&mut random);
        let mut contents = Vec::new();
        for length in [
            0,
            1,
            13,
            65_534,
            65_535,
            65_536,
            65_537,
            300_000,
            2 << 20,
            9 << 20,
        ] {
            contents.push(
                b"the same again, "
                    .iter()
                    .copied()
                    .cycle()
                    .take(length)
                    .collect(),
            );
            contents.push(random[..length].to_vec());
        }
        contents.push([&random[..5 << 20], &vec![0; 5 << 20]].concat());
        contents
    }

    #[test]
    fn any_lz4_program_reads_a_frame() {
        for content in contents() {
            let frame = encode(&content, usize::MAX).unwrap();
            let mut read = Vec::new();
            FrameDecoder::new(&*frame).read_to_end(&mut read).unwrap();
            assert!(read == content, "{} bytes", content.len());
            assert!(
                decode(&frame, u64::MAX).unwrap() == content,
                "{} bytes",
                content.len()
            );
        }
    }

    #[test]
    fn a_frame_of_another_program_is_read() {
        for content in contents() {
            let info = FrameInfo::new()
                .content_size(Some(content.len() as u64))
                .content_checksum(true)
                .block_checksums(true);
            let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
            encoder.write_all(&content).unwrap();
            let frame = encoder.finish().unwrap();
            assert!(
                decode(&frame, u64::MAX).unwrap() == content,
                "{} bytes",
                content.len()
            );
        }
    }

    #[test]
    fn a_frame_is_given_up_at_the_limit() {
        let content = [7; 10_000];
        let length = encode(&content, usize::MAX).unwrap().len();
        assert!(encode(&content, length).is_some());
        assert!(encode(&content, length - 1).is_none());
    }

    #[test]
    fn a_size_that_is_a_lie_allocates_nothing() {
        let forged = |size: u64| {
            let mut frame = encode(b"hello", usize::MAX).unwrap();
            frame[4..14].copy_from_slice(&descriptor(size, 4));
            let check = header_check(&descriptor(size, 4));
            frame[14] = check;
            decode(&frame, 1 << 40)
        };
        assert!(matches!(forged(1 << 39), Err(Check::ContentSize)));
        assert!(matches!(forged(1 << 41), Err(Check::Size { .. })));
        assert!(forged(4).is_err());
        assert!(forged(6).is_err());
        assert_eq!(forged(5).unwrap(), b"hello");
    }

    #[test]
    fn no_damage_panics() {
        let content = b"the same words again and again, ".repeat(20);
        let frame = encode(&content, usize::MAX).unwrap();
        for at in 0..frame.len() {
            for bit in 0..8 {
                let mut damaged = frame.clone();
                damaged[at] ^= 1 << bit;
                drop(decode(&damaged, 1 << 20));
            }
            assert!(decode(&frame[..at], 1 << 20).is_err());
        }
    }
}
