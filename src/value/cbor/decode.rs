//! Values from any valid CBOR.

use super::encode::CBOR_SIMPLE;
use super::error::{CborError, CborErrorKind, Result};
use super::reader::{BREAK, Head, Major, Reader, float_of};
use super::{KEY_LEVELS, MAX_DEPTH, tag};
use crate::value::{Instant, Key, Value, stack};
use num_bigint::{BigInt, Sign};
use num_traits::{Signed as _, ToPrimitive as _};
use std::collections::{BTreeMap, BTreeSet};

/// The value that `bytes`, exactly, encode.
pub fn decode(bytes: &[u8]) -> Result<Value> {
    let mut reader = Reader::new(bytes);
    let value = reader.value()?;
    reader.finish()?;
    Ok(value)
}

/// Fail with [`CborErrorKind::TooDeep`] if the value could be encoded but not decoded again.
pub fn check_depth(value: &Value) -> Result<()> {
    if fits(value, 0) {
        Ok(())
    } else {
        Err(CborError {
            offset: 0,
            kind: CborErrorKind::TooDeep,
        })
    }
}

fn fits(value: &Value, level: usize) -> bool {
    let key_fits = |key: &Key| {
        key.is_scalar() || decode(key.bytes()).is_ok_and(|value| fits(&value, level + KEY_LEVELS))
    };
    match value {
        Value::Vector(elements) | Value::List(elements) => {
            level < MAX_DEPTH && elements.iter().all(|element| fits(element, level + 1))
        }
        Value::Tagged(_, value) => level < MAX_DEPTH && fits(value, level + 1),
        Value::Map(map) => {
            level < MAX_DEPTH
                && map
                    .iter()
                    .all(|(key, value)| key_fits(key) && fits(value, level + 1))
        }
        Value::Set(set) => level < MAX_DEPTH && set.iter().all(key_fits),
        _ => true,
    }
}

/// Room to reserve for `count` items: a count is only a promise until they have been read.
fn reserve(count: usize) -> usize {
    count.min(1024)
}

