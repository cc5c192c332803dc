//! Where the file of an address is.
//!
//! ```text
//! blobs/72/a4/e8000000…     the address in base32 (RFC 4648's "extended hex", lower case)
//!       |  |
//!       |  first byte of the address's BLAKE3: spreads the files evenly
//!       first byte of the address: a list looks only where its prefix can be
//!
//! blobs/72/0f/e80j…(192 characters).8f0c…(32 hex digits)
//!                 of addresses above 150 bytes: the first 120 bytes, and BLAKE3 of the whole
//! ```
//!
//! No two addresses have one name, not even where upper and lower case are the same, and no name
//! is longer than 241 bytes. Names sort as their addresses do. The whole address also stands in
//! the file.

use std::path::{Path, PathBuf};

/// The directory below which all blobs are.
pub const BLOBS: &str = "blobs";

/// The longest address that stands whole in its name.
const WHOLE: usize = 150;
/// How much of a longer one does: a multiple of five bytes, which are eight digits.
const BEGINNING: usize = 120;

const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";

/// What a file's name says of its blob's address.
#[derive(Debug, PartialEq, Eq)]
pub enum Named {
    /// All of it.
    Whole(Vec<u8>),
    /// The beginning: the rest stands in the file.
    Beginning(Vec<u8>),
}

/// The directories of an address's file, and its name.
#[derive(Debug)]
pub struct Place {
    pub group: String,
    pub fan: String,
    pub name: String,
}

impl Place {
    pub fn of(address: &[u8]) -> Self {
        let hash = blake3::hash(address);
        let first = |bytes: &[u8]| format!("{:02x}", bytes.first().copied().unwrap_or(0));
        let name = match address.get(..BEGINNING) {
            Some(beginning) if address.len() > WHOLE => {
                let digits: String = hash.to_hex().chars().take(32).collect();
                format!("{}.{digits}", encode(beginning))
            }
            _ => encode(address),
        };
        Self {
            group: first(address),
            fan: first(hash.as_bytes()),
            name,
        }
    }

    /// The directory of the file.
    pub fn dir(&self, root: &Path) -> PathBuf {
        root.join(BLOBS).join(&self.group).join(&self.fan)
    }

    pub fn path(&self, root: &Path) -> PathBuf {
        self.dir(root).join(&self.name)
    }
}

/// Reads a file's name; `None` if it is not one that an address has.
pub fn parse(name: &str) -> Option<Named> {
    match name.split_once('.') {
        None => {
            let address = decode(name)?;
            (!address.is_empty() && address.len() <= WHOLE).then_some(Named::Whole(address))
        }
        Some((beginning, hash)) => {
            let beginning = decode(beginning)?;
            let is_hash = hash.len() == 32 && hash.bytes().all(|b| b.is_ascii_hexdigit());
            (beginning.len() == BEGINNING && is_hash).then_some(Named::Beginning(beginning))
        }
    }
}

fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 8 / 5 + 1);
    let (mut value, mut bits) = (0_u32, 0);
    for byte in bytes {
        value = (value << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(digit(value >> bits));
        }
        value &= (1 << bits) - 1;
    }
    if bits > 0 {
        text.push(digit(value << (5 - bits)));
    }
    text
}

fn digit(value: u32) -> char {
    let digit = DIGITS.get((value & 31) as usize).copied();
    char::from(digit.unwrap_or(b'0'))
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 5 / 8);
    let (mut value, mut bits) = (0_u32, 0);
    for digit in text.bytes() {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'v' => digit - b'a' + 10,
            _ => return None,
        };
        value = (value << 5) | u32::from(digit);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(value >> bits).ok()?);
            value &= (1 << bits) - 1;
        }
    }
    // What is left over is less than a digit, and zero.
    (bits < 5 && value == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> Vec<Vec<u8>> {
        let mut all = vec![
            b"a".to_vec(),
            b"A".to_vec(),
            b"a\0".to_vec(),
            b"a\xFF".to_vec(),
            b"b".to_vec(),
            vec![0],
            vec![0xFF; 2],
        ];
        for length in [119, 120, 121, 149, 150, 151, 152, 511, 512] {
            all.push(vec![b'r'; length]);
            all.push([vec![b'r'; length - 1], vec![b's']].concat());
        }
        all.sort();
        all
    }

    #[test]
    fn no_two_addresses_have_one_place_whatever_the_case() {
        let mut places: Vec<PathBuf> = addresses()
            .iter()
            .map(|address| Place::of(address).path(Path::new("")))
            .collect();
        for path in &places {
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(name.len() <= 255);
            assert_eq!(
                path.to_str().unwrap().to_lowercase(),
                path.to_str().unwrap()
            );
        }
        places.sort();
        places.dedup();
        assert_eq!(places.len(), addresses().len());
    }

    #[test]
    fn a_name_says_the_address() {
        for address in addresses() {
            let expected = if address.len() <= WHOLE {
                Named::Whole(address.clone())
            } else {
                Named::Beginning(address[..BEGINNING].to_vec())
            };
            assert_eq!(parse(&Place::of(&address).name), Some(expected));
        }
        for foreign in [
            "",
            "0",
            "xyz",
            "C4",
            "c5",
            "c4.00",
            "c400001",
            "a b",
            "lost+found",
        ] {
            assert_eq!(parse(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn names_sort_as_addresses_do() {
        let whole: Vec<Vec<u8>> = addresses()
            .into_iter()
            .filter(|address| address.len() <= WHOLE)
            .collect();
        let names: Vec<String> = whole.iter().map(|a| Place::of(a).name).collect();
        let mut sorted = names.clone();
        sorted.sort();
        assert_eq!(sorted, names);
    }
}
