//! JSON text to values.

use super::RESERVED;
use crate::value::cbor::{KEY_LEVELS, MAX_DEPTH};
use crate::value::text::{
    Cursor, TextError, parse_decimal_text, parse_instant_text, parse_integer_text,
    parse_ratio_text, read_string, unhex,
};
use crate::value::{Key, Value, stack};
use std::collections::{BTreeMap, BTreeSet};

type Result<T> = std::result::Result<T, TextError>;

/// The one value in `text`.
pub fn parse(text: &str) -> Result<Value> {
    let read = |levels| parse_within(text, levels);
    stack::read(MAX_DEPTH, read, TextError::is_too_deep)
}

fn parse_within(text: &str, levels: usize) -> Result<Value> {
    let mut reader = Reader {
        at: Cursor::new(text),
        levels,
    };
    let value = reader.value(0)?;
    reader.skip_blank();
    match reader.at.peek() {
        None => Ok(value),
        Some(_) => reader
            .at
            .error("one value only: there is more after its end"),
    }
}

struct Reader<'a> {
    at: Cursor<'a>,
    /// How many levels the value may have.
    levels: usize,
}

/// An array or object being read.
struct Open {
    offset: usize,
    close: &'static str,
    items: usize,
}

impl<'a> Reader<'a> {
    fn skip_blank(&mut self) {
        self.at
            .take_while(|c| matches!(c, ' ' | '\t' | '\n' | '\r'));
    }

    /// Skip to the next item, and tell where it is.
    fn offset(&mut self) -> usize {
        self.skip_blank();
        self.at.offset()
    }

    fn value(&mut self, level: usize) -> Result<Value> {
        let offset = self.offset();
        match self.at.peek() {
            None => self.at.error("a value is missing here"),
            Some('"') => self.string().map(Value::Text),
            Some('[') => self.elements(level).map(Value::Vector),
            Some('{') => self.object(level),
            Some(_) => {
                let token = self
                    .at
                    .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
                atom(token).or_else(|message| self.at.error_at(offset, message))
            }
        }
    }

    fn string(&mut self) -> Result<String> {
        self.expect("\"")?;
        read_string(&mut self.at, false)
    }

    fn expect(&mut self, wanted: &str) -> Result<()> {
        self.skip_blank();
        if self.at.eat(wanted) {
            Ok(())
        } else {
            self.at.error(format!("{wanted} is missing here"))
        }
    }

    fn check_level(&self, level: usize) -> Result<()> {
        if level < self.levels {
            Ok(())
        } else {
            self.at.error(TextError::TOO_DEEP)
        }
    }

    fn open(&mut self, level: usize, open: &str, close: &'static str) -> Result<Open> {
        let offset = self.offset();
        self.check_level(level)?;
        self.expect(open)?;
        Ok(Open {
            offset,
            close,
            items: 0,
        })
    }

    fn open_array(&mut self, level: usize) -> Result<Open> {
        self.open(level, "[", "]")
    }

    /// Whether another item follows; steps over the comma before it, or the closing bracket.
    fn more(&mut self, open: &mut Open) -> Result<bool> {
        self.skip_blank();
        let close = open.close;
        if self.at.eat(close) {
            return Ok(false);
        }
        if self.at.peek().is_none() {
            return self
                .at
                .error_at(open.offset, format!("this has no closing {close}"));
        }
        if open.items > 0 && !self.at.eat(",") {
            return self.at.error(format!(", or {close} is missing here"));
        }
        open.items += 1;
        Ok(true)
    }

    fn elements(&mut self, level: usize) -> Result<Vec<Value>> {
        let mut elements = Vec::new();
        let mut open = self.open_array(level)?;
        while self.more(&mut open)? {
            elements.push(self.value(level + 1)?);
        }
        Ok(elements)
    }

    fn object(&mut self, level: usize) -> Result<Value> {
        let mut map = BTreeMap::new();
        // An object with a reserved key may be a scalar: it is no level of its own.
        let mut open = self.open(0, "{", "}")?;
        while self.more(&mut open)? {
            let offset = self.offset();
            let key = self.string()?;
            self.expect(":")?;
            if RESERVED.contains(&key.as_str()) {
                let value = self.typed(&key, level, offset)?;
                if open.items > 1 || self.more(&mut open)? {
                    return self.at.error_at(
                        offset,
                        "a reserved key stands alone in its object; see $map",
                    );
                }
                return Ok(value);
            }
            self.check_level(level)?;
            let key = Key::text(&key);
            if map.contains_key(&key) {
                return self
                    .at
                    .error_at(offset, "this key is in the object already");
            }
            map.insert(key, self.value(level + 1)?);
        }
        self.check_level(level)?;
        Ok(Value::Map(map))
    }