impl Reader<'_> {
    /// A whole value.
    pub fn value(&mut self) -> Result<Value> {
        let start = self.pos;
        let read = |levels| {
            self.pos = start;
            self.levels = levels;
            self.item(0)
        };
        stack::read(MAX_DEPTH, read, |error| {
            error.kind == CborErrorKind::TooDeep
        })
    }

    fn item(&mut self, level: usize) -> Result<Value> {
        let head = self.head()?;
        match head.major {
            Major::Unsigned => Ok(match i64::try_from(head.argument) {
                Ok(n) => Value::Int(n),
                Err(_) => Value::BigInt(Box::new(head.argument.into())),
            }),
            Major::Negative => Ok(match i64::try_from(head.argument) {
                Ok(n) => Value::Int(!n),
                Err(_) => Value::BigInt(Box::new(-1i32 - BigInt::from(head.argument))),
            }),
            Major::Bytes => Ok(Value::Bytes(self.string(head)?.into_owned())),
            Major::Text => self.owned_text(head).map(Value::Text),
            Major::Array => self.elements(head, level).map(Value::Vector),
            Major::Map => self.entries(head, level),
            Major::Tag => self.tagged(head, level),
            Major::Simple => simple(head),
        }
    }

    fn owned_text(&mut self, head: Head) -> Result<String> {
        String::from_utf8(self.string(head)?.into_owned())
            .or_else(|_| head.error(CborErrorKind::NotUtf8))
    }

    /// Whether one more item follows in a container of `count` items, or of unknown length.
    fn more(&mut self, done: usize, count: Option<usize>) -> bool {
        match count {
            Some(count) => done < count,
            None if self.peek() == Some(BREAK) => {
                self.pos += 1;
                false
            }
            None => true,
        }
    }

    fn opening(&self, head: Head, level: usize, least: usize) -> Result<Option<usize>> {
        if level >= self.levels {
            return head.error(CborErrorKind::TooDeep);
        }
        if head.is_indefinite() {
            Ok(None)
        } else {
            self.count(head, least).map(Some)
        }
    }

    fn elements(&mut self, head: Head, level: usize) -> Result<Vec<Value>> {
        let count = self.opening(head, level, 1)?;
        let mut elements = Vec::with_capacity(reserve(count.unwrap_or(0)));
        while self.more(elements.len(), count) {
            elements.push(self.item(level + 1)?);
        }
        Ok(elements)
    }

    fn entries(&mut self, head: Head, level: usize) -> Result<Value> {
        let count = self.opening(head, level, 2)?;
        let mut entries = Vec::with_capacity(reserve(count.unwrap_or(0)));
        while self.more(entries.len(), count) {
            entries.push((self.key(level)?, self.item(level + 1)?));
        }
        let given = entries.len();
        let map = BTreeMap::from_iter(entries);
        if map.len() < given {
            head.error(CborErrorKind::DuplicateKey)
        } else {
            Ok(Value::Map(map))
        }
    }

    fn set(&mut self, head: Head, level: usize) -> Result<Value> {
        let count = self.opening(head, level, 1)?;
        let mut elements = Vec::with_capacity(reserve(count.unwrap_or(0)));
        while self.more(elements.len(), count) {
            elements.push(self.key(level)?);
        }
        let given = elements.len();
        let set = BTreeSet::from_iter(elements);
        if set.len() < given {
            head.error(CborErrorKind::DuplicateElement)
        } else {
            Ok(Value::Set(set))
        }
    }

    fn key(&mut self, level: usize) -> Result<Key> {
        let start = self.pos;
        // Nearly every key is a text; one in shortest form is canonical as it stands.
        if self
            .peek()
            .is_some_and(|byte| (0x60..=0x77).contains(&byte))
        {
            self.text()?;
            return Ok(Key::from_canonical(self.since(start)));
        }
        Ok(Key::new(&self.item(level + KEY_LEVELS)?))
    }

    fn tagged(&mut self, head: Head, level: usize) -> Result<Value> {
        let (number, start) = (head.argument, self.pos);
        if let Some(value) = self.typed_scalar(number) {
            return Ok(value);
        }
        self.pos = start;
        if level >= self.levels {
            return head.error(CborErrorKind::TooDeep);
        }
        if number == tag::SET && self.peek_major()? == Major::Array {
            let array = self.head()?;
            return self.set(array, level);
        }
        if number == tag::OBJECT
            && let Some(object) = self.object(level)?
        {
            return Ok(object);
        }
        self.pos = start;
        Ok(Value::Tagged(
            format!("cbor/{number}"),
            Box::new(self.item(level + 1)?),
        ))
    }

    /// What tag `number` and the scalars (or pair of integers) here stand for together, if
    /// anything. Reads nothing nested, so that trying it first costs no more than a second look.
    pub(super) fn typed_scalar(&mut self, number: u64) -> Option<Value> {
        match number {
            tag::TIME_TEXT => {
                let head = self.text_head()?;
                Instant::parse(&self.owned_text(head).ok()?).map(Value::Instant)
            }
            tag::EPOCH => self.epoch(),
            tag::BIGNUM | tag::NEGATIVE_BIGNUM => self.bignum(number).map(Value::integer),
            tag::DECIMAL => {
                self.pair()?;
                let exponent = self.integer()?.to_i64()?;
                Some(Value::decimal(
                    self.integer()?,
                    i32::try_from(exponent.checked_neg()?).ok()?,
                ))
            }
            tag::RATIONAL => {
                self.pair()?;
                let (numerator, denominator) = (self.integer()?, self.integer()?);
                if denominator.is_positive() {
                    Value::ratio(numerator, denominator)
                } else {
                    None
                }
            }
            tag::UUID => {
                let head = self.head().ok().filter(|head| head.major == Major::Bytes)?;
                uuid::Uuid::from_slice(&self.string(head).ok()?)
                    .ok()
                    .map(Value::Uuid)
            }
            tag::IDENTIFIER => {
                let head = self.text_head()?;
                let text = self.owned_text(head).ok()?;
                Some(match text.strip_prefix(':') {
                    Some(keyword) => Value::Keyword(keyword.to_owned()),
                    None => Value::Symbol(text),
                })
            }
            tag::EXTENDED_TIME => self.extended_time(),
            _ => None,
        }
    }

    fn text_head(&mut self) -> Option<Head> {
        self.head().ok().filter(|head| head.major == Major::Text)
    }

    fn pair(&mut self) -> Option<()> {
        (self.array().ok()? == 2).then_some(())
    }

    fn bignum(&mut self, number: u64) -> Option<BigInt> {
        let head = self.head().ok().filter(|head| head.major == Major::Bytes)?;
        let magnitude = BigInt::from_bytes_be(Sign::Plus, &self.string(head).ok()?);
        Some(if number == tag::BIGNUM {
            magnitude
        } else {
            -1i32 - magnitude
        })
    }

    fn integer(&mut self) -> Option<BigInt> {
        let head = self.head().ok()?;
        match head.major {
            Major::Unsigned => Some(head.argument.into()),
            Major::Negative => Some(-1i32 - BigInt::from(head.argument)),
            Major::Tag if matches!(head.argument, tag::BIGNUM | tag::NEGATIVE_BIGNUM) => {
                self.bignum(head.argument)
            }
            _ => None,
        }
    }

    fn epoch(&mut self) -> Option<Value> {
        let instant = match self.peek_major().ok()? {
            Major::Simple => Instant::from_seconds_f64(self.float().ok()?),
            _ => Instant::new(self.int().ok()?, 0),
        };
        instant.map(Value::Instant)
    }

    /// Seconds (key 1) and at most one fraction, in 10^-3, 10^-6 or 10^-9 (RFC 9581).
    fn extended_time(&mut self) -> Option<Value> {
        let count = self.map().ok().filter(|count| *count <= 2)?;
        let (mut seconds, mut nanos) = (None, None);
        for _ in 0..count {
            let (key, n) = (self.int().ok()?, self.int().ok()?);
            let unit = match key {
                1 if seconds.is_none() => {
                    seconds = Some(n);
                    continue;
                }
                -3 => 1_000_000,
                -6 => 1_000,
                -9 => 1,
                _ => return None,
            };
            if nanos.replace(n.checked_mul(unit)?).is_some() {
                return None;
            }
        }
        Instant::new(seconds?, u32::try_from(nanos.unwrap_or(0)).ok()?).map(Value::Instant)
    }

    /// Tag 27 of an array of a name and one value; `None` if something else stands here.
    fn object(&mut self, level: usize) -> Result<Option<Value>> {
        let head = self.head()?;
        if head.major != Major::Array || !(head.is_indefinite() || head.argument == 2) {
            return Ok(None);
        }
        let Some(name) = self.text_head() else {
            return Ok(None);
        };
        let name = self.owned_text(name)?;
        // The array within a list is the list: it counts for no level of its own.
        let within =
            matches!(name.as_str(), "list" | "tagged") && self.peek_major()? == Major::Array;
        let value = self.item(if within { level } else { level + 1 })?;
        if head.is_indefinite() && self.more(2, None) {
            let mut elements = vec![Value::Text(name), value];
            while self.more(elements.len(), None) {
                elements.push(self.item(level + 2)?);
            }
            return Ok(Some(Value::Tagged(
                format!("cbor/{}", tag::OBJECT),
                Box::new(Value::Vector(elements)),
            )));
        }
        Ok(Some(named(name, value)))
    }
}

