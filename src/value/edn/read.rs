//! EDN text to values.

use super::syntax::{ends_token, is_blank, is_keyword, is_symbol, is_tag};
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
    let value = reader.form(0)?;
    reader.skip_blank(0)?;
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

impl<'a> Reader<'a> {
    /// Skip white space, commas, comments and discarded forms.
    fn skip_blank(&mut self, level: usize) -> Result<()> {
        loop {
            self.at.take_while(is_blank);
            if self.at.eat(";") {
                self.at.take_while(|c| c != '\n');
            } else if self.at.rest().starts_with("#_") {
                self.check_level(level)?;
                self.at.eat("#_");
                self.form(level + 1)?;
            } else {
                return Ok(());
            }
        }
    }

    fn check_level(&self, level: usize) -> Result<()> {
        if level < self.levels {
            Ok(())
        } else {
            self.at.error(TextError::TOO_DEEP)
        }
    }

    fn form(&mut self, level: usize) -> Result<Value> {
        self.skip_blank(level)?;
        let offset = self.at.offset();
        match self.at.peek() {
            None => self.at.error("a value is missing here"),
            Some('"') => {
                self.at.next();
                read_string(&mut self.at, true).map(Value::Text)
            }
            Some('[') => self.elements(level, "]").map(Value::Vector),
            Some('(') => self.elements(level, ")").map(Value::List),
            Some('{') => self.map(level, None).map(Value::Map),
            Some('\\') => self.character(),
            Some('#') => self.dispatch(level),
            Some(c @ (')' | ']' | '}')) => self
                .at
                .error(format!("nothing is open that {c} could close")),
            Some(_) => {
                let token = self.token();
                atom(token).or_else(|message| self.at.error_at(offset, message))
            }
        }
    }

