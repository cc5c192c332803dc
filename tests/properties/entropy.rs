//! Values, texts and paths made from random bytes.
//!
//! Fewer and smaller bytes make simpler things, so that proptest's shrinking of the bytes shrinks
//! what is made from them; and making 100 000 of them takes a second or two.

use konserve_fs::value::{Instant, Key, Value};
use num_bigint::{BigInt, Sign};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// A supply of random bytes; zeros once they are used up.
pub struct Entropy<'a>(&'a [u8]);

/// Bytes for an [`Entropy`].
pub fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..96)
}

/// A value of any kind, odd ones included.
pub fn value() -> impl Strategy<Value = Value> {
    bytes().prop_map(|bytes| Entropy::new(&bytes).value())
}

/// A text made of pieces that mean something in one notation or another.
pub fn text() -> impl Strategy<Value = String> {
    bytes().prop_map(|bytes| Entropy::new(&bytes).text())
}

/// Pieces that mean something in EDN, JSON, names of files, or CBOR tags.
const PIECES: &[&str] = &[
    "a",
    "b",
    "/",
    ":",
    "%",
    ".",
    "..",
    "0",
    "1",
    "7",
    "-",
    "+",
    "#",
    "\"",
    "\\",
    " ",
    "\n",
    "\r",
    "\t",
    "\0",
    "é",
    "😀",
    "\u{feff}",
    "\u{301}",
    "\u{a0}",
    "\u{2028}",
    "%s",
    "%i",
    "%e",
    "%b",
    "%u",
    "%h",
    "%2F",
    "%25",
    "nil",
    "true",
    "N",
    "M",
    "e",
    "E",
    "kfs/",
    "cbor/",
    "cbor/simple",
    "cbor/27",
    "cbor/258",
    "list",
    "tagged",
    "char",
    "symbol",
    "inst",
    "uuid",
    "bytes",
    "$kw",
    "$map",
    "_",
    "*",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "#{",
    "#_",
    "##",
    ";",
    ",",
    "'",
    "@",
    "^",
    "\u{7f}",
    "1970-01-01T00:00:00Z",
    ".kfs",
    "x",
];

