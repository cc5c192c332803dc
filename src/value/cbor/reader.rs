//! Reading CBOR items one by one, without copying.

use super::MAX_DEPTH;
use super::error::{CborError, CborErrorKind, Result};
use super::float::from_half;
use std::borrow::Cow;

/// The eight kinds of CBOR items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Major {
    /// A non-negative integer.
    Unsigned,
    /// A negative integer.
    Negative,
    /// A byte string.
    Bytes,
    /// A text string.
    Text,
    /// An array.
    Array,
    /// A map.
    Map,
    /// A tag and its item.
    Tag,
    /// A float, `null`, `true`, `false` or another simple value.
    Simple,
}

impl Major {
    fn of(byte: u8) -> Self {
        match byte >> 5 {
            0 => Self::Unsigned,
            1 => Self::Negative,
            2 => Self::Bytes,
            3 => Self::Text,
            4 => Self::Array,
            5 => Self::Map,
            6 => Self::Tag,
            _ => Self::Simple,
        }
    }
}

/// The first byte of an item and its argument.
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub offset: usize,
    pub byte: u8,
    pub major: Major,
    pub argument: u64,
}

impl Head {
    /// The argument stands for an unknown length (or, for a simple value, a break).
    pub fn is_indefinite(self) -> bool {
        self.byte & 0x1f == 31
    }

    pub fn error<T>(self, kind: CborErrorKind) -> Result<T> {
        Err(CborError {
            offset: self.offset,
            kind,
        })
    }
}

pub(super) const BREAK: u8 = 0xff;

/// The deepest value there can be, as structure; beside it stands what it is in.
const MOST_OPEN: usize = 3 * MAX_DEPTH + 64;

