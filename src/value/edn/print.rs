//! Values as EDN text.

use super::OWN_TAGS;
use super::syntax::{is_keyword, is_symbol, is_tag};
use crate::value::text::{
    decimal_text, float_text, has_decimal_digits, hex, instant_text, integer_text, is_invisible,
    write_string,
};
use crate::value::{Key, Value};
use std::collections::BTreeMap;

/// The value as EDN text in one line.
pub fn print(value: &Value) -> String {
    let mut printer = Printer {
        out: String::new(),
        limit: usize::MAX,
    };
    // Fails at the limit only, and there is none.
    let _ = printer.value(value);
    printer.out
}

/// The value as EDN text for people: a collection that does not fit in a line has an element or
/// entry per line.
pub fn pretty(value: &Value) -> String {
    let mut out = String::new();
    write_pretty(value, 0, &mut out);
    out
}

const WIDTH: usize = 80;

/// Deeper nesting is no longer indented: the text would grow with the square of the depth.
const MAX_INDENT: usize = 60;

fn write_pretty(value: &Value, column: usize, out: &mut String) {
    let mut flat = Printer {
        out: String::new(),
        limit: WIDTH.saturating_sub(column),
    };
    if flat.value(value).is_ok() {
        out.push_str(&flat.out);
        return;
    }
    match value {
        Value::Vector(elements) => write_lines("[", elements, "]", column, out, write_pretty),
        Value::List(elements) => write_lines("(", elements, ")", column, out, write_pretty),
        Value::Set(set) => {
            let element = |key: &Key, column: usize, out: &mut String| {
                write_pretty(&key.value(), column, out)
            };
            write_lines("#{", set, "}", column, out, element);
        }
        Value::Map(map) => write_lines("{", map, "}", column, out, |(key, value), column, out| {
            let key = print(&key.value());
            out.push_str(&key);
            out.push(' ');
            let column = (column + key.chars().count() + 1).min(MAX_INDENT);
            write_pretty(value, column, out);
        }),
        Value::Tagged(tag, content) if is_plain_tag(tag) => {
            out.push('#');
            out.push_str(tag);
            out.push(' ');
            write_pretty(
                content,
                (column + tag.chars().count() + 2).min(MAX_INDENT),
                out,
            );
        }
        _ => out.push_str(&print(value)),
    }
}

fn write_lines<T>(
    open: &str,
    items: impl IntoIterator<Item = T>,
    close: &str,
    column: usize,
    out: &mut String,
    mut write: impl FnMut(T, usize, &mut String),
) {
    let column = (column + open.len()).min(MAX_INDENT);
    out.push_str(open);
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', column));
        }
        write(item, column, out);
    }
    out.push_str(close);
}

fn is_plain_tag(tag: &str) -> bool {
    is_tag(tag) && !OWN_TAGS.contains(&tag)
}

/// Prints in one line; fails as soon as the text is longer than the limit.
struct Printer {
    out: String,
    limit: usize,
}

/// The text is longer than the limit.
struct Full;

type Result<'p> = std::result::Result<&'p mut Printer, Full>;

impl Printer {
    fn put(&mut self, text: &str) -> Result<'_> {
        self.out.push_str(text);
        if self.out.len() > self.limit {
            Err(Full)
        } else {
            Ok(self)
        }
    }

    fn text(&mut self, text: &str) -> Result<'_> {
        if text.len() > self.limit {
            return Err(Full);
        }
        write_string(text, &mut self.out);
        self.put("")
    }

    fn tagged_text(&mut self, tag: &str, text: &str) -> Result<'_> {
        self.put("#")?.put(tag)?.put(" ")?.text(text)
    }

    fn sequence(&mut self, open: &str, elements: &[Value], close: &str) -> Result<'_> {
        self.put(open)?;
        for (i, element) in elements.iter().enumerate() {
            self.put(if i == 0 { "" } else { " " })?.value(element)?;
        }
        self.put(close)
    }

    fn key(&mut self, key: &Key) -> Result<'_> {
        match key.as_text() {
            Some(text) => self.text(text),
            None => self.value(&key.value()),
        }
    }

    fn map(&mut self, map: &BTreeMap<Key, Value>) -> Result<'_> {
        self.put("{")?;
        for (i, (key, value)) in map.iter().enumerate() {
            self.put(if i == 0 { "" } else { ", " })?
                .key(key)?
                .put(" ")?
                .value(value)?;
        }
        self.put("}")
    }

    fn value(&mut self, value: &Value) -> Result<'_> {
        match value {
            Value::Nil => self.put("nil"),
            Value::Bool(true) => self.put("true"),
            Value::Bool(false) => self.put("false"),
            Value::Int(n) => self.put(&n.to_string()),
            Value::BigInt(n) if has_decimal_digits(n) => self.put(&n.to_string()),
            Value::BigInt(n) => self.tagged_text("kfs/integer", &integer_text(n)),
            Value::Float(f) if f.is_nan() => self.put("##NaN"),
            Value::Float(f) if f.is_infinite() => {
                self.put(if *f > 0.0 { "##Inf" } else { "##-Inf" })
            }
            Value::Float(f) => self.put(&float_text(*f)),
            Value::Text(text) => self.text(text),
            Value::Bytes(bytes) => self.tagged_text("bytes", &hex(bytes)),
            Value::Keyword(name) if is_keyword(name) => self.put(":")?.put(name),
            Value::Keyword(name) => self.tagged_text("kfs/keyword", name),
            Value::Symbol(name) if is_symbol(name) => self.put(name),
            Value::Symbol(name) => self.tagged_text("kfs/symbol", name),
            Value::Char(c) => self.put(&char_text(*c)),
            Value::Ratio(ratio) => self.put(&ratio.to_string()),
            Value::Decimal(d) if has_decimal_digits(d.unscaled()) => {
                self.put(&decimal_text(d))?.put("M")
            }
            Value::Decimal(d) => self.tagged_text("kfs/decimal", &decimal_text(d)),
            Value::Uuid(uuid) => self.tagged_text("uuid", &uuid.to_string()),
            Value::Instant(instant) => {
                let tag = if instant.to_rfc3339().is_some() {
                    "inst"
                } else {
                    "kfs/instant"
                };
                self.tagged_text(tag, &instant_text(*instant))
            }
            Value::Vector(elements) => self.sequence("[", elements, "]"),
            Value::List(elements) => self.sequence("(", elements, ")"),
            Value::Map(map) => self.map(map),
            Value::Set(set) => {
                self.put("#{")?;
                for (i, key) in set.iter().enumerate() {
                    self.put(if i == 0 { "" } else { " " })?.key(key)?;
                }
                self.put("}")
            }
            Value::Tagged(tag, content) if is_plain_tag(tag) => {
                self.put("#")?.put(tag)?.put(" ")?.value(content)
            }
            Value::Tagged(tag, content) => self
                .put("#kfs/tagged [")?
                .text(tag)?
                .put(" ")?
                .value(content)?
                .put("]"),
        }
    }
}

fn char_text(c: char) -> String {
    match c {
        '\n' => "\\newline".to_owned(),
        '\r' => "\\return".to_owned(),
        ' ' => "\\space".to_owned(),
        '\t' => "\\tab".to_owned(),
        '\u{8}' => "\\backspace".to_owned(),
        '\u{c}' => "\\formfeed".to_owned(),
        c if is_invisible(c) => format!("\\u{:04x}", u32::from(c)),
        c => format!("\\{c}"),
    }
}
