//! Values as JSON text.

use super::RESERVED;
use crate::value::text::{
    decimal_text, float_text, has_decimal_digits, hex, instant_text, integer_text, write_string,
};
use crate::value::{Key, Value};
use std::collections::BTreeMap;

/// The value as JSON text in one line, without spaces.
pub fn print(value: &Value) -> String {
    let mut printer = Printer {
        out: String::new(),
        pretty: false,
        depth: 0,
    };
    printer.value(value);
    printer.out
}

/// The value as JSON text for people: an element or entry per line, two spaces a level.
pub fn pretty(value: &Value) -> String {
    let mut printer = Printer {
        out: String::new(),
        pretty: true,
        depth: 0,
    };
    printer.value(value);
    printer.out
}

/// Deeper nesting is no longer indented: the text would grow with the square of the depth.
const MAX_INDENT: usize = 30;

struct Printer {
    out: String,
    pretty: bool,
    depth: usize,
}

impl Printer {
    fn value(&mut self, value: &Value) {
        match value {
            Value::Nil => self.out.push_str("null"),
            Value::Bool(true) => self.out.push_str("true"),
            Value::Bool(false) => self.out.push_str("false"),
            Value::Int(n) => self.out.push_str(&n.to_string()),
            Value::BigInt(n) if has_decimal_digits(n) => self.out.push_str(&n.to_string()),
            Value::BigInt(n) => self.typed_text("$int", &integer_text(n)),
            Value::Float(f) if f.is_nan() => self.typed_text("$float", "NaN"),
            Value::Float(f) if f.is_infinite() => {
                self.typed_text("$float", if *f > 0.0 { "Infinity" } else { "-Infinity" });
            }
            Value::Float(f) => self.out.push_str(&float_text(*f)),
            Value::Text(text) => write_string(text, &mut self.out),
            Value::Bytes(bytes) => self.typed_text("$bytes", &hex(bytes)),
            Value::Keyword(name) => self.typed_text("$kw", name),
            Value::Symbol(name) => self.typed_text("$sym", name),
            Value::Char(c) => self.typed_text("$char", c.encode_utf8(&mut [0; 4])),
            Value::Ratio(ratio) => self.typed_text("$ratio", &ratio.to_string()),
            Value::Decimal(decimal) => self.typed_text("$dec", &decimal_text(decimal)),
            Value::Uuid(uuid) => self.typed_text("$uuid", &uuid.to_string()),
            Value::Instant(instant) => self.typed_text("$inst", &instant_text(*instant)),
            Value::Vector(elements) => self.lines('[', elements, ']', Self::value),
            Value::List(elements) => {
                self.typed("$list", |p| p.lines('[', elements, ']', Self::value))
            }
            Value::Set(set) => self.typed("$set", |p| {
                p.lines('[', set, ']', |p, key| p.value(&key.value()))
            }),
            Value::Map(map) => self.map(map),
            Value::Tagged(tag, content) => self.typed("$tag", |p| {
                p.out.push('[');
                write_string(tag, &mut p.out);
                p.comma();
                p.value(content);
                p.out.push(']');
            }),
        }
    }

    fn map(&mut self, map: &BTreeMap<Key, Value>) {
        let is_plain = |key: &Key| key.as_text().is_some_and(|text| !RESERVED.contains(&text));
        if map.keys().all(is_plain) {
            self.lines('{', map, '}', |p, (key, value)| {
                write_string(key.as_text().unwrap_or_default(), &mut p.out);
                p.colon();
                p.value(value);
            });
        } else {
            self.typed("$map", |p| {
                p.lines('[', map, ']', |p, (key, value)| {
                    p.out.push('[');
                    p.value(&key.value());
                    p.comma();
                    p.value(value);
                    p.out.push(']');
                });
            });
        }
    }

    fn typed_text(&mut self, reserved: &str, text: &str) {
        self.typed(reserved, |p| write_string(text, &mut p.out));
    }

    /// An object with one reserved key, always on the line where it begins.
    fn typed(&mut self, reserved: &str, content: impl FnOnce(&mut Self)) {
        self.out.push('{');
        write_string(reserved, &mut self.out);
        self.colon();
        content(self);
        self.out.push('}');
    }

    fn lines<T>(
        &mut self,
        open: char,
        items: impl IntoIterator<Item = T>,
        close: char,
        mut write: impl FnMut(&mut Self, T),
    ) {
        self.out.push(open);
        self.depth += 1;
        let mut empty = true;
        for item in items {
            if !empty {
                self.out.push(',');
            }
            empty = false;
            self.line();
            write(self, item);
        }
        self.depth -= 1;
        if !empty {
            self.line();
        }
        self.out.push(close);
    }

    fn line(&mut self) {
        if self.pretty {
            self.out.push('\n');
            self.out
                .extend(std::iter::repeat_n("  ", self.depth.min(MAX_INDENT)));
        }
    }

    fn comma(&mut self) {
        self.out.push_str(if self.pretty { ", " } else { "," });
    }

    fn colon(&mut self) {
        self.out.push_str(if self.pretty { ": " } else { ":" });
    }
}