/// A cursor over encoded items. What it returns borrows from the input.
///
/// The methods for single items take definite lengths only, as [`Writer`](super::Writer) makes
/// them; [`Reader::value`] and [`Reader::raw`] take everything. After an error the position is
/// unspecified.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    data: &'a [u8],
    pub(super) pos: usize,
    /// How many levels a value may have.
    pub(super) levels: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `data`.
    pub fn new(data: &'a [u8]) -> Self {
        Self {
            data,
            pos: 0,
            levels: 0,
        }
    }

    /// Bytes from the start of the input.
    pub fn offset(&self) -> usize {
        self.pos
    }

    /// Whether everything has been read.
    pub fn at_end(&self) -> bool {
        self.pos >= self.data.len()
    }

    /// Fail unless everything has been read.
    pub fn finish(&self) -> Result<()> {
        if self.at_end() {
            Ok(())
        } else {
            self.error(CborErrorKind::TrailingBytes)
        }
    }

    /// The kind of the next item.
    pub fn peek_major(&self) -> Result<Major> {
        match self.peek() {
            Some(byte) => Ok(Major::of(byte)),
            None => self.error(CborErrorKind::UnexpectedEnd),
        }
    }

    /// A non-negative integer.
    pub fn uint(&mut self) -> Result<u64> {
        Ok(self
            .expect(Major::Unsigned, "a non-negative integer")?
            .argument)
    }

    /// An integer of 64 bits.
    pub fn int(&mut self) -> Result<i64> {
        let head = self.head()?;
        let Ok(n) = i64::try_from(head.argument) else {
            return head.error(CborErrorKind::OutOfRange);
        };
        match head.major {
            Major::Unsigned => Ok(n),
            Major::Negative => Ok(!n), // -1 - n
            found => head.error(CborErrorKind::Unexpected {
                wanted: "an integer",
                found,
            }),
        }
    }

    /// A byte string.
    pub fn bytes(&mut self) -> Result<&'a [u8]> {
        let head = self.expect(Major::Bytes, "a byte string")?;
        self.take(head)
    }

    /// A text string.
    pub fn text(&mut self) -> Result<&'a str> {
        let head = self.expect(Major::Text, "a text string")?;
        let bytes = self.take(head)?;
        std::str::from_utf8(bytes).or_else(|_| head.error(CborErrorKind::NotUtf8))
    }

    /// The start of an array; returns the number of items, never more than bytes are left.
    pub fn array(&mut self) -> Result<usize> {
        let head = self.expect(Major::Array, "an array")?;
        self.count(head, 1)
    }

    /// The start of a map; returns the number of pairs, never more than bytes are left for.
    pub fn map(&mut self) -> Result<usize> {
        let head = self.expect(Major::Map, "a map")?;
        self.count(head, 2)
    }

    /// A tag's number; its item follows.
    pub fn tag(&mut self) -> Result<u64> {
        Ok(self.expect(Major::Tag, "a tag")?.argument)
    }

    /// `true` or `false`.
    pub fn bool(&mut self) -> Result<bool> {
        match self.expect(Major::Simple, "a boolean")? {
            Head { byte: 0xf4, .. } => Ok(false),
            Head { byte: 0xf5, .. } => Ok(true),
            head => head.error(CborErrorKind::Unexpected {
                wanted: "a boolean",
                found: Major::Simple,
            }),
        }
    }

    /// `null`.
    pub fn null(&mut self) -> Result<()> {
        match self.expect(Major::Simple, "null")? {
            Head { byte: 0xf6, .. } => Ok(()),
            head => head.error(CborErrorKind::Unexpected {
                wanted: "null",
                found: Major::Simple,
            }),
        }
    }

    /// Skip the next item if it is `null`; tells whether it was.
    pub fn take_null(&mut self) -> bool {
        let is_null = self.peek() == Some(0xf6);
        self.pos += usize::from(is_null);
        is_null
    }

    /// A float.
    pub fn float(&mut self) -> Result<f64> {
        let head = self.expect(Major::Simple, "a float")?;
        match float_of(head) {
            Some(float) => Ok(float),
            None => head.error(CborErrorKind::Unexpected {
                wanted: "a float",
                found: Major::Simple,
            }),
        }
    }

    /// The bytes of one whole item, whatever it is, checked for structure only. It may have three
    /// levels for each that a value may have: that is how many a list takes.
    pub fn raw(&mut self) -> Result<&'a [u8]> {
        let start = self.pos;
        // Items still to come at each open level; None where a break ends it.
        let mut open: Vec<Option<u64>> = vec![Some(1)];
        while let Some(level) = open.last_mut() {
            match level {
                Some(0) => {
                    open.pop();
                    continue;
                }
                None if self.peek() == Some(BREAK) => {
                    self.pos += 1;
                    open.pop();
                    continue;
                }
                Some(left) => *left -= 1,
                None => {}
            }
            let head = self.head()?;
            if open.len() > MOST_OPEN {
                return head.error(CborErrorKind::TooDeep);
            }
            match head.major {
                Major::Bytes | Major::Text => drop(self.string(head)?),
                Major::Tag => open.push(Some(1)),
                Major::Array | Major::Map if head.is_indefinite() => open.push(None),
                Major::Array => open.push(Some(self.count(head, 1)? as u64)),
                Major::Map => open.push(Some(2 * self.count(head, 2)? as u64)),
                Major::Simple if head.byte == BREAK => {
                    return head.error(CborErrorKind::Malformed(BREAK));
                }
                Major::Unsigned | Major::Negative | Major::Simple => {}
            }
        }
        Ok(self.since(start))
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.data.get(self.pos).copied()
    }

    pub(super) fn remaining(&self) -> usize {
        self.data.len().saturating_sub(self.pos)
    }

    pub(super) fn since(&self, start: usize) -> &'a [u8] {
        self.data.get(start..self.pos).unwrap_or_default()
    }

    pub(super) fn error<T>(&self, kind: CborErrorKind) -> Result<T> {
        Err(CborError {
            offset: self.pos,
            kind,
        })
    }

    fn expect(&mut self, wanted: Major, name: &'static str) -> Result<Head> {
        let head = self.head()?;
        if head.major != wanted {
            return head.error(CborErrorKind::Unexpected {
                wanted: name,
                found: head.major,
            });
        }
        if head.is_indefinite() {
            return head.error(CborErrorKind::Malformed(head.byte));
        }
        Ok(head)
    }

    pub(super) fn head(&mut self) -> Result<Head> {
        let offset = self.pos;
        let Some(byte) = self.peek() else {
            return self.error(CborErrorKind::UnexpectedEnd);
        };
        let major = Major::of(byte);
        let fail = |kind| Err(CborError { offset, kind });
        self.pos += 1;
        let argument = match byte & 0x1f {
            info @ 0..=23 => u64::from(info),
            info @ 24..=27 => match self.big_endian(1 << (info - 24)) {
                Some(argument) => argument,
                None => return fail(CborErrorKind::UnexpectedEnd),
            },
            31 if !matches!(major, Major::Unsigned | Major::Negative | Major::Tag) => 0,
            _ => return fail(CborErrorKind::Malformed(byte)),
        };
        if byte == 0xf8 && argument < 32 {
            return fail(CborErrorKind::Malformed(byte));
        }
        Ok(Head {
            offset,
            byte,
            major,
            argument,
        })
    }

    fn big_endian(&mut self, length: usize) -> Option<u64> {
        let bytes = self.data.get(self.pos..self.pos + length)?;
        self.pos += length;
        Some(bytes.iter().fold(0, |n, byte| n << 8 | u64::from(*byte)))
    }

    /// The content of a definite string.
    fn take(&mut self, head: Head) -> Result<&'a [u8]> {
        let end = usize::try_from(head.argument)
            .ok()
            .and_then(|length| self.pos.checked_add(length));
        match end.and_then(|end| self.data.get(self.pos..end)) {
            Some(bytes) => {
                self.pos += bytes.len();
                Ok(bytes)
            }
            None => head.error(CborErrorKind::UnexpectedEnd),
        }
    }

    /// The content of a string, copied only if it comes in chunks.
    pub(super) fn string(&mut self, head: Head) -> Result<Cow<'a, [u8]>> {
        let checked = |head: Head, bytes: &'a [u8]| {
            if head.major == Major::Text && std::str::from_utf8(bytes).is_err() {
                return head.error(CborErrorKind::NotUtf8);
            }
            Ok(bytes)
        };
        if !head.is_indefinite() {
            return Ok(Cow::Borrowed(checked(head, self.take(head)?)?));
        }
        let mut whole = Vec::new();
        while self.peek() != Some(BREAK) {
            let chunk = self.head()?;
            if chunk.major != head.major || chunk.is_indefinite() {
                return chunk.error(CborErrorKind::Malformed(chunk.byte));
            }
            whole.extend_from_slice(checked(chunk, self.take(chunk)?)?);
        }
        self.pos += 1;
        Ok(Cow::Owned(whole))
    }

    /// How many items or pairs a definite array or map holds; each takes at least `least` bytes.
    pub(super) fn count(&self, head: Head, least: usize) -> Result<usize> {
        match usize::try_from(head.argument) {
            Ok(count) if count <= self.remaining() / least => Ok(count),
            _ => head.error(CborErrorKind::UnexpectedEnd),
        }
    }
}

pub(super) fn float_of(head: Head) -> Option<f64> {
    let float = match head.byte {
        0xf9 => from_half(head.argument as u16),
        0xfa => f64::from(f32::from_bits(head.argument as u32)),
        0xfb => f64::from_bits(head.argument),
        _ => return None,
    };
    Some(if float.is_nan() { f64::NAN } else { float })
}
