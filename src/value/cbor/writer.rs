//! Writing CBOR items one by one, each in its shortest form.

use super::float::to_half;
use crate::value::Value;

/// Appends CBOR items to a buffer. Arrays, maps and tags announce what follows; keeping the
/// count, and the keys of a map in order, is the caller's part.
#[derive(Debug)]
pub struct Writer<'a> {
    pub(super) out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    /// A writer that appends to `out`.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// A non-negative integer.
    pub fn uint(&mut self, n: u64) -> &mut Self {
        self.head(0, n)
    }

    /// An integer.
    pub fn int(&mut self, n: i64) -> &mut Self {
        match u64::try_from(n) {
            Ok(n) => self.head(0, n),
            Err(_) => self.head(1, !n as u64), // -1 - n
        }
    }

    /// A byte string.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.head(2, bytes.len() as u64);
        self.out.extend_from_slice(bytes);
        self
    }

    /// A text string.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.head(3, text.len() as u64);
        self.out.extend_from_slice(text.as_bytes());
        self
    }

    /// The start of an array of `n` items.
    pub fn array(&mut self, n: usize) -> &mut Self {
        self.head(4, n as u64)
    }

    /// The start of a map of `n` pairs.
    pub fn map(&mut self, n: usize) -> &mut Self {
        self.head(5, n as u64)
    }

    /// A tag for the next item.
    pub fn tag(&mut self, number: u64) -> &mut Self {
        self.head(6, number)
    }

    /// `true` or `false`.
    pub fn bool(&mut self, bool: bool) -> &mut Self {
        self.simple(if bool { 21 } else { 20 })
    }

    /// `null`.
    pub fn null(&mut self) -> &mut Self {
        self.simple(22)
    }

    /// A float in the shortest form that keeps it; every NaN becomes the one NaN.
    pub fn float(&mut self, float: f64) -> &mut Self {
        let single = float as f32;
        if float.is_nan() {
            self.out.extend_from_slice(&[0xf9, 0x7e, 0x00]);
        } else if let Some(half) = to_half(float) {
            self.out.push(0xf9);
            self.out.extend_from_slice(&half.to_be_bytes());
        } else if f64::from(single) == float {
            self.out.push(0xfa);
            self.out.extend_from_slice(&single.to_be_bytes());
        } else {
            self.out.push(0xfb);
            self.out.extend_from_slice(&float.to_be_bytes());
        }
        self
    }

    /// A whole value.
    pub fn value(&mut self, value: &Value) -> &mut Self {
        super::encode::write_value(self, value);
        self
    }

    /// An item that is encoded already.
    pub fn raw(&mut self, item: &[u8]) -> &mut Self {
        self.out.extend_from_slice(item);
        self
    }

    /// The integer `-1 - n`.
    pub(super) fn negative(&mut self, n: u64) -> &mut Self {
        self.head(1, n)
    }

    pub(super) fn simple(&mut self, number: u8) -> &mut Self {
        self.head(7, u64::from(number))
    }

    fn head(&mut self, major: u8, argument: u64) -> &mut Self {
        let major = major << 5;
        if let Ok(byte) = u8::try_from(argument) {
            if byte < 24 {
                self.out.push(major | byte);
            } else {
                self.out.extend_from_slice(&[major | 24, byte]);
            }
        } else if let Ok(short) = u16::try_from(argument) {
            self.out.push(major | 25);
            self.out.extend_from_slice(&short.to_be_bytes());
        } else if let Ok(word) = u32::try_from(argument) {
            self.out.push(major | 26);
            self.out.extend_from_slice(&word.to_be_bytes());
        } else {
            self.out.push(major | 27);
            self.out.extend_from_slice(&argument.to_be_bytes());
        }
        self
    }
}