impl<'a> Entropy<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((byte, rest)) => {
                self.0 = rest;
                *byte
            }
            None => 0,
        }
    }

    pub fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n
    }

    fn word(&mut self) -> u64 {
        (0..8).fold(0, |word, _| word << 8 | u64::from(self.byte()))
    }

    fn chunk(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most + 1)).map(|_| self.byte()).collect()
    }

    pub fn text(&mut self) -> String {
        (0..self.below(5)).map(|_| self.piece()).collect()
    }

    fn piece(&mut self) -> String {
        match self.byte() {
            byte @ 0..200 => PIECES[usize::from(byte) % PIECES.len()].to_owned(),
            _ => self.char().to_string(),
        }
    }

    fn char(&mut self) -> char {
        let bits = match self.below(3) {
            0 => u32::from(self.byte()),
            1 => (self.word() >> 48) as u32,
            _ => (self.word() >> 43) as u32,
        };
        char::from_u32(bits).unwrap_or('\u{fffd}')
    }

    fn int(&mut self) -> i64 {
        match self.below(4) {
            0 => i64::from(self.byte() as i8),
            1 => self.word() as i64,
            2 => i64::MIN + i64::from(self.byte()),
            _ => i64::MAX - i64::from(self.byte()),
        }
    }

    fn big(&mut self) -> BigInt {
        let sign = if self.below(2) == 0 {
            Sign::Plus
        } else {
            Sign::Minus
        };
        let low = self.chunk(4);
        BigInt::from_bytes_be(sign, &low) << (8 * self.below(20)) | BigInt::from(self.byte())
    }

    fn float(&mut self) -> f64 {
        match self.below(8) {
            0 => f64::from(self.byte() as i8),
            1 => f64::from(self.byte()) / 4.0,
            2 => f64::from(f32::from_bits((self.word() >> 32) as u32)),
            3 => [
                f64::NAN,
                -f64::NAN,
                f64::INFINITY,
                f64::NEG_INFINITY,
                -0.0,
                f64::MIN_POSITIVE,
                f64::MAX,
            ][self.below(7)],
            4 => 10f64.powi(i32::from(self.byte() as i8)),
            5 => 2f64.powi(i32::from(self.byte() as i8)),
            _ => f64::from_bits(self.word()),
        }
    }

    pub fn key(&mut self) -> Key {
        match self.below(4) {
            0 => Key::text(&self.text()),
            1 => Key::index(self.word() >> (8 * self.below(8))),
            _ => Key::new(&self.value()),
        }
    }

    /// A scalar, or a collection of what the rest of the bytes make.
    pub fn value(&mut self) -> Value {
        match self.byte() % 32 {
            0 => Value::Nil,
            1 => Value::Bool(self.byte() % 2 == 1),
            2 | 3 => Value::Int(self.int()),
            4 => Value::integer(self.big()),
            5 => Value::BigInt(Box::new(self.big())), // one that fits 64 bits included
            6 | 7 => Value::Float(self.float()),
            8 | 9 => Value::Text(self.text()),
            10 => Value::Bytes(self.chunk(20)),
            11 => Value::Keyword(self.text()),
            12 => Value::Symbol(self.text()),
            13 => Value::Char(self.char()),
            14 => Value::ratio(self.big(), self.big()).unwrap_or(Value::Nil),
            15 => Value::decimal(self.big(), self.int() as i32 >> (8 * self.below(4))),
            16 => Value::Uuid(uuid::Uuid::from_u64_pair(self.word(), self.word())),
            17 => {
                let seconds = self.int() >> (8 * self.below(8));
                Value::Instant(
                    Instant::new(seconds, (self.word() >> 32) as u32 % 1_000_000_000).unwrap(),
                )
            }
            18..=20 => Value::Vector(self.values()),
            21 => Value::List(self.values()),
            22..=25 => {
                let count = self.below(6);
                Value::Map(
                    (0..count)
                        .map(|_| (self.key(), self.value()))
                        .collect::<BTreeMap<_, _>>(),
                )
            }
            26 | 27 => {
                let count = self.below(6);
                Value::Set((0..count).map(|_| self.key()).collect::<BTreeSet<_>>())
            }
            28 => Value::Tagged(format!("cbor/{}", self.below(48)), Box::new(self.value())),
            _ => Value::Tagged(self.text(), Box::new(self.value())),
        }
    }

    fn values(&mut self) -> Vec<Value> {
        (0..self.below(6)).map(|_| self.value()).collect()
    }

    /// A path that follows what is in `value` most of the way, and may leave it.
    pub fn path(&mut self, value: &Value) -> Vec<Key> {
        let mut path = Vec::new();
        let mut here = Some(value);
        for _ in 0..self.below(5) {
            let stray = self.below(4) == 0;
            let key = match here {
                Some(Value::Map(map)) if !map.is_empty() && !stray => {
                    map.keys().nth(self.below(map.len())).unwrap().clone()
                }
                Some(Value::Vector(elements)) if !stray => {
                    Key::index(self.below(elements.len() + 1) as u64)
                }
                _ => self.key(),
            };
            here = match here {
                Some(Value::Map(map)) => map.get(&key),
                Some(Value::Vector(elements)) => key
                    .as_index()
                    .and_then(|index| elements.get(index as usize)),
                _ => None,
            };
            path.push(key);
        }
        path
    }

    /// The bytes with a few of them changed, dropped or added.
    pub fn damage(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        for _ in 0..=self.below(3) {
            let place = self.below(bytes.len() + 1);
            match self.below(4) {
                0 => bytes.truncate(place),
                1 => bytes.insert(place, self.byte()),
                _ if place == bytes.len() => {}
                2 => bytes[place] = self.byte(),
                _ => bytes[place] ^= 1 << self.below(8),
            }
        }
        bytes
    }
}
