//! The one encoding of a value.

use super::reader::Reader;
use super::{Writer, tag};
use crate::value::Value;
use num_bigint::{BigInt, Sign};
use num_traits::ToPrimitive as _;

/// The canonical encoding.
pub fn encode(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    encode_into(value, &mut out);
    out
}

/// Append the canonical encoding to `out`.
pub fn encode_into(value: &Value, out: &mut Vec<u8>) {
    write_value(&mut Writer::new(out), value);
}

pub(super) fn write_value(w: &mut Writer<'_>, value: &Value) {
    match value {
        Value::Nil => w.null(),
        Value::Bool(b) => w.bool(*b),
        Value::Int(n) => w.int(*n),
        Value::BigInt(n) => write_integer(w, n),
        Value::Float(f) => w.float(*f),
        Value::Text(s) => w.text(s),
        Value::Bytes(b) => w.bytes(b),
        Value::Keyword(name) => w.tag(tag::IDENTIFIER).text(&format!(":{name}")),
        Value::Symbol(name) if name.starts_with(':') => object(w, "symbol").text(name),
        Value::Symbol(name) => w.tag(tag::IDENTIFIER).text(name),
        Value::Char(c) => object(w, "char").text(c.encode_utf8(&mut [0; 4])),
        Value::Ratio(r) => {
            w.tag(tag::RATIONAL).array(2);
            write_integer(w, r.numerator());
            write_integer(w, r.denominator())
        }
        Value::Decimal(d) => {
            w.tag(tag::DECIMAL).array(2).int(-i64::from(d.scale()));
            write_integer(w, d.unscaled())
        }
        Value::Uuid(u) => w.tag(tag::UUID).bytes(u.as_bytes()),
        Value::Instant(t) => {
            w.tag(tag::EXTENDED_TIME).map(2);
            w.int(1).int(t.seconds()).int(-9).uint(u64::from(t.nanos()))
        }
        Value::Vector(elements) => write_array(w, elements),
        Value::List(elements) => write_array(object(w, "list"), elements),
        Value::Map(map) => {
            w.map(map.len());
            for (key, value) in map {
                w.raw(key.bytes());
                write_value(w, value);
            }
            w
        }
        Value::Set(set) => {
            w.tag(tag::SET).array(set.len());
            for key in set {
                w.raw(key.bytes());
            }
            w
        }
        Value::Tagged(name, value) => write_tagged(w, name, value),
    };
}

fn write_array<'w, 'a>(w: &'w mut Writer<'a>, elements: &[Value]) -> &'w mut Writer<'a> {
    w.array(elements.len());
    for element in elements {
        write_value(w, element);
    }
    w
}

fn object<'w, 'a>(w: &'w mut Writer<'a>, name: &str) -> &'w mut Writer<'a> {
    w.tag(tag::OBJECT).array(2).text(name)
}

fn write_integer<'w, 'a>(w: &'w mut Writer<'a>, n: &BigInt) -> &'w mut Writer<'a> {
    if let Some(small) = n.to_i64() {
        return w.int(small);
    }
    let (sign, magnitude) = match n.sign() {
        Sign::Minus => (1, (-1i32 - n).magnitude().clone()),
        Sign::NoSign | Sign::Plus => (0, n.magnitude().clone()),
    };
    match (sign, magnitude.to_u64()) {
        (0, Some(word)) => w.uint(word),
        (_, Some(word)) => w.negative(word),
        (0, None) => w.tag(tag::BIGNUM).bytes(&magnitude.to_bytes_be()),
        (_, None) => w.tag(tag::NEGATIVE_BIGNUM).bytes(&magnitude.to_bytes_be()),
    }
}

fn write_tagged<'w, 'a>(w: &'w mut Writer<'a>, name: &str, value: &Value) -> &'w mut Writer<'a> {
    if name == CBOR_SIMPLE
        && let Some(number) = small_integer(value).filter(is_free_simple)
    {
        return w.simple(number);
    }
    if let Some(number) = tag_number(name) {
        let start = w.out.len();
        w.tag(number);
        let content = w.out.len();
        write_value(w, value);
        let written = w.out.get(content..).unwrap_or_default();
        if !is_interpreted(number, value, written) {
            return w;
        }
        w.out.truncate(start);
    }
    if RESERVED_NAMES.contains(&name) {
        object(w, "tagged").array(2).text(name).value(value)
    } else {
        object(w, name).value(value)
    }
}

/// The tag under which simple values that mean nothing here are kept.
pub(super) const CBOR_SIMPLE: &str = "cbor/simple";

/// Names in tag 27 that stand for something of their own.
const RESERVED_NAMES: [&str; 4] = ["char", "list", "symbol", "tagged"];

fn small_integer(value: &Value) -> Option<u8> {
    match value {
        Value::Int(n) => u8::try_from(*n).ok(),
        Value::BigInt(n) => n.to_u8(), // one that was not made by `Value::integer`
        _ => None,
    }
}

/// Simple values other than false, true, null, and those that do not exist.
fn is_free_simple(number: &u8) -> bool {
    matches!(number, 0..=19 | 23 | 32..)
}

/// `N` of `cbor/N`, if written in the one way.
fn tag_number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("cbor/")?;
    let number = digits.parse::<u64>().ok()?;
    (number.to_string() == digits).then_some(number)
}

/// Whether tag `number` before `value`, which is encoded as `written`, would be read as something
/// other than a tagged value `cbor/N`.
fn is_interpreted(number: u64, value: &Value, written: &[u8]) -> bool {
    match (number, value) {
        (tag::SET, Value::Vector(_)) => true,
        (tag::OBJECT, Value::Vector(elements)) => {
            matches!(elements.as_slice(), [Value::Text(_), _])
        }
        _ => Reader::new(written).typed_scalar(number).is_some(),
    }
}
