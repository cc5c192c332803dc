//! A record of the log: one write, or all writes of a batch.
//!
//! ```text
//! per write:
//!  0      1               3              7
//!  +------+---------------+--------------+---------+-------+
//!  | kind | address len   | bytes len    | address | bytes |
//!  | u8   | u16 LE        | u32 LE       |         |       |
//!  +------+---------------+--------------+---------+-------+
//! ```
//!
//! Kind 1 is a put; kind 2 a delete, whose bytes are empty; kind 3 a put whose blob stands in a
//! pack: its bytes are the pointer.

use super::pack::{POINTER, Pointer};

/// Bytes before the address.
const WRITE_HEADER: usize = 7;

const PUT: u8 = 1;
const DELETE: u8 = 2;
const POINT: u8 = 3;

/// A write as the log has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write<'a> {
    Put { address: &'a [u8], bytes: &'a [u8] },
    Delete { address: &'a [u8] },
    Point { address: &'a [u8], pointer: Pointer },
}

impl<'a> Write<'a> {
    pub fn address(&self) -> &'a [u8] {
        match *self {
            Self::Put { address, .. } | Self::Delete { address } | Self::Point { address, .. } => {
                address
            }
        }
    }

    /// What stands before the address.
    fn header(&self) -> [u8; WRITE_HEADER] {
        let address = self.address();
        let (kind, length) = match *self {
            Self::Put { bytes, .. } => (PUT, bytes.len()),
            Self::Delete { .. } => (DELETE, 0),
            Self::Point { .. } => (POINT, POINTER),
        };
        // Longer ones were refused before they came here.
        let [a, b] = u16::try_from(address.len())
            .unwrap_or(u16::MAX)
            .to_le_bytes();
        let [c, d, e, f] = u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
        [kind, a, b, c, d, e, f]
    }

    /// The write at the beginning of `record`, and what follows it.
    fn decode(record: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let ([kind, a, b, c, d, e, f], rest) = record.split_first_chunk::<WRITE_HEADER>()?;
        let length = usize::from(u16::from_le_bytes([*a, *b]));
        let (address, rest) = rest.split_at_checked(length)?;
        let length = usize::try_from(u32::from_le_bytes([*c, *d, *e, *f])).ok()?;
        let (bytes, rest) = rest.split_at_checked(length)?;
        match *kind {
            PUT => Some((Self::Put { address, bytes }, rest)),
            DELETE if bytes.is_empty() => Some((Self::Delete { address }, rest)),
            POINT => {
                let pointer = Pointer::decode(bytes)?;
                Some((Self::Point { address, pointer }, rest))
            }
            _ => None,
        }
    }
}

/// The record of some writes.
pub fn encode(writes: &[Write<'_>]) -> Vec<u8> {
    let mut record = Vec::new();
    for write in writes {
        record.extend_from_slice(&write.header());
        record.extend_from_slice(write.address());
        match write {
            Write::Put { bytes, .. } => record.extend_from_slice(bytes),
            Write::Delete { .. } => {}
            Write::Point { pointer, .. } => record.extend_from_slice(&pointer.encode()),
        }
    }
    record
}

/// The writes of a record, or `None` if it is not one.
pub fn decode(mut record: &[u8]) -> Option<Vec<Write<'_>>> {
    let mut writes = Vec::new();
    while !record.is_empty() {
        let (write, rest) = Write::decode(record)?;
        writes.push(write);
        record = rest;
    }
    Some(writes)
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]
mod tests {
    use super::*;

    #[test]
    fn writes_come_back() {
        let writes = [
            Write::Put {
                address: b"a",
                bytes: b"content",
            },
            Write::Delete {
                address: b"longer address",
            },
            Write::Put {
                address: &[7; 512],
                bytes: b"",
            },
            Write::Point {
                address: b"b",
                pointer: Pointer {
                    pack: 1,
                    offset: 64,
                    length: 9000,
                    check: 5,
                },
            },
        ];
        let record = encode(&writes);
        assert_eq!(record[..15], *b"\x01\x01\0\x07\0\0\0acontent");
        assert_eq!(decode(&record).unwrap(), writes);
        assert_eq!(decode(b"").unwrap(), []);
        for length in 1..record.len() {
            assert_ne!(decode(&record[..length]).as_deref(), Some(&writes[..]));
        }
        assert_eq!(decode(b"\x03\x01\0\0\0\0\0a"), None);
        assert_eq!(decode(b"\x04\x01\0\0\0\0\0a"), None);
    }
}
