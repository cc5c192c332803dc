//! Where a blob stands, as bytes; drawn in the [module above](super).

/// Bytes of a pointer.
pub const POINTER: usize = 28;

/// Where a blob stands in the packs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pointer {
    /// The pack's number.
    pub pack: u64,
    /// Where in its file, in bytes.
    pub offset: u64,
    /// How many bytes.
    pub length: u32,
    /// XXH3 of the blob.
    pub check: u64,
}

impl Pointer {
    /// Where the blob ends in the pack.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(u64::from(self.length))
    }

    pub fn encode(&self) -> [u8; POINTER] {
        let mut bytes = [0; POINTER];
        let (pack, rest) = bytes.split_at_mut(8);
        let (offset, rest) = rest.split_at_mut(8);
        let (length, check) = rest.split_at_mut(4);
        pack.copy_from_slice(&self.pack.to_le_bytes());
        offset.copy_from_slice(&self.offset.to_le_bytes());
        length.copy_from_slice(&self.length.to_le_bytes());
        check.copy_from_slice(&self.check.to_le_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (pack, rest) = bytes.split_first_chunk()?;
        let (offset, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (check, rest) = rest.split_first_chunk()?;
        rest.is_empty().then_some(Self {
            pack: u64::from_le_bytes(*pack),
            offset: u64::from_le_bytes(*offset),
            length: u32::from_le_bytes(*length),
            check: u64::from_le_bytes(*check),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_comes_back() {
        let pointer = Pointer {
            pack: 0x0102_0304_0506_0708,
            offset: 0x1112_1314_1516_1718,
            length: 0x2122_2324,
            check: 0x3132_3334_3536_3738,
        };
        let bytes = pointer.encode();
        assert_eq!(bytes[..9], [8, 7, 6, 5, 4, 3, 2, 1, 0x18]);
        assert_eq!(Pointer::decode(&bytes), Some(pointer));
        assert_eq!(Pointer::decode(&bytes[..27]), None);
        assert_eq!(Pointer::decode(&[&bytes[..], &[0]].concat()), None);
    }
}