    /// What stands after a reserved key. The object and an array in it count as one level.
    fn typed(&mut self, reserved: &str, level: usize, offset: usize) -> Result<Value> {
        match reserved {
            "$list" => self.elements(level).map(Value::List),
            "$set" => self.set(level),
            "$map" => self.map(level),
            "$tag" => self.tagged(level),
            _ => match typed_text(reserved, self.string()?) {
                Some(value) => Ok(value),
                None => self.at.error_at(
                    offset,
                    format!("what follows {reserved} is not what it takes"),
                ),
            },
        }
    }

    fn set(&mut self, level: usize) -> Result<Value> {
        let mut set = BTreeSet::new();
        let mut open = self.open_array(level)?;
        while self.more(&mut open)? {
            let offset = self.offset();
            if !set.insert(Key::new(&self.value(level + KEY_LEVELS)?)) {
                return self
                    .at
                    .error_at(offset, "this element is in the set already");
            }
        }
        Ok(Value::Set(set))
    }

    fn map(&mut self, level: usize) -> Result<Value> {
        let mut map = BTreeMap::new();
        let mut open = self.open_array(level)?;
        while self.more(&mut open)? {
            let offset = self.offset();
            self.expect("[")?;
            let key = Key::new(&self.value(level + KEY_LEVELS)?);
            self.expect(",")?;
            let value = self.value(level + 1)?;
            self.expect("]")?;
            if map.insert(key, value).is_some() {
                return self.at.error_at(offset, "this key is in the map already");
            }
        }
        Ok(Value::Map(map))
    }

    fn tagged(&mut self, level: usize) -> Result<Value> {
        self.check_level(level)?;
        self.expect("[")?;
        let tag = self.string()?;
        self.expect(",")?;
        let content = self.value(level + 1)?;
        self.expect("]")?;
        Ok(Value::Tagged(tag, Box::new(content)))
    }
}

fn typed_text(reserved: &str, text: String) -> Option<Value> {
    match reserved {
        "$float" => match text.as_str() {
            "NaN" => Some(Value::Float(f64::NAN)),
            "Infinity" => Some(Value::Float(f64::INFINITY)),
            "-Infinity" => Some(Value::Float(f64::NEG_INFINITY)),
            _ => None,
        },
        "$int" => parse_integer_text(&text).map(Value::integer),
        "$kw" => Some(Value::Keyword(text)),
        "$sym" => Some(Value::Symbol(text)),
        "$char" => {
            let mut chars = text.chars();
            chars
                .next()
                .filter(|_| chars.next().is_none())
                .map(Value::Char)
        }
        "$bytes" => unhex(&text).map(Value::Bytes),
        "$ratio" => parse_ratio_text(&text),
        "$dec" => parse_decimal_text(&text),
        "$uuid" => uuid::Uuid::try_parse(&text).ok().map(Value::Uuid),
        "$inst" => parse_instant_text(&text),
        _ => None,
    }
}

fn atom(token: &str) -> std::result::Result<Value, String> {
    match token {
        "null" => Ok(Value::Nil),
        "true" => Ok(Value::Bool(true)),
        "false" => Ok(Value::Bool(false)),
        _ => number(token),
    }
}

fn number(token: &str) -> std::result::Result<Value, String> {
    let fail = |what: &str| Err(what.to_owned());
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    let magnitude = token.strip_prefix('-').unwrap_or(token);
    let (mantissa, exponent) = match magnitude.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (
            mantissa,
            Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)),
        ),
        None => (magnitude, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    if !digits(whole) || !fraction.is_none_or(digits) || !exponent.is_none_or(digits) {
        return fail("no such value");
    }
    if whole.len() > 1 && whole.starts_with('0') {
        return fail("a number has no leading zeros");
    }
    if fraction.is_some() || exponent.is_some() {
        return match token.parse::<f64>() {
            Ok(float) if float.is_finite() => Ok(Value::Float(float)),
            _ => fail("too large for a float"),
        };
    }
    match token.parse::<i64>() {
        Ok(n) => Ok(Value::Int(n)),
        Err(_) => match parse_integer_text(token) {
            Some(n) => Ok(Value::integer(n)),
            None => fail("too many digits: such integers are written {\"$int\":\"0x…\"}"),
        },
    }
}