fn named(name: String, value: Value) -> Value {
    match (name.as_str(), value) {
        ("list", Value::Vector(elements)) => Value::List(elements),
        ("symbol", Value::Text(name)) => Value::Symbol(name),
        ("char", Value::Text(text)) => {
            let mut chars = text.chars();
            match (chars.next(), chars.next()) {
                (Some(c), None) => Value::Char(c),
                _ => Value::Tagged(name, Box::new(Value::Text(text))),
            }
        }
        ("tagged", Value::Vector(elements)) => match <[Value; 2]>::try_from(elements) {
            Ok([Value::Text(tag), value]) => Value::Tagged(tag, Box::new(value)),
            Ok(pair) => Value::Tagged(name, Box::new(Value::Vector(pair.into()))),
            Err(elements) => Value::Tagged(name, Box::new(Value::Vector(elements))),
        },
        (_, value) => Value::Tagged(name, Box::new(value)),
    }
}

fn simple(head: Head) -> Result<Value> {
    match head.byte {
        0xf4 => Ok(Value::Bool(false)),
        0xf5 => Ok(Value::Bool(true)),
        0xf6 => Ok(Value::Nil),
        BREAK => head.error(CborErrorKind::Malformed(BREAK)),
        _ => Ok(match float_of(head) {
            Some(float) => Value::Float(float),
            None => Value::Tagged(
                CBOR_SIMPLE.to_owned(),
                Box::new(Value::Int(head.argument as i64)),
            ),
        }),
    }
}