    fn token(&mut self) -> &'a str {
        self.at.take_while(|c| !ends_token(c))
    }

    /// Step over the opening bracket, then tell until `close` whether something stands before it.
    fn open(&mut self, level: usize) -> Result<usize> {
        self.check_level(level)?;
        let offset = self.at.offset();
        self.at.next();
        Ok(offset)
    }

    fn more(&mut self, level: usize, opened: usize, close: &str) -> Result<bool> {
        self.skip_blank(level + 1)?;
        if self.at.peek().is_none() {
            return self
                .at
                .error_at(opened, format!("this has no closing {close}"));
        }
        Ok(!self.at.eat(close))
    }

    fn elements(&mut self, level: usize, close: &str) -> Result<Vec<Value>> {
        let opened = self.open(level)?;
        let mut elements = Vec::new();
        while self.more(level, opened, close)? {
            elements.push(self.form(level + 1)?);
        }
        Ok(elements)
    }

    /// A map at its `{`; keys without a namespace get `namespace`.
    fn map(&mut self, level: usize, namespace: Option<&str>) -> Result<BTreeMap<Key, Value>> {
        let opened = self.open(level)?;
        let mut map = BTreeMap::new();
        while self.more(level, opened, "}")? {
            let offset = self.at.offset();
            let key = self.form(level + KEY_LEVELS)?;
            let key = Key::new(&match namespace {
                Some(namespace) => qualified(key, namespace),
                None => key,
            });
            if map.contains_key(&key) {
                return self.at.error_at(offset, "this key is in the map already");
            }
            if !self.more(level, opened, "}")? {
                return self.at.error_at(offset, "this key has no value");
            }
            map.insert(key, self.form(level + 1)?);
        }
        Ok(map)
    }

    fn set(&mut self, level: usize) -> Result<Value> {
        let opened = self.open(level)?;
        let mut set = BTreeSet::new();
        while self.more(level, opened, "}")? {
            let offset = self.at.offset();
            if !set.insert(Key::new(&self.form(level + KEY_LEVELS)?)) {
                return self
                    .at
                    .error_at(offset, "this element is in the set already");
            }
        }
        Ok(Value::Set(set))
    }

    fn character(&mut self) -> Result<Value> {
        let offset = self.at.offset();
        self.at.next();
        let Some(first) = self.at.next() else {
            return self.at.error_at(offset, "a character is missing here");
        };
        let rest = self.token();
        let c = match (first, rest) {
            (c, "") => Some(c),
            ('n', "ewline") => Some('\n'),
            ('r', "eturn") => Some('\r'),
            ('s', "pace") => Some(' '),
            ('t', "ab") => Some('\t'),
            ('b', "ackspace") => Some('\u{8}'),
            ('f', "ormfeed") => Some('\u{c}'),
            ('u', digits) if digits.len() == 4 && digits.bytes().all(|c| c.is_ascii_hexdigit()) => {
                u32::from_str_radix(digits, 16)
                    .ok()
                    .and_then(char::from_u32)
            }
            _ => None,
        };
        match c {
            Some(c) => Ok(Value::Char(c)),
            None => self.at.error_at(offset, "no such character"),
        }
    }

    /// What begins with `#`.
    fn dispatch(&mut self, level: usize) -> Result<Value> {
        let offset = self.at.offset();
        self.at.next();
        if self.at.peek() == Some('{') {
            return self.set(level);
        }
        let token = self.token();
        match token {
            "#NaN" => Ok(Value::Float(f64::NAN)),
            "#Inf" => Ok(Value::Float(f64::INFINITY)),
            "#-Inf" => Ok(Value::Float(f64::NEG_INFINITY)),
            _ if token.starts_with(':') => match token.get(1..) {
                Some(namespace) if is_keyword(namespace) && self.at.peek() == Some('{') => {
                    self.map(level, Some(namespace)).map(Value::Map)
                }
                _ => self
                    .at
                    .error_at(offset, "after #: stand a namespace and a map"),
            },
            _ if is_tag(token) => self.tagged(level, offset, token),
            _ => self.at.error_at(offset, "no value begins like this"),
        }
    }

    fn tagged(&mut self, level: usize, offset: usize, tag: &str) -> Result<Value> {
        let own: fn(String) -> Option<Value> = match tag {
            "inst" | "kfs/instant" => |text| parse_instant_text(&text),
            "uuid" => |text| parse_uuid(&text).map(Value::Uuid),
            "bytes" => |text| unhex(&text).map(Value::Bytes),
            "kfs/keyword" => |text| Some(Value::Keyword(text)),
            "kfs/symbol" => |text| Some(Value::Symbol(text)),
            "kfs/integer" => |text| parse_integer_text(&text).map(Value::integer),
            "kfs/decimal" => |text| parse_decimal_text(&text),
            "kfs/tagged" => return self.any_tagged(level, offset),
            _ => {
                self.check_level(level)?;
                return Ok(Value::Tagged(
                    tag.to_owned(),
                    Box::new(self.form(level + 1)?),
                ));
            }
        };
        self.skip_blank(level)?;
        let value = if self.at.eat("\"") {
            own(read_string(&mut self.at, true)?)
        } else {
            None
        };
        match value {
            Some(value) => Ok(value),
            None => self.at.error_at(
                offset,
                format!("what follows #{tag} is not what that tag takes"),
            ),
        }
    }

    /// `#kfs/tagged ["the tag" value]`; tag and vector together count as one level.
    fn any_tagged(&mut self, level: usize, offset: usize) -> Result<Value> {
        self.skip_blank(level)?;
        if self.at.peek() == Some('[')
            && let Ok([Value::Text(tag), value]) =
                <[Value; 2]>::try_from(self.elements(level, "]")?)
        {
            return Ok(Value::Tagged(tag, Box::new(value)));
        }
        self.at
            .error_at(offset, "#kfs/tagged takes a vector of a string and a value")
    }
}

/// The hyphenated form only, as other EDN readers do.
fn parse_uuid(text: &str) -> Option<uuid::Uuid> {
    if text.len() == 36 {
        uuid::Uuid::try_parse(text).ok()
    } else {
        None
    }
}

