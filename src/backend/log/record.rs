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
//! Kind 1 is a put; kind 2 a delete, whose bytes are empty.

use crate::backend::BatchOp;

/// Bytes before the address.
pub const WRITE_HEADER: usize = 7;

const PUT: u8 = 1;
const DELETE: u8 = 2;

/// A write as the log has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write<'a> {
    Put { address: &'a [u8], bytes: &'a [u8] },
    Delete { address: &'a [u8] },
}

impl<'a> Write<'a> {
    /// What stands before the address.
    pub fn header(&self) -> [u8; WRITE_HEADER] {
        let (kind, address, bytes) = match *self {
            Self::Put { address, bytes } => (PUT, address, bytes),
            Self::Delete { address } => (DELETE, address, &[][..]),
        };
        // Longer ones were refused before they came here.
        let [a, b] = u16::try_from(address.len())
            .unwrap_or(u16::MAX)
            .to_le_bytes();
        let [c, d, e, f] = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
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
            _ => None,
        }
    }
}

impl<'a> From<&'a BatchOp> for Write<'a> {
    fn from(op: &'a BatchOp) -> Self {
        match op {
            BatchOp::Put { address, bytes, .. } => Self::Put { address, bytes },
            BatchOp::Delete { address, .. } => Self::Delete { address },
        }
    }
}

/// The record of several writes.
pub fn encode(writes: &[Write<'_>]) -> Vec<u8> {
    let mut record = Vec::new();
    for write in writes {
        record.extend_from_slice(&write.header());
        match write {
            Write::Put { address, bytes } => {
                record.extend_from_slice(address);
                record.extend_from_slice(bytes);
            }
            Write::Delete { address } => record.extend_from_slice(address),
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
        ];
        let record = encode(&writes);
        assert_eq!(record[..15], *b"\x01\x01\0\x07\0\0\0acontent");
        assert_eq!(decode(&record).unwrap(), writes);
        assert_eq!(decode(b"").unwrap(), []);
        for length in 1..record.len() {
            assert_ne!(decode(&record[..length]).as_deref(), Some(&writes[..]));
        }
        assert_eq!(decode(b"\x03\x01\0\0\0\0\0a"), None);
    }
}