/// A keyword or symbol without a namespace gets one; `_` as namespace stands for none.
fn qualified(key: Value, namespace: &str) -> Value {
    let qualify = |name: String| match name.split_once('/') {
        Some(("_", name)) if !name.is_empty() => name.to_owned(),
        Some(_) => name,
        None => format!("{namespace}/{name}"),
    };
    match key {
        Value::Keyword(name) => Value::Keyword(qualify(name)),
        Value::Symbol(name) => Value::Symbol(qualify(name)),
        key => key,
    }
}

fn atom(token: &str) -> std::result::Result<Value, String> {
    match token {
        "nil" => return Ok(Value::Nil),
        "true" => return Ok(Value::Bool(true)),
        "false" => return Ok(Value::Bool(false)),
        _ => {}
    }
    if let Some(name) = token.strip_prefix(':') {
        return if is_keyword(name) {
            Ok(Value::Keyword(name.to_owned()))
        } else {
            Err("no such keyword".to_owned())
        };
    }
    let unsigned = token.strip_prefix(['+', '-']).unwrap_or(token);
    if unsigned.starts_with(|c: char| c.is_ascii_digit()) {
        return number(token);
    }
    if is_symbol(token) {
        Ok(Value::Symbol(token.to_owned()))
    } else {
        Err("no such symbol".to_owned())
    }
}

/// A token that begins with a sign or a digit.
fn number(token: &str) -> std::result::Result<Value, String> {
    let fail = |what: &str| Err(what.to_owned());
    let (sign, magnitude) = match token.split_at_checked(1) {
        Some(("-", magnitude)) => ("-", magnitude),
        Some(("+", magnitude)) => ("", magnitude),
        _ => ("", token),
    };
    let whole_length = magnitude
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(magnitude.len());
    let (whole, rest) = magnitude
        .split_at_checked(whole_length)
        .unwrap_or((magnitude, ""));
    if whole.is_empty() {
        return fail("no such number");
    }
    if whole.len() > 1 && whole.starts_with('0') {
        return fail("a number has no leading zeros");
    }
    let signed = format!("{sign}{magnitude}");
    match rest {
        "" => match signed.parse::<i64>() {
            Ok(n) => Ok(Value::Int(n)),
            Err(_) => integer(&signed),
        },
        "N" => integer(signed.trim_end_matches('N')),
        _ if rest.starts_with('/') => match parse_ratio_text(&signed) {
            Some(ratio) => Ok(ratio),
            _ => fail("no such ratio"),
        },
        _ if !is_fraction_and_exponent(rest.strip_suffix('M').unwrap_or(rest)) => {
            fail("no such number")
        }
        _ => match signed.strip_suffix('M') {
            Some(decimal) => parse_decimal_text(decimal)
                .ok_or_else(|| "this decimal has too many digits".to_owned()),
            None => match signed.parse::<f64>() {
                Ok(float) if float.is_finite() => Ok(Value::Float(float)),
                _ => fail("too large for a float"),
            },
        },
    }
}

fn integer(text: &str) -> std::result::Result<Value, String> {
    match parse_integer_text(text) {
        Some(n) => Ok(Value::integer(n)),
        None => Err("too many digits: such integers are written #kfs/integer \"0x…\"".to_owned()),
    }
}

/// What may follow the whole part of a float or decimal: `.`, digits, and an exponent.
fn is_fraction_and_exponent(rest: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|c| c.is_ascii_digit());
    let (fraction, exponent) = match rest.split_once(['e', 'E']) {
        Some((fraction, exponent)) => (
            fraction,
            Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)),
        ),
        None => (rest, None),
    };
    (fraction.is_empty() || fraction.strip_prefix('.').is_some_and(digits))
        && exponent.is_none_or(|exponent| !exponent.is_empty() && digits(exponent))
}
